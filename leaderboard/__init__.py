"""Store results as records; show them as tables, charts, and verdicts on the paper's claims.

Depends on ``growloop.core`` and pydantic; building a page also needs jinja2. Names are imported
when they are first used, so that charts of studies load no pydantic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from ..core.errors import InputError as InputError
    from .loading import Leaderboard as Leaderboard
    from .loading import load as load
    from .records import Cost as Cost
    from .records import Growth as Growth
    from .records import Model as Model
    from .records import Record as Record
    from .records import Task as Task
    from .store import Problem as Problem
    from .store import Store as Store
    from .store import check as check

__all__, __getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "loading": ["Leaderboard", "load"],
        "records": ["Cost", "Growth", "InputError", "Model", "Record", "Task"],
        "store": ["Problem", "Store", "check"],
    },
)
