"""Metrics of a run: ``metrics.jsonl``, one line per logged step."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

from ...core.errors import InputError, unknown
from ...core.files import naming, write_atomically
from ...core.strict_json import fields_problem, loads

FILE = "metrics.jsonl"


class Metrics:
    """Writer of ``metrics.jsonl``. A resumed run first drops the lines of steps it will redo.

    Args:
        out: folder of the run.
        step: steps done so far.
        main: whether this process writes.
        peak: matrix FLOPs per second of all devices, for model FLOP utilisation.
        device: device whose memory is reported.
    """

    def __init__(self, out: Path, step: int, main: bool, peak: float, device: torch.device) -> None:
        self.path, self.main, self.peak = out / FILE, main, peak
        self.device = device
        self.last: tuple[float, int, float] | None = None  # time, tokens, FLOPs
        self.newest: dict[str, Any] = {}
        if main:
            out.mkdir(parents=True, exist_ok=True)
            kept = [line for values, line in _lines(self.path) if values["step"] <= step]
            write_atomically(self.path, b"".join(line + b"\n" for line in kept))

    def step(self, step: int, logged: bool, **values: Any) -> None:
        """Record a step, and write it if it is logged.

        Args:
            step: number of the step.
            logged: whether to write it; throughput is measured between logged steps.
            values: metrics, with ``tokens`` and ``flops`` so far; None is left out.
        """
        now = (time.perf_counter(), values["tokens"], values["flops"])
        if not logged:
            self.last = self.last or now
            return
        if self.last is not None:
            seconds, tokens, flops = (a - b for a, b in zip(now, self.last, strict=True))
            values["tokens_per_second"] = round(tokens / seconds, 1)
            values["mfu"] = round(flops / seconds / self.peak, 4)
        self.last = now
        values["memory"] = _memory(self.device)
        self.newest = {"step": step, **{k: v for k, v in values.items() if v is not None}}
        if self.main:
            with naming(self.path), open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(self.newest) + "\n")


def read_metrics(out: str | Path) -> list[dict[str, Any]]:
    """Read the logged metrics of a run: one mapping a logged step, with ``step`` and ``loss``.

    Args:
        out: folder of the run.
    """
    return [values for values, _ in _lines(Path(out) / FILE)]


def _lines(path: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield values and text of each line, without a last line that a kill cut short."""
    if not path.is_file():
        return
    for line in path.read_bytes().splitlines():
        try:
            values = loads(line.decode("utf-8"))
        except ValueError:
            continue
        if isinstance(values, dict) and fields_problem(values, step=int) is None:
            yield values, line


def _memory(device: torch.device) -> int:
    """Return the peak bytes allocated on the GPU, or the resident bytes of the process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return int(psutil.Process().memory_info().rss)


def trackers(names: Sequence[str]) -> list[str] | None:
    """Check the names of experiment trackers and return them for Accelerate.

    Raises:
        InputError: a tracker that Accelerate does not know, or that is not installed.
    """
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    known = sorted(LOGGER_TYPE_TO_CLASS)
    available = {str(getattr(found, "value", found)) for found in get_available_trackers()}
    for name in names:
        if name not in known:
            raise unknown("tracker", name, known)
        if name not in available:
            raise InputError(f"the tracker {name} is not installed: pip install {name}")
    return list(names) or None


def flat(fields: dict[str, Any], before: str = "") -> dict[str, int | float | str | bool]:
    """Flatten nested fields for trackers: ``optimizer.lr`` and the like.

    >>> flat({"steps": 3, "optimizer": {"lr": 0.1, "betas": [0.9, 0.95]}})
    {'steps': 3, 'optimizer.lr': 0.1, 'optimizer.betas': '[0.9, 0.95]'}
    """
    flattened: dict[str, int | float | str | bool] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            flattened |= flat(value, f"{before}{name}.")
        else:
            plain = isinstance(value, (int, float, str, bool))
            flattened[before + name] = value if plain else str(value)
    return flattened


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the FLOPs per second of matrix products on a device, in a fraction of a second."""
    gpu = device.type == "cuda"
    size, products = (4096, 10) if gpu else (1024, 1)  # amortises the launch on a GPU
    # random matrices: products of ones use less power and run at an unrealistic clock
    random = torch.Generator(device).manual_seed(0)
    a = torch.randn(size, size, generator=random, device=device, dtype=dtype)
    best = 0.0
    for _ in range(4):
        start = time.perf_counter()
        for _ in range(products):
            b = a @ a
        if gpu:
            torch.cuda.synchronize(device)
        best = max(best, products * 2 * size**3 / (time.perf_counter() - start))
        del b
    return best
