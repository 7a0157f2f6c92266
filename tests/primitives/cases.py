"""Parameters of every primitive that items are tested with."""

from __future__ import annotations

from typing import Any

from growloop.primitives import (
    STANDARD,
    Source,
    make_task,
)

GRAPH = {"sampling": "graph", "order": "shuffled"}


CASES: list[tuple[str, dict[str, Any]]] = [
    *STANDARD.values(),
    ("variable_assignment", {"depth": 4}),
    ("variable_assignment", {"depth": 9, "style": "math"}),
    ("variable_assignment", {"depth": 30, "style": "code", "chains": 3}),
    ("variable_assignment", {"depth": 2, "order": "causal", "distractors": 4}),
    ("variable_assignment", {"depth": 3, "order": "shuffled", "distractors": 1}),
    ("variable_assignment", {"depth": 1, "distractors": 7}),
    ("variable_assignment", {"low": -12, "high": 12, "chains": 2}),
    ("variable_assignment", {"low": 1, "high": 5}),
    ("variable_assignment", {"distinct_values": False, "low": 1, "high": 6, "depth": 1}),
    ("variable_assignment", {"chains": 26, "low": 0, "high": 99, "name_length": 1}),
    ("copying", {"sequence_length": 40, "segment_length": 12}),
    ("copying", {"sequence_length": 2, "segment_length": 1, "word_length": 1}),
    ("copying", {"words": "real", "word_length": 5}),
    ("p_hop", {"hops": 3, "length": 60, "alphabet": 9, "adjacent_repeats": True}),
    ("p_hop", {"hops": 2, "length": 5, "sampling": "planted"}),
    ("p_hop", {"hops": 3, "length": 40, "alphabet": 9, "sampling": "planted"}),
    ("addition", {"operands": 2, "digits": 1}),
    ("symbolic_igsm", {"order": "causal"}),
    ("symbolic_igsm", {"sampling": "graph", "order": "causal"}),
    ("symbolic_igsm", {"sampling": "graph", "order": "shuffled", "edges": 30, "modulus": 23}),
    (
        "symbolic_igsm",
        {
            "sampling": "graph",
            "order": "shuffled",
            "depth": 2,
            "width": 6,
            "edges": 6,
            "max_terms": 1,
        },
    ),
    (
        "symbolic_igsm",
        {
            "sampling": "graph",
            "order": "causal",
            "depth": 13,
            "width": 2,
            "edges": 24,
            "max_terms": 8,
            "modulus": 11,
        },
    ),
    ("symbolic_igsm", {"order": "shuffled", "depth": 2, "width": 3, "max_terms": 1}),
    ("symbolic_igsm", {"depth": 30, "width": 2, "modulus": 11}),
    ("preschool_math", {"terms": 5, "low": -3, "high": 30}),
]


def spent(params: dict[str, Any]) -> bool:
    """Whether one-letter names leave too few over to bind the values to."""
    return params.get("depth") == 4 or params.get("name_length") == 1


CONTROLLED = [
    (name, {**params, "control": control})
    for name, params in CASES
    for control in ("cut", "shuffled")
    if (
        name in ("variable_assignment", "symbolic_igsm", "preschool_math")
        and params.get("sampling") != "graph"
    )
    or (name == "p_hop" and control == "shuffled")
    if not (control == "cut" and (params.get("distinct_values") is False or spent(params)))
]


def source(name: str, params: dict[str, Any], split: str = "test", seed: int = 0) -> Source:
    return Source(make_task(name, params), split, seed)
