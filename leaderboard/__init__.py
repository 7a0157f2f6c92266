"""Where every measurement ends: records, the store they are kept in, tables, charts, claims.

Imports nothing else of growloop, and of other packages pydantic alone until a page is made.
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
