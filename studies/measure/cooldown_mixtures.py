"""Mixtures of a cooldown: built-in, from a YAML file, or from another run file.

A YAML file maps names to shares: ``math: {text: 0.8, math: 0.2}``. A source that the parent's run
lacks is looked up next to the parent's sources, or in the folder given by the long form,
``math: {mixture: {…}, sources: {math: shards/math}}``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError, unknown
from .cooldown_branches import CooldownVariant

if TYPE_CHECKING:
    from ...models.training import runfile
USUAL = "usual"
LESSONS = {
    # laptop scale: in place of more math, and of more of something else
    "assignment": {"assignment-1": 0.5, "assignment-2": 0.3, "assignment-0": 0.1, "recall": 0.1},
    "copying": {"copying-words": 0.4, "copying-letters": 0.4, "recall": 0.1, "repeats": 0.1},
}


def builtin_mixtures(run: runfile.Run) -> dict[str, CooldownVariant]:
    """Return the mixtures that need no file, by name; the run's own mixture first.

    >>> from growloop.models.training import runfile
    >>> from growloop.models.training.recipes import recipe
    >>> list(builtin_mixtures(runfile.parse(recipe("1.7b-lidas"))))
    ['usual', 'finemath', 'nemotron']
    """
    from ...models.training.recipes import MATH, cooldown_shares

    mixtures = {USUAL: CooldownVariant(USUAL)}
    if run.data.curriculum:
        lessons = {name: CooldownVariant(name, dict(shares)) for name, shares in LESSONS.items()}
        return mixtures | lessons
    for name in MATH.values():
        shares = cooldown_shares(run.data.shares(), name)
        mixtures[name] = CooldownVariant(name, shares, _sibling_folders(run, shares))
    return mixtures


def select_mixtures(names_or_files: Sequence[str], run: runfile.Run) -> list[CooldownVariant]:
    """Return the selected mixtures; the first is the baseline.

    Args:
        names_or_files: built-in mixtures, YAML files of mixtures, run files; empty for all
            built-in mixtures.
        run: run of the parent checkpoint.

    Raises:
        InputError: a mixture is unknown, or a file holds none.
    """
    builtin = builtin_mixtures(run)
    selected: list[CooldownVariant] = []
    for name in names_or_files or builtin:
        if name in builtin:
            selected.append(builtin[name])
        elif name.endswith((".yaml", ".yml")):
            selected += _read(name, run)
        else:
            raise unknown("mixture", name, builtin)
    names = [variant.name for variant in selected]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"there are two mixtures called {name}: rename one")
    return selected


def _read(path: str, run: runfile.Run) -> list[CooldownVariant]:
    from ...models.training import runfile
    from ...models.training.yaml_text import read_yaml_file

    fields = read_yaml_file(path)
    if isinstance(fields, dict) and {"model", "data", "steps"} <= fields.keys():
        return [_from_run(runfile.parse(fields, path))]
    if not isinstance(fields, dict) or not fields:
        raise InputError(f"{path} holds no mixtures: it must map names to shares")
    return [_from_fields(path, name, value, run) for name, value in fields.items()]


def _from_run(other: runfile.Run) -> CooldownVariant:
    """Return the last mixture of another run."""
    last = max(
        (event for event in other.events if event.mixture is not None),
        key=lambda event: event.step,
        default=None,
    )
    if last is not None:
        mixture = dict(last.mixture or {})
    elif other.data.curriculum:
        mixture = dict(other.data.curriculum[-1].lessons)
    else:
        mixture = other.data.shares()
    return CooldownVariant(other.name, mixture, dict(other.data.sources))


def _from_fields(path: str, name: Any, value: Any, run: runfile.Run) -> CooldownVariant:
    """Parse one entry of a YAML file of mixtures."""
    where = f"{path}: {name}"
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
        raise InputError(f"{where}: a mixture's name has letters, digits, '.', '_' and '-' alone")
    if value in (None, {}):
        return CooldownVariant(name)
    if not isinstance(value, dict):
        raise InputError(f"{where}: a mixture maps sources or lessons to shares")
    long = "mixture" in value and isinstance(value["mixture"], dict)
    if long and (more := value.keys() - {"mixture", "sources"}):
        raise unknown("field of a mixture", str(min(more, key=str)), ["mixture", "sources"])
    shares, folders = (value["mixture"], value.get("sources") or {}) if long else (value, {})
    for source, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, (int, float)):
            raise InputError(f"{where}: the share of {source} is a number, not '{share}'")
    mixture = {str(source): float(share) for source, share in shares.items()}
    explicit = {str(source): str(folder) for source, folder in dict(folders).items()}
    return CooldownVariant(name, mixture, _sibling_folders(run, mixture) | explicit)


def _sibling_folders(run: runfile.Run, mixture: dict[str, float]) -> dict[str, str]:
    """Map each source that the run lacks to a folder next to the run's first source."""
    if not run.data.sources:
        return {}
    folder = Path(next(iter(run.data.sources.values()))).parent
    return {name: str(folder / name) for name in mixture if name not in run.data.sources}
