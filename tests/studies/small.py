"""The smallest options that each study has something to show with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from growloop.studies.records import StudyRecord

from ..support.commands import run

TASK = "variable_assignment_code_d0"
FEW = ["--items", "8", "--shots", "1"]
TEXTS = ["--texts", "8", "--tokens", "150"]
TUNING = ["--min-steps", "2", "--epochs", "1", "--held-out", "4", "--precision", "fp32"]
SMALL = {
    "trade-offs": [*FEW, "--tasks", f"{TASK},copying_real_words"],
    "contributions": TEXTS,
    "local-effects": [*TEXTS, "--measures", "local,propagated", "--where", "future,all"],
    "weight-similarity": ["--apart", "1,2"],
    "swaps": [*FEW, *TEXTS, "--tasks", f"{TASK},loss", "--sizes", "1,2"],
    "depth": [*FEW, *TEXTS, "--tasks", TASK, "--cuts", "2", "--lens-updates", "2"],
    "inference-scaling": [*FEW, "--tasks", TASK, "--block-size", "3", "--repeats", "1,2"],
    "in-context-scaling": ["--items", "8", "--tasks", TASK, "--shots", "0,2"],
    "loop-extrapolation": [
        *FEW,
        *TEXTS,
        "--tasks",
        f"{TASK},loss",
        "--upto",
        "2",
        "--block",
        "1:3",
    ],
    "dynamics": [*TEXTS, "--block", "1:3", "--loops", "4"],
    "adaptive-exit": [*FEW, "--tasks", TASK],
    "sample-efficiency": [*FEW, *TUNING, "--sizes", "0,8", "--seeds", "2", "--depths", "0,1"],
    "loops-against-depth": [*FEW, "--depths", "0,1", "--loops", "1,2", "--block", "1:3"],
}


def study(*arguments: str) -> Any:
    result = run("study", *arguments)
    assert result.exit_code == 0, result.output
    return result


def parsed(records: Iterable[dict[str, Any]]) -> list[StudyRecord]:
    """Records from the JSON that a command printed."""
    return [StudyRecord.from_json(record) for record in records]
