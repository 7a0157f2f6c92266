"""Catalog of studies by name: growloop's own and those of plug-ins, imported when looked up."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

from ..core.errors import InputError, shown
from ..core.registry import Registry

if TYPE_CHECKING:
    from .study import Study

S = TypeVar("S", bound="Study")
QUESTIONS = {
    # name: (question, figure or table of the paper)
    "trade-offs": ("What do parameters and FLOPs buy?", "Figure 4"),
    "inference-scaling": ("Does repeating a block without training help?", "Figures 2, 9, 14, 15"),
    "in-context-scaling": ("Do more examples in the prompt help?", "Figures 3, 13"),
    "sample-efficiency": ("How many examples does fine-tuning need?", "Figures 3, 12"),
    "cooldown": ("What does another mixture in the cooldown change?", "Tables 2, 4"),
    "retrofit": ("Does looping a block in the cooldown help?", "Table 2, Figures 2, 14, 15"),
    "swaps": ("Does the order of layers matter?", "Figures 1, 8"),
    "depth": ("Does the model use its late layers?", "Figure 5"),
    "contributions": ("How much does each sublayer add to the stream?", "Figures 6, 11"),
    "local-effects": ("Which layer depends on which earlier one?", "Figures 7, 10"),
    "loops-against-depth": ("Do more loops solve deeper assignments?", "beyond the paper"),
    "loop-extrapolation": ("Do more loops than in training help?", "beyond the paper"),
    "dynamics": ("Does a loop settle, cycle or drift?", "beyond the paper"),
    "adaptive-exit": ("How many steps can leaving early save?", "beyond the paper"),
    "recurrence-equivalence": ("What is a loop worth in new layers?", "beyond the paper"),
    "weight-similarity": ("Are layers one block apart alike?", "beyond the paper"),
}
"""Studies of growloop, in the order of lists: read without importing them."""


def _check(name: str, study: Any) -> Study:
    """Refuse an object that is not a study of this name.

    Raises:
        InputError: saying what it is.
    """
    from .study import Study

    if not isinstance(study, Study):
        raise InputError(f"a study is a growloop.studies.Study, not {shown(study)}")
    if study.name != name:
        raise InputError(f"the study is named '{study.name}', its entry point '{name}'")
    return study


STUDIES: Registry[Study] = Registry("study", "growloop.studies", _check)
"""Name -> study."""
for _name in QUESTIONS:
    STUDIES.register_lazily(_name, f"{__package__}.paper.{_name.replace('-', '_')}:STUDY")


def register_study(study: S) -> S:
    """Register a study under its name.

    Raises:
        InputError: the name is taken, or the object is not a study.

    Example::

        STUDY = register_study(Study(name="layer-norms", ...))
    """
    module = sys._getframe(1).f_globals.get("__name__", "__main__")
    STUDIES.register(getattr(study, "name", shown(study)), study, module)
    return study


def find(name: str) -> Study:
    """Return a study by name.

    Raises:
        InputError: an unknown name; the message has the nearest one.
    """
    if name not in STUDIES:
        raise STUDIES.unknown(name)
    return STUDIES[name]


def summaries() -> list[dict[str, str]]:
    """List all studies: name, question, figure of the paper, and origin.

    Plug-ins are imported for their questions; broken ones are left out with a warning.
    """
    rows = [
        {"study": name, "asks": question, "paper": figure, "from": "growloop"}
        for name, (question, figure) in QUESTIONS.items()
    ]
    origins = STUDIES.origins()
    for name, study in STUDIES.working(origins):
        rows.append(
            {"study": name, "asks": study.question, "paper": study.figure,
             "from": str(origins[name])}
        )  # fmt: skip
    return rows
