"""Records to test with."""

from __future__ import annotations

import re
from typing import Any

from growloop.leaderboard import Cost, Growth, Model, Record, Task


def made(value: float = 0.5, **fields: Any) -> Record:
    """A record; ``model`` and ``task`` may be names."""
    model, task = fields.pop("model", "tiny"), fields.pop("task", "copying")
    return Record(
        model=Model(name=model) if isinstance(model, str) else model,
        task=Task(name=task, version="1", shots=5, chance=0.1) if isinstance(task, str) else task,
        value=value,
        **{"n": 100, **fields},
    )


SUITE = Task(name="reasoning_primitives", version="1", fingerprint="ab", shots=5, split="test")


def result(family: str, value: float, seed: int = 0, **fields: Any) -> Record:
    """A result of a model of a family."""
    growth = (Growth(operator=fields.pop("operator", "lidas"), before=4, after=8),)
    about = {
        "name": family,
        "family": family,
        "size": "30M",
        "seed": seed,
        "schedule": "4x2" if family == "looped" else "8",
        "unique_layers": 4 if family == "looped" else 8,
        "effective_layers": 8,
        "growth": growth if family in ("grown", "retrofitted") else (),
        **fields.pop("about", {}),
    }
    return Record(
        model=Model(**about),
        task=fields.pop("task", SUITE),
        value=value,
        **{"stderr": 0.005, "n": 5000, **fields},
    )


def poisoned(text: str) -> list[Record]:
    """Records with a text wherever a record has room for one; names where they may be."""
    name = text if "/" not in text.strip("/") and not text.endswith("/") else f"x {text}"
    safe = re.sub(r"(^/+)|(/+$)|(/+)", " ", name).strip() or "x"
    model = Model(name=safe, family="looped", recipe=text, source=text, size=safe, schedule="2x2")
    task = Task(name=safe, version=safe, fingerprint=safe, split=safe, prompting=text, chance=0.1)
    return [
        Record(
            model=model,
            task=task,
            value=0.5,
            n=10,
            cost=Cost(unique_parameters=10, inference_flops=10.0),
            study=study,
            conditions={safe: text, "examples": examples},
            dtype=safe,
            device=safe,
            versions={safe: text},
            command=text,
            source=text,
            note=text,
        )
        for study, examples in ((None, 1), (safe, 1), (safe, 2))
    ]
