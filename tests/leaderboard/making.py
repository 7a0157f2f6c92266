"""Records to test with."""

from __future__ import annotations

from typing import Any

from growloop.leaderboard import Model, Record, Task


def made(value: float = 0.5, **fields: Any) -> Record:
    """A record; ``model`` and ``task`` may be names."""
    model, task = fields.pop("model", "tiny"), fields.pop("task", "copying")
    return Record(
        model=Model(name=model) if isinstance(model, str) else model,
        task=Task(name=task, version="1", shots=5, chance=0.1) if isinstance(task, str) else task,
        value=value,
        **{"n": 100, **fields},
    )
