"""Identity of training runs: runs that differ in nothing but name and seed are replicates.

A checkpoint says in ``training.json`` which run made it, and with which seed.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..core.strict_json import loads

IDLE = {
    "name", "seed", "micro_batch_size", "parallel", "compile", "gradient_checkpointing",
    "log_every", "validate_every", "trackers", "checkpoints",
}  # fmt: skip
"""What two trainings of a kind may differ in, beside where their files are."""


@dataclass(frozen=True)
class RunIdentity:
    """Identity of the run that made a checkpoint.

    Args:
        kind: name of the run, without its seed.
        seed: of weights and data.
        recipe: a digest of all else that decided the weights.
    """

    kind: str
    seed: int
    recipe: str

    @classmethod
    def read(cls, path: str) -> RunIdentity | None:
        """Read ``training.json`` of a folder; None if ``growloop train`` did not make it."""
        try:
            told = loads((Path(path) / "training.json").read_text(encoding="utf-8"))
            run = told["run"]
            name, seed = str(run["name"]), int(run["seed"])
            kept = {key: value for key, value in run.items() if key not in IDLE}
            kept |= {"model": _placeless(run.get("model"), "path"), "step": told.get("step")}
            kept |= {"data": _placeless(run.get("data"), "sources", "examples", "validation")}
            kept |= _began_with(run)
            kept["events"] = [_change(event) for event in run.get("events") or ()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return None
        digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]
        return cls(seedless(name, seed), seed, digest)


def seedless(name: str, seed: int) -> str:
    """The name of a run without its seed.

    >>> seedless("standard-s1", 1), seedless("loop_seed-2", 2), seedless("standard-s1", 3)
    ('standard', 'loop', 'standard-s1')
    """
    return re.sub(rf"[-_.](?:s|seed)[-_]?{seed}$", "", name) or name


def _placeless(part: Any, *places: str) -> Any:
    """A part of a run file without where its files are."""
    if not isinstance(part, dict):
        return part
    return part | {name: sorted(part[name]) if isinstance(part.get(name), dict)
                   else part.get(name) is not None for name in places}  # fmt: skip


def _began_with(run: dict[str, Any]) -> dict[str, Any]:
    """Of a run that goes on from a checkpoint: the kind of that, and the name of its examples."""
    path, data = (run.get("model") or {}).get("path"), run.get("data") or {}
    if path is None:
        return {}
    base = RunIdentity.read(path)
    name = data.get("examples") and Path(data["examples"]).name
    return {"base": path if base is None else [base.kind, base.recipe], "examples": name}


def _change(event: dict[str, Any]) -> dict[str, Any]:
    """An event without what only looks at the model."""
    return {key: value for key, value in event.items() if key not in ("evaluate", "checkpoint")}


def as_metadata(run: RunIdentity | None) -> dict[str, Any] | None:
    """Fields of a run's identity, as a record holds them; None for a model of no known run."""
    return None if run is None else asdict(run)
