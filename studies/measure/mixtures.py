"""Which mixtures a cooldown can have: ready ones, those of a file, that of another run file.

A file maps names to shares, ``math: {text: 0.8, math: 0.2}``; of a source that the parent's run has
not, the folder is said in the long form, ``math: {mixture: {…}, sources: {math: shards/math}}``, or
is beside those of the others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...core.errors import InputError, unknown
from ...models.training import runfile
from ...models.training.recipes import MATH, cooldown_shares
from ...models.training.yaml_text import read_yaml
from .branching import Change

USUAL = "usual"
LESSONS = {
    # the laptop's counterpart of more math, and of more of something else
    "assignment": {"assignment-1": 0.5, "assignment-2": 0.3, "assignment-0": 0.1, "recall": 0.1},
    "copying": {"copying-words": 0.4, "copying-letters": 0.4, "recall": 0.1, "repeats": 0.1},
}


def ready(run: runfile.Run) -> dict[str, Change]:
    """The mixtures that need no file: the run's own first.

    >>> from growloop.models.training.recipes import recipe
    >>> list(ready(runfile.parse(recipe("1.7b-lidas"))))
    ['usual', 'finemath', 'nemotron']
    """
    found = {USUAL: Change(USUAL)}
    if run.data.curriculum:
        return found | {name: Change(name, dict(shares)) for name, shares in LESSONS.items()}
    for name in MATH.values():
        shares = cooldown_shares(run.data.shares(), name)
        found[name] = Change(name, shares, _beside(run, shares))
    return found


def mixtures(given: Sequence[str], run: runfile.Run) -> list[Change]:
    """The mixtures that were asked for; the first is the base.

    Args:
        given: names of ready ones, files of mixtures, run files; by default all ready ones.
        run: of the parent.

    Raises:
        InputError: one that there is not, or a file that holds none.
    """
    known = ready(run)
    found: list[Change] = []
    for name in given or known:
        if name in known:
            found.append(known[name])
        elif name.endswith((".yaml", ".yml")):
            found += _read(name, run)
        else:
            raise unknown("mixture", name, known)
    names = [change.name for change in found]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"there are two mixtures called {name}: rename one")
    return found


def _read(path: str, run: runfile.Run) -> list[Change]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not YAML: byte {error.start} is not UTF-8") from error
    fields = read_yaml(text, path)
    if isinstance(fields, dict) and {"model", "data", "steps"} <= fields.keys():
        return [_of_run(runfile.parse(fields, path))]
    if not isinstance(fields, dict) or not fields:
        raise InputError(f"{path} holds no mixtures: it must map names to shares")
    return [_of_file(path, name, value, run) for name, value in fields.items()]


def _of_run(other: runfile.Run) -> Change:
    """The last mixture of another run."""
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
    return Change(other.name, mixture, dict(other.data.sources))


def _of_file(path: str, name: Any, value: Any, run: runfile.Run) -> Change:
    where = f"{path}: {name}"
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
        raise InputError(f"{where}: a mixture's name has letters, digits, '.', '_' and '-' alone")
    if value in (None, {}):
        return Change(name)
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
    given = {str(source): str(folder) for source, folder in dict(folders).items()}
    return Change(name, mixture, _beside(run, mixture) | given)


def _beside(run: runfile.Run, mixture: dict[str, float]) -> dict[str, str]:
    """Folders of the sources that a run has not: beside its first one."""
    if not run.data.sources:
        return {}
    folder = Path(next(iter(run.data.sources.values()))).parent
    return {name: str(folder / name) for name in mixture if name not in run.data.sources}
