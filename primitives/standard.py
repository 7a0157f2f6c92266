"""Standard tasks: fixed parameters under a name that papers and leaderboards can cite."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from ..core.errors import unknown
from .items import Source
from .task import TASKS, Task, make_task
from .uniqueness import check_capacity, select
from .variable_assignment import STYLES

FINGERPRINTS = Path(__file__).parent / "fingerprints.json"
FINGERPRINTED = 10_000  # items of a fingerprint

STANDARD: dict[str, tuple[str, dict[str, Any]]] = {
    "copying_random_words": ("copying", {"words": "random"}),
    "copying_real_words": ("copying", {"words": "real"}),
    **{
        f"variable_assignment_{style}_d{depth}": (
            "variable_assignment",
            {"style": style, "depth": depth},
        )
        for style in STYLES
        for depth in (0, 1, 2)
    },
    "p_hop_16": ("p_hop", {"hops": 16}),
    "p_hop_32": ("p_hop", {"hops": 32}),
    "p_hop_16_planted": ("p_hop", {"hops": 16, "sampling": "planted"}),
    "p_hop_32_planted": ("p_hop", {"hops": 32, "sampling": "planted"}),
    **{f"addition_{n}": ("addition", {"operands": n}) for n in (2, 4, 8, 16, 32)},
    "symbolic_igsm": ("symbolic_igsm", {}),
    "symbolic_igsm_graph": ("symbolic_igsm", {"sampling": "graph", "order": "shuffled"}),
    "preschool_math": ("preschool_math", {}),
}


TASKS.reserve(STANDARD)


def standard_task(name: str, **params: object) -> Task:
    """Make a standard task, with some of its parameters changed.

    >>> standard_task("variable_assignment_code_d2").params["depth"]
    2
    """
    if name not in STANDARD:
        raise unknown("standard task", name, STANDARD)
    task, fixed = STANDARD[name]
    return make_task(task, {**fixed, **params})


def fingerprint(source: Source, count: int = FINGERPRINTED) -> str:
    """Compute the SHA-256 of the first ``count`` different items of ``source`` as JSON lines.

    It equals the fingerprint that ``growloop generate`` reports.

    Example::

        source = Source(standard_task("copying_random_words"), "test", 0)
        fingerprint(source) == golden()["copying_random_words"]["sha256"]  # True
    """
    check_capacity(source, count)
    digest = hashlib.sha256()
    for batch in select(source, count).blocks(source):
        digest.update(batch.lines())
    return digest.hexdigest()


@cache
def golden() -> dict[str, dict[str, Any]]:
    """Load the checked-in fingerprints: name -> version and SHA-256 of 10,000 test items."""
    loaded: dict[str, dict[str, Any]] = json.loads(FINGERPRINTS.read_text(encoding="utf-8"))
    return loaded
