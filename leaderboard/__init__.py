"""Store results as records; show them as tables, charts, and verdicts on the paper's claims.

Depends on ``growloop.core`` and pydantic; building a page also needs jinja2.
"""

from __future__ import annotations

from ..core.errors import InputError
from .records import Cost, Growth, Model, Record, Task
from .store import Problem, Store, check

__all__ = [
    "Cost",
    "Growth",
    "InputError",
    "Model",
    "Problem",
    "Record",
    "Store",
    "Task",
    "check",
]
