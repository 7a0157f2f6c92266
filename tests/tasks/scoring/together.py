"""One of several gloo processes that score together; imported by a fork server."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from growloop.core.errors import InputError
from growloop.tasks.benchmarks import holdout
from growloop.tasks.evaluate import evaluate_schedules
from growloop.tasks.scoring.processes import Processes
from growloop.tasks.scoring.scorer import TrieLM
from lm_eval.api.instance import Instance

from ...support.processes import environment
from ..tiny import CONTEXT, OTHER, PAIRS

TEXTS = [bytes(text).decode() for text in (CONTEXT, OTHER, CONTEXT[:120], OTHER[::-1], CONTEXT)]
TASKS = ["variable_assignment_code_d0", "copying_random_words"]


def work(rank: int, port: int, model: str, out: Path) -> None:
    """As ``accelerate launch`` would start it; what it found goes to ``out/RANK.json``."""
    os.environ.update(environment(rank, port))
    with open(out / f"output-{rank}.txt", "a") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    told = found(model) | {"refused": refused(rank)}
    (out / f"{rank}.json").write_text(json.dumps(told))


class _OddError(Exception):
    """One that cannot be sent to another process."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


def refused(rank: int) -> list[str]:
    """What a process is told that was asked something else, and when one process alone fails."""
    processes, told = Processes(2, rank), []

    def fails(error: Exception) -> Callable[[Sequence[int]], list[int]]:
        def work(some: Sequence[int]) -> list[int]:
            if rank == 1:
                raise error
            return list(some)

        return work

    for asked, work in (
        (rank, list),
        (0, fails(InputError("only here"))),
        (0, fails(_OddError(3, 4))),
    ):
        try:
            processes.share(asked, [[0], [1]], work)
        except Exception as error:
            told.append(f"{type(error).__name__}: {error}")
    return told


def found(model: str) -> dict[str, Any]:
    """Scores, texts, a likelihood and two evaluations."""
    lm = TrieLM(pretrained=model, device="cpu", dtype="float32")
    requests = [
        Instance("generate_until", {}, (text, {"until": ["."], "max_gen_toks": 8}), i)
        for i, text in enumerate(TEXTS)
    ]
    text = holdout.Text(tuple(TEXTS), "test")
    results = evaluate_schedules(
        model, TASKS, lambda model: [[0, 1, 2], [0, 1, 1, 2]], limit=6, shots=2, device="cpu",
        prepare=_loop,
    )  # fmt: skip
    return {
        "count": lm.processes.size,
        "scores": lm._score(PAIRS),
        "texts": lm.generate_until(requests, disable_tqdm=True),
        "nats": [item["nats"] for item in holdout.likelihood(lm, text).items],
        "evaluations": [result and _asked(result) for result in results],
    }


def _loop(model: Any) -> None:
    from growloop.models import loop

    loop(model)


def _asked(result: dict[str, Any]) -> list[Any]:
    """Prompts and scores."""
    return [
        (sample["doc_id"], sample["arguments"], [float(r[0]) for r in sample["filtered_resps"]])
        for name in TASKS
        for sample in sorted(result["samples"][name], key=lambda sample: sample["doc_id"])
    ]
