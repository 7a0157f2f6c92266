"""Identity of training runs: runs that differ in nothing but name and seed are replicates.

A checkpoint says in ``training.json`` which run made it, and with which seed.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.strict_json import loads

IDLE = {
    "name", "seed", "micro_batch_size", "parallel", "compile", "gradient_checkpointing",
    "log_every", "validate_every", "trackers", "checkpoints",
}  # fmt: skip
"""Fields of a run file that replicates may differ in, besides paths of their files."""


@dataclass(frozen=True)
class RunIdentity:
    """Identity of the run that made a checkpoint.

    Args:
        kind: name of the run, without its seed.
        seed: seed of weights and data.
        recipe: digest of everything else that decided the weights.
    """

    kind: str
    seed: int
    recipe: str

    @classmethod
    def read(cls, path: str) -> RunIdentity | None:
        """Read ``training.json`` of a folder; None if ``growloop train`` did not make it."""
        try:
            metadata = loads((Path(path) / "training.json").read_text(encoding="utf-8"))
            run = metadata["run"]
            name, seed = str(run["name"]), int(run["seed"])
            recipe = {key: value for key, value in run.items() if key not in IDLE}
            recipe["model"] = _without_paths(run.get("model"), "path")
            recipe["step"] = metadata.get("step")
            recipe["data"] = _without_paths(run.get("data"), "sources", "examples", "validation")
            recipe |= _base(run)
            recipe["events"] = [_training_event(event) for event in run.get("events") or ()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return None
        digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]
        return cls(seedless(name, seed), seed, digest)


def seedless(name: str, seed: int) -> str:
    """Remove the seed from the name of a run.

    >>> seedless("standard-s1", 1), seedless("loop_seed-2", 2), seedless("standard-s1", 3)
    ('standard', 'loop', 'standard-s1')
    """
    return re.sub(rf"[-_.](?:s|seed)[-_]?{seed}$", "", name) or name


def _without_paths(part: Any, *places: str) -> Any:
    """Replace paths in a part of a run file by names, or by whether there is one."""
    if not isinstance(part, dict):
        return part
    return part | {name: sorted(part[name]) if isinstance(part.get(name), dict)
                   else part.get(name) is not None for name in places}  # fmt: skip


def _base(run: dict[str, Any]) -> dict[str, Any]:
    """Identify the checkpoint that a run starts from, and its file of examples by name."""
    path, data = (run.get("model") or {}).get("path"), run.get("data") or {}
    if path is None:
        return {}
    base = RunIdentity.read(path)
    name = data.get("examples") and Path(data["examples"]).name
    return {"base": path if base is None else [base.kind, base.recipe], "examples": name}


def _training_event(event: dict[str, Any]) -> dict[str, Any]:
    """Drop the parts of an event that do not change the model."""
    return {key: value for key, value in event.items() if key not in ("evaluate", "checkpoint")}
