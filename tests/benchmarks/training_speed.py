"""How fast training is: against the Hugging Face Trainer, and what growing saves.

``python tests/benchmarks/training_speed.py trainer smollm-135m`` prints tokens a second as a ratio
of ours to the Trainer's: the same model, data, batch, bf16 autocast, clipping and fused AdamW, in
turn in one process, with a bootstrap interval over the pairs. ``... growth laptop-10m`` prints what
a LIDAS run saves of the FLOPs and of the seconds of a run at full depth with as many steps. Growing
takes a moment each time: runs much shorter than the default's show that more than anything else.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from growloop.models import build
from growloop.models.presets import preset
from growloop.models.training import engine as engine_module
from growloop.models.training.data.shards import write_index, write_shard
from growloop.models.training.engine import Engine
from growloop.models.training.runfile import parse
from numpy.typing import NDArray
from torch.utils.data import Dataset
from transformers import (
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
)
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging


class Timed(Engine):
    """A run that writes no checkpoints: neither side of a comparison does."""

    def save(self) -> None:
        """Nothing."""

    def go(self, steps: int) -> None:
        """Train for so many steps more."""
        self.train(until=self.step + steps)


class Rows(Dataset[dict[str, torch.Tensor]]):
    """The sequences of a run, read beforehand."""

    def __init__(self, engine: Engine, count: int) -> None:
        self.rows = [torch.from_numpy(engine.source.sequence(i)[:-1].copy()) for i in range(count)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


class Turns(TrainerCallback):
    """After every few steps of the Trainer, as many of something else; seconds of both."""

    def __init__(self, every: int, other: Callable[[], None]) -> None:
        self.every, self.other = every, other
        self.seconds: list[tuple[float, float]] = []
        self.start: float | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Called by the Trainer."""
        if state.global_step % self.every:
            return
        now = time.perf_counter()
        self.other()
        end = time.perf_counter()
        if self.start is not None:
            self.seconds.append((now - self.start, end - now))
        self.start = end


def shards(folder: Path, vocabulary: int) -> str:
    """Random tokens, some of them more frequent."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    documents = [(rng.zipf(1.2, 4096) % vocabulary).tolist() for _ in range(100)]
    about = {"vocabulary": vocabulary, "tokenizer": "none", "source": "random"}
    write_index(folder, [write_shard(folder, 0, documents, vocabulary)], about)
    return str(folder)


def run(folder: Path, args: argparse.Namespace, steps: int, **fields: Any) -> Timed:
    """A run of our engine."""
    data = folder / "shards"
    source = str(data) if data.exists() else shards(data, preset(args.preset).vocab_size)
    content = {
        "name": "speed",
        "steps": steps,
        "log_every": args.every,
        "micro_batch_size": args.micro,
        "compile": args.compile,
        "model": {"preset": args.preset},
        "data": {"sources": {"a": source}, "seq_len": args.length, "batch_size": args.batch},
        "optimizer": {"warmup": 0},
        "checkpoints": {"every": 10**9},
        **fields,
    }
    return Timed(parse(content), Path(tempfile.mkdtemp(dir=folder)))


def against_trainer(folder: Path, args: argparse.Namespace) -> None:
    """Ours and the Trainer, every few steps in turn."""
    steps = args.every * (args.pairs + 2)
    ours = run(folder, args, steps)
    turns = Turns(args.every, lambda: ours.go(args.every))
    settings = TrainingArguments(
        output_dir=str(folder / "trainer"),
        max_steps=steps,
        per_device_train_batch_size=args.micro,
        gradient_accumulation_steps=args.batch // args.micro,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        optim="adamw_torch_fused",
        learning_rate=ours.run.optimizer.lr,
        adam_beta2=ours.run.optimizer.betas[1],
        weight_decay=ours.run.optimizer.weight_decay,
        max_grad_norm=ours.run.optimizer.clip,
        lr_scheduler_type="constant",
        torch_compile=args.compile,
        logging_steps=args.every,
        save_strategy="no",
        report_to="none",
        dataloader_num_workers=0,
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=build(args.preset),
        args=settings,
        train_dataset=Rows(ours, steps * args.batch),
        data_collator=default_data_collator,
        callbacks=[turns],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    times = np.array(turns.seconds[1:])  # (pairs, 2)
    tokens = args.every * args.batch * args.length
    speed = tokens / np.median(times, axis=0)
    ratio, low, high = with_interval(
        times, lambda t: np.median(t[..., 0], axis=-1) / np.median(t[..., 1], axis=-1)
    )
    print(
        f"{args.preset:12} {args.batch} x {args.length}, parts of {args.micro}"
        f"{', compiled' if args.compile else ''}: {ratio:.3f} [{low:.3f}, {high:.3f}] "
        f"({speed[1]:,.0f} and {speed[0]:,.0f} tokens/s, {len(times)} pairs)",
        flush=True,
    )


def growth(folder: Path, args: argparse.Namespace) -> None:
    """LIDAS and the full depth, every few steps in turn; growing itself counts."""
    block = {"operator": "lidas", "block_size": args.block}
    both = run(folder, args, args.steps, growth=block), run(folder, args, args.steps)
    spent = []
    for turn in range(args.steps // args.every):
        row = np.zeros(4)  # FLOPs of both, seconds of both
        for i in (0, 1) if turn % 2 else (1, 0):
            flops, start = both[i].flops, time.perf_counter()
            both[i].go(args.every)
            row[2 + i] = time.perf_counter() - start
            row[i] = both[i].flops - flops
        spent.append(row)

    def shares(rows: NDArray[Any]) -> NDArray[Any]:
        total = rows.sum(axis=-2)
        return np.stack([1 - total[..., 0] / total[..., 1], 1 - total[..., 2] / total[..., 3]])

    def kept(rows: NDArray[Any]) -> Any:
        flops, seconds = shares(rows)
        return seconds / flops

    rows = np.array(spent[1:])  # the first steps of a process allocate and compile
    ratio, low, high = with_interval(rows, kept)
    flops, seconds = shares(rows)
    print(
        f"{args.preset:12} {args.batch} x {args.length}, LIDAS by {args.block}, {args.steps} steps:"
        f" saves {flops:.1%} of the FLOPs, {seconds:.1%} of the seconds: "
        f"{ratio:.3f} [{low:.3f}, {high:.3f}]",
        flush=True,
    )


def with_interval(
    pairs: NDArray[Any], statistic: Callable[[NDArray[Any]], Any]
) -> tuple[float, float, float]:
    """A statistic of pairs, and its 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    draws = pairs[rng.integers(0, len(pairs), (10_000, len(pairs)))]
    low, high = np.quantile(statistic(draws), [0.025, 0.975])
    return float(statistic(pairs)), float(low), float(high)


def main() -> None:
    """Measure one thing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["trainer", "growth"])
    parser.add_argument("preset")
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--micro", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="steps a turn")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=200, help="of a growing run")
    parser.add_argument("--block", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    logging.set_verbosity_error()
    # what `train` measures of the machine at its start would count against every turn
    engine_module.matrix_peak = lambda *_: 1.0  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        {"trainer": against_trainer, "growth": growth}[args.what](Path(folder), args)


if __name__ == "__main__":
    main()
