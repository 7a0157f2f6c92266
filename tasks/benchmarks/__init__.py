"""Benchmarks of the paper's suite: its 22 tasks, GSM8K and held-out likelihood, on lm-eval.

``growloop eval --suite paper`` runs them. Importing this loads neither torch nor lm-eval.
"""

from __future__ import annotations

from .catalog import BENCHMARKS, COLUMNS, Benchmark, Column
from .request import SuiteRequest
from .store import TaskResult
from .suite import run_suite, score_suite
from .summary import SuiteResult, summarise

__all__ = [
    "BENCHMARKS",
    "COLUMNS",
    "Benchmark",
    "Column",
    "SuiteRequest",
    "SuiteResult",
    "TaskResult",
    "run_suite",
    "score_suite",
    "summarise",
]
