"""What a run reports of itself: ``metrics.jsonl``, one line a logged step."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch

from .shards import write_whole


class Metrics:
    """Appends measurements; a resumed run first drops the lines of steps it will do again.

    Args:
        out: folder of the run.
        step: steps done so far.
        main: whether this process writes.
        peak: matrix FLOPs a second of the device, for model FLOP utilisation.
    """

    def __init__(self, out: Path, step: int, main: bool, peak: float) -> None:
        self.path, self.main, self.peak = out / "metrics.jsonl", main, peak
        self.last: tuple[float, int, float] | None = None  # time, tokens, FLOPs
        self.newest: dict[str, Any] = {}
        if main:
            out.mkdir(parents=True, exist_ok=True)
            kept = [line for line in self._lines() if json.loads(line)["step"] <= step]
            write_whole(self.path, "".join(f"{line}\n" for line in kept).encode())

    def _lines(self) -> list[str]:
        if not self.path.is_file():
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                json.loads(line)
            except ValueError:
                continue  # cut by a kill
            found.append(line)
        return found

    def step(self, step: int, logged: bool, **values: Any) -> None:
        """Note a step, and write it if it is to be logged."""
        here = (time.perf_counter(), values["tokens"], values["flops"])
        if not logged:
            self.last = self.last or here
            return
        if self.last is not None:
            seconds, tokens, flops = (a - b for a, b in zip(here, self.last, strict=True))
            values["tokens_per_second"] = round(tokens / seconds, 1)
            values["mfu"] = round(flops / seconds / self.peak, 4)
        self.last = here
        if torch.cuda.is_available():
            values["memory"] = torch.cuda.max_memory_allocated()
        self.newest = {"step": step, **{k: v for k, v in values.items() if v is not None}}
        if self.main:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(self.newest) + "\n")


def matrix_peak(device: torch.device, dtype: torch.dtype, size: int = 1024) -> float:
    """FLOPs a second of matrix products on a device, measured in a fraction of a second."""
    a = torch.ones(size, size, device=device, dtype=dtype)
    best = 0.0
    for _ in range(4):
        start = time.perf_counter()
        b = a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
        del b
    return best
