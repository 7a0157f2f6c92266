"""What is trained and measured to reproduce the paper at a scale: data alone.

Options are those of the studies; what a model has too few layers for is left out by
:func:`options_for`. Seconds and tokens are rough: they are for the estimate of a plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from ...core.errors import unknown
from ...models import Schedule
from ...models.training.recipes import ROWS, recipe

STYLES = ("basic", "math", "code")
TUNED, UNTIED = "sample-efficiency", "sample-efficiency-untied"


@dataclass(frozen=True)
class Row:
    """A kind of model.

    Args:
        name: in the plan.
        recipe: its run file.
        model: its name in records; that of rows which differ in their cooldown alone is one.
        cooldown: what records say of it.
        base: row whose checkpoint before the cooldown it goes on from.
    """

    name: str
    recipe: str
    model: str
    cooldown: str | None = None
    base: str | None = None

    def fields(self, changes: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """Of the run file."""
        found = recipe(self.recipe) | {"name": self.model, "seed": seed}
        for name, value in changes.items():
            found[name] = {**found.get(name, {}), **value} if isinstance(value, dict) else value
        return found


@dataclass(frozen=True)
class Ask:
    """A study of some rows.

    Args:
        options: that differ from the study's own.
        rows: patterns of names.
        seconds: it takes for a model of lessons, on the core that ``REFERENCE`` is of.
        tokens: in millions that run through a model, for larger scales.
        before: take the checkpoint from before the cooldown.
    """

    study: str
    options: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[str, ...] = ("*",)
    seconds: float = 0.0
    tokens: float = 0.0
    before: bool = False

    def of(self, row: str) -> bool:
        """Whether a row is studied."""
        return any(fnmatchcase(row, pattern) for pattern in self.rows)


@dataclass(frozen=True)
class Scale:
    """A scale.

    Args:
        rows: that are trained.
        asks: the studies.
        tasks: that are scored; the paper's whole suite if there are none.
        shots, items: when they are scored.
        score: how long that takes, as the studies say it.
        changes: fields of the run files.
        block: steps of a middle block, where a study needs one and the model has no loop.
        dtype: of what is measured.
        launched: whether trainings are for Accelerate, over all GPUs.
    """

    name: str
    rows: tuple[Row, ...]
    asks: tuple[Ask, ...]
    score: Ask
    tasks: tuple[str, ...] = ()
    shots: int = 0
    items: int = 1000
    changes: Mapping[str, Any] = field(default_factory=dict)
    block: int = 2
    dtype: str = "float32"
    launched: bool = False

    def row(self, name: str) -> Row:
        """By its name."""
        return next(row for row in self.rows if row.name == name)

    def ask(self, kind: str) -> Ask:
        """What a kind of cell measures."""
        return next(ask for ask in (self.score, *self.asks) if ask.study == kind)


def options_for(ask: Ask, schedule: Schedule, block: int) -> dict[str, Any]:
    """The options of a study as far as a model's steps allow."""
    found, steps = dict(ask.options), len(schedule)
    looped = any(section.times > 1 for section in schedule.sections)
    if ask.study == "loops-against-depth" and not looped:
        start = (steps - block) // 2
        found["block"] = f"{start}:{start + block}"
    if ask.study == "swaps":
        found["sizes"] = tuple(size for size in found["sizes"] if 2 * size <= steps)
    return found


def _assignment(depths: range) -> tuple[str, ...]:
    return tuple(f"variable_assignment:style={s}:depth={d}" for d in depths for s in STYLES)


def _lessons(*names: str) -> tuple[Row, ...]:
    return tuple(Row(name, f"lessons-{name}", f"lessons-{name}") for name in names)


DEEP = ("standard", "lidas")  # that cool down on other mixtures, and with a loop
PROTOCOL = {"sizes": (0, 64, 128, 256, 512), "depths": (0, 1, 2, 3), "items": 500, "seeds": 1}
TUNING = {"lr": 1e-3, "precision": "fp32", "rows": 4}
LAPTOP = Scale(
    "laptop",
    _lessons("standard", "standard-3", "standard-4", "loop-3x2", "loop-1-2x2-1", "midas", "lidas"),
    (
        Ask("trade-offs", {"shots": 0}, seconds=15),
        Ask(
            "inference-scaling",
            {
                "tasks": ("reasoning_primitives", "variable_assignment_code_d1"),
                "block": 2,
                "items": 200,
                "shots": 0,
            },
            seconds=130,
        ),
        Ask("in-context-scaling", {"counts": (0, 1, 2, 4, 8), "items": 100}, seconds=30),
        Ask(
            "swaps",
            {"tasks": ("reasoning_primitives",), "sizes": (1, 2), "shots": 0},
            seconds=20,
        ),
        Ask("depth", {"shots": 0}, seconds=6),
        Ask("contributions", seconds=3),
        Ask("local-effects", seconds=3),
        Ask("loops-against-depth", {"depths": (0, 1, 2, 3, 4), "shots": 0}, seconds=16),
        Ask("weight-similarity", {"apart": (1, 2, 3, 4, 5)}, seconds=1),
        Ask("adaptive-exit", {"shots": 0}, seconds=10),
        Ask("cooldown", {"shots": 0, "seeds": 1}, DEEP, seconds=900, before=True),
        Ask(
            "retrofit",
            {"blocks": ("2:4",), "mixture": "assignment", "shots": 0},
            DEEP,
            seconds=650,
            before=True,
        ),
        Ask(TUNED, PROTOCOL | TUNING, seconds=200),
        Ask(
            UNTIED,
            PROTOCOL | TUNING | {"sizes": (64, 128, 256, 512), "ties": ("untied",)},
            ("loop-*",),
            seconds=200,
        ),
    ),
    Ask("score", seconds=80),
    ("reasoning_primitives", *_assignment(range(1, 5))),
    changes={
        "checkpoints": {"every": 250, "keep": 2},
        "events": [{"step": 2800, "checkpoint": True}],
    },
)
ONE = {"tasks": ("variable_assignment_code_d0",), "items": 8, "shots": 0}
FAST = Scale(
    "laptop",
    _lessons("standard", "loop-3x2"),
    (
        Ask("trade-offs", ONE, seconds=1),
        Ask(
            "inference-scaling", ONE | {"block": 3, "times": (1,), "control": "none"}, seconds=1
        ),
        Ask(
            "in-context-scaling",
            {"tasks": ("copying_real_words",), "counts": (0, 1), "items": 8},
            seconds=1,
        ),
        Ask("swaps", ONE | {"sizes": (1,)}, seconds=1),
        Ask("depth", {"texts": 8, "tokens": 64, "cuts": 2, "items": 8, "shots": 0}, seconds=1),
        Ask("contributions", {"texts": 8, "tokens": 64}, seconds=1),
        Ask("local-effects", {"texts": 8, "tokens": 64, "cuts": 2}, seconds=1),
        Ask(
            "loops-against-depth",
            {"depths": (0,), "loops": (1, 2), "items": 8, "shots": 0},
            seconds=1,
        ),
        Ask("weight-similarity", {"apart": (1,)}, seconds=1),
        Ask("adaptive-exit", {"items": 8, "shots": 0}, seconds=1),
        Ask("cooldown", ONE | {"mixtures": ("usual",), "seeds": 1}, seconds=2, before=True),
        Ask("retrofit", ONE | {"blocks": ("0:3",), "times": (1,)}, seconds=3, before=True),
        Ask(
            TUNED,
            TUNING | {"sizes": (4,), "depths": (1,), "items": 8, "held_out": 2, "seeds": 1}
            | {"min_steps": 2, "epochs": 1, "validations": 1},
            seconds=3,
        ),
    ),
    Ask("score", seconds=2),
    ("reasoning_primitives",),
    items=10,
    changes={
        "steps": 24,
        "log_every": 5,
        "data": {"batch_size": 16, "seq_len": 224},
        "optimizer": {"warmup": 2, "cooldown": 4},
        "checkpoints": {"every": 10, "keep": 2},
        "events": [{"step": 20, "checkpoint": True}],
    },
)  # fmt: skip


def _paper(size: str) -> tuple[Row, ...]:
    """The rows of the paper's tables; cooldowns go on from the checkpoint of their model."""
    found = []
    for name, (of, row, own) in ROWS.items():
        if of.laptop or of.rows != size:
            continue
        prefix = f"{size.lower()}-"
        parts = [f"cooldown {row.cooldown}"] if row.cooldown else []
        parts += [f"layers {row.block} once more"] if row.block else []
        if not parts:
            found.append(Row(name.removeprefix(prefix), name, name))
            continue
        base = next(
            other
            for other, (_, _, plain) in ROWS.items()
            if (plain.size, plain.model, plain.cooldown) == (size, own.model, "")
        )
        short = base.removeprefix(prefix)
        found.append(Row(name.removeprefix(prefix), name, base, ", ".join(parts), short))
    return tuple(sorted(found, key=lambda row: row.base is not None))


LARGE = (
    # the first is of all rows, the others of the models before other cooldowns
    Ask(
        "inference-scaling",
        {"tasks": ("reasoning_primitives",), "items": 1000, "times": (1, 2, 3)},
        tokens=600,
    ),
    Ask("trade-offs", tokens=3),
    Ask("in-context-scaling", {"items": 1000}, tokens=8),
    Ask("swaps", {"tasks": ("reasoning_primitives",), "items": 1000}, tokens=80),
    Ask("depth", {"items": 1000, "texts": 64}, tokens=10),
    Ask("contributions", {"texts": 64}, tokens=0.1),
    Ask("local-effects", {"texts": 64}, tokens=1),
    Ask("loops-against-depth", {"items": 1000}, tokens=8),
    Ask("weight-similarity"),
    Ask("adaptive-exit", {"items": 1000}, tokens=10),
    Ask(TUNED, tokens=30),
    Ask(UNTIED, {"sizes": (64, 128, 256, 512, 1024), "ties": ("untied",)}, ("loop-*",), tokens=30),
)


def _large(name: str, size: str) -> Scale:
    rows = _paper(size)
    plain = tuple(row.name for row in rows if row.base is None)
    first, *others = LARGE
    asks = (first, *(Ask(a.study, a.options, _both(a.rows, plain), 0, a.tokens) for a in others))
    return Scale(
        name, rows, asks, Ask("score", tokens=30), block=4, dtype="bfloat16", launched=True
    )


def _both(patterns: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """The names that a pattern has."""
    return tuple(name for name in names if any(fnmatchcase(name, p) for p in patterns))


SCALES = {"laptop": LAPTOP, "360m": _large("360m", "360M"), "1.7b": _large("1.7b", "1.7B")}


def scale(name: str, fast: bool = False) -> Scale:
    """A scale by name.

    Args:
        fast: few steps and items, to try it out; of the laptop's.

    Raises:
        InputError: an unknown one; the message has the nearest.
    """
    if name not in SCALES:
        raise unknown("scale", name, SCALES)
    if fast and name != FAST.name:
        raise unknown("scale for --fast", name, [FAST.name])
    return FAST if fast else SCALES[name]
