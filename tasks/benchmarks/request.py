"""Request for a run of the suite: its settings, resolved and checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.errors import unknown, whole
from ..evaluation_request import ModelSource, ScoringOptions

SUITES = ("paper",)


@dataclass(frozen=True)
class SuiteRequest:
    """Model, data and scoring of one run of the suite.

    Args:
        source: model; ``schedules`` is not used.
        suite: name in ``SUITES``.
        data_dir: folder with local data sets (see :mod:`.dataset`).
        holdout: held-out text or token shards; by default ``holdout/`` in ``data_dir``.
        limit: number of questions per task, and of held-out documents.
        out: folder for results; existing results are not computed again.
        variant: JSON description of what ``source.prepare`` does.
        scoring: how the model is loaded and scored.

    Raises:
        InputError: a value that is not allowed.
    """

    source: ModelSource
    suite: str = "paper"
    data_dir: str | None = None
    holdout: str | None = None
    limit: int | None = None
    out: str | Path = "results"
    variant: Mapping[str, Any] = field(default_factory=dict)
    scoring: ScoringOptions = field(default_factory=ScoringOptions)

    def __post_init__(self) -> None:
        if self.suite not in SUITES:
            raise unknown("suite", self.suite, SUITES)
        if self.limit is not None:
            whole("limit", self.limit, 1, 10**9)
