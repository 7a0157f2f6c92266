"""Models and studies of each scale of the reproduction, as plain data.

Options are those of the studies; :func:`study_options` drops the values for which a model has too
few layers. Seconds and tokens are rough: they only feed the cost estimate of a plan.
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
class ScaleModel:
    """Model that a scale trains.

    Args:
        name: name in the plan.
        recipe: name of the recipe, which is the run file.
        record_name: model name in records; shared by models that differ in their cooldown only.
        cooldown: ``recipe`` field of the records.
        base: name of the model whose checkpoint before the cooldown this model continues from.
    """

    name: str
    recipe: str
    record_name: str
    cooldown: str | None = None
    base: str | None = None

    def run_fields(self, overrides: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """Return the fields of the run file: recipe, with overrides and seed."""
        fields = recipe(self.recipe) | {"name": self.record_name, "seed": seed}
        for name, value in overrides.items():
            fields[name] = {**fields.get(name, {}), **value} if isinstance(value, dict) else value
        return fields


@dataclass(frozen=True)
class ScaleStudy:
    """Study that a scale runs on some of its models.

    Args:
        study: name of the study, or ``score`` for the evaluation tasks.
        options: options that differ from the study's defaults.
        models: shell patterns of model names.
        seconds: duration for a lessons model on the core of ``REFERENCE_FLOPS``.
        tokens: millions of tokens that run through a model, for larger scales.
        before_cooldown: study the checkpoint before the cooldown.
    """

    study: str
    options: Mapping[str, Any] = field(default_factory=dict)
    models: tuple[str, ...] = ("*",)
    seconds: float = 0.0
    tokens: float = 0.0
    before_cooldown: bool = False

    def includes(self, model: str) -> bool:
        """Return True if the study runs on a model."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)


@dataclass(frozen=True)
class Scale:
    """Models, studies and evaluation tasks of a reproduction.

    Args:
        models: models to train.
        studies: studies to run.
        score: cost of scoring a model on the tasks.
        tasks: evaluation tasks; empty for the paper's whole suite.
        shots, items: examples in the prompt and questions per task, for the tasks.
        overrides: fields that replace those of the recipes.
        block: steps of a middle block, for a study that needs one and a model without a loop.
        dtype: precision of scores and studies.
        distributed: train with ``accelerate launch`` on all GPUs.
    """

    name: str
    models: tuple[ScaleModel, ...]
    studies: tuple[ScaleStudy, ...]
    score: ScaleStudy
    tasks: tuple[str, ...] = ()
    shots: int = 0
    items: int = 1000
    overrides: Mapping[str, Any] = field(default_factory=dict)
    block: int = 2
    dtype: str = "float32"
    distributed: bool = False

    def model(self, name: str) -> ScaleModel:
        """Return a model by name."""
        return next(model for model in self.models if model.name == name)

    def study(self, kind: str) -> ScaleStudy:
        """Return the study that a kind of cell runs."""
        return next(study for study in (self.score, *self.studies) if study.study == kind)


def study_options(scale_study: ScaleStudy, schedule: Schedule, block: int) -> dict[str, Any]:
    """Return the options of a study, adapted to the number of steps of a schedule."""
    options, steps = dict(scale_study.options), len(schedule)
    looped = any(section.times > 1 for section in schedule.sections)
    if scale_study.study == "loops-against-depth" and not looped:
        start = (steps - block) // 2
        options["block"] = f"{start}:{start + block}"
    if scale_study.study == "swaps":
        options["sizes"] = tuple(size for size in options["sizes"] if 2 * size <= steps)
    return options


def _assignment(depths: range) -> tuple[str, ...]:
    return tuple(f"variable_assignment:style={s}:depth={d}" for d in depths for s in STYLES)


def _lessons(*names: str) -> tuple[ScaleModel, ...]:
    return tuple(ScaleModel(name, f"lessons-{name}", f"lessons-{name}") for name in names)


DEEP = ("standard", "lidas")  # models with further cooldowns: other mixtures, a loop
PROTOCOL = {"sizes": (0, 64, 128, 256, 512), "depths": (0, 1, 2, 3), "items": 500, "seeds": 1}
TUNING = {"lr": 1e-3, "precision": "fp32", "rows": 4}
LAPTOP = Scale(
    "laptop",
    _lessons("standard", "standard-3", "standard-4", "loop-3x2", "loop-1-2x2-1", "midas", "lidas"),
    (
        ScaleStudy("trade-offs", {"shots": 0}, seconds=15),
        ScaleStudy(
            "inference-scaling",
            {
                "tasks": ("reasoning_primitives", "variable_assignment_code_d1"),
                "block": 2,
                "items": 200,
                "shots": 0,
            },
            seconds=130,
        ),
        ScaleStudy("in-context-scaling", {"counts": (0, 1, 2, 4, 8), "items": 100}, seconds=30),
        ScaleStudy(
            "swaps",
            {"tasks": ("reasoning_primitives",), "sizes": (1, 2), "shots": 0},
            seconds=20,
        ),
        ScaleStudy("depth", {"shots": 0}, seconds=6),
        ScaleStudy("contributions", seconds=3),
        ScaleStudy("local-effects", seconds=3),
        ScaleStudy("loops-against-depth", {"depths": (0, 1, 2, 3, 4), "shots": 0}, seconds=16),
        ScaleStudy("weight-similarity", {"apart": (1, 2, 3, 4, 5)}, seconds=1),
        ScaleStudy("adaptive-exit", {"shots": 0}, seconds=10),
        ScaleStudy("cooldown", {"shots": 0, "seeds": 1}, DEEP, seconds=900, before_cooldown=True),
        ScaleStudy(
            "retrofit",
            {"blocks": ("2:4",), "mixture": "assignment", "shots": 0},
            DEEP,
            seconds=650,
            before_cooldown=True,
        ),
        ScaleStudy(TUNED, PROTOCOL | TUNING, seconds=200),
        ScaleStudy(
            UNTIED,
            PROTOCOL | TUNING | {"sizes": (64, 128, 256, 512), "ties": ("untied",)},
            ("loop-*",),
            seconds=200,
        ),
    ),
    ScaleStudy("score", seconds=80),
    ("reasoning_primitives", *_assignment(range(1, 5))),
    overrides={
        "checkpoints": {"every": 250, "keep": 2},
        "events": [{"step": 2800, "checkpoint": True}],
    },
)
ONE = {"tasks": ("variable_assignment_code_d0",), "items": 8, "shots": 0}
FAST = Scale(
    "laptop",
    _lessons("standard", "loop-3x2"),
    (
        ScaleStudy("trade-offs", ONE, seconds=1),
        ScaleStudy(
            "inference-scaling", ONE | {"block": 3, "times": (1,), "control": "none"}, seconds=1
        ),
        ScaleStudy(
            "in-context-scaling",
            {"tasks": ("copying_real_words",), "counts": (0, 1), "items": 8},
            seconds=1,
        ),
        ScaleStudy("swaps", ONE | {"sizes": (1,)}, seconds=1),
        ScaleStudy(
            "depth", {"texts": 8, "tokens": 64, "cuts": 2, "items": 8, "shots": 0}, seconds=1
        ),
        ScaleStudy("contributions", {"texts": 8, "tokens": 64}, seconds=1),
        ScaleStudy("local-effects", {"texts": 8, "tokens": 64, "cuts": 2}, seconds=1),
        ScaleStudy(
            "loops-against-depth",
            {"depths": (0,), "loops": (1, 2), "items": 8, "shots": 0},
            seconds=1,
        ),
        ScaleStudy("weight-similarity", {"apart": (1,)}, seconds=1),
        ScaleStudy("adaptive-exit", {"items": 8, "shots": 0}, seconds=1),
        ScaleStudy(
            "cooldown", ONE | {"mixtures": ("usual",), "seeds": 1}, seconds=2, before_cooldown=True
        ),
        ScaleStudy(
            "retrofit", ONE | {"blocks": ("0:3",), "times": (1,)}, seconds=3, before_cooldown=True
        ),
        ScaleStudy(
            TUNED,
            TUNING
            | {"sizes": (4,), "depths": (1,), "items": 8, "held_out": 2, "seeds": 1}
            | {"min_steps": 2, "epochs": 1, "validations": 1},
            seconds=3,
        ),
    ),
    ScaleStudy("score", seconds=2),
    ("reasoning_primitives",),
    items=10,
    overrides={
        "steps": 24,
        "log_every": 5,
        "data": {"batch_size": 16, "seq_len": 224},
        "optimizer": {"warmup": 2, "cooldown": 4},
        "checkpoints": {"every": 10, "keep": 2},
        "events": [{"step": 20, "checkpoint": True}],
    },
)


def _paper_models(size: str) -> tuple[ScaleModel, ...]:
    """Return the models of the paper's tables; cooldowns continue from their model's checkpoint."""
    models = []
    for name, (recipe_size, row, model_row) in ROWS.items():
        if recipe_size.laptop or recipe_size.rows != size:
            continue
        prefix = f"{size.lower()}-"
        parts = [f"cooldown {row.cooldown}"] if row.cooldown else []
        parts += [f"layers {row.block} once more"] if row.block else []
        if not parts:
            models.append(ScaleModel(name.removeprefix(prefix), name, name))
            continue
        base = next(
            other
            for other, (_, _, plain) in ROWS.items()
            if (plain.size, plain.model, plain.cooldown) == (size, model_row.model, "")
        )
        short = base.removeprefix(prefix)
        models.append(ScaleModel(name.removeprefix(prefix), name, base, ", ".join(parts), short))
    return tuple(sorted(models, key=lambda model: model.base is not None))


LARGE = (
    # the first runs on all models, the others on the models before further cooldowns
    ScaleStudy(
        "inference-scaling",
        {"tasks": ("reasoning_primitives",), "items": 1000, "times": (1, 2, 3)},
        tokens=600,
    ),
    ScaleStudy("trade-offs", tokens=3),
    ScaleStudy("in-context-scaling", {"items": 1000}, tokens=8),
    ScaleStudy("swaps", {"tasks": ("reasoning_primitives",), "items": 1000}, tokens=80),
    ScaleStudy("depth", {"items": 1000, "texts": 64}, tokens=10),
    ScaleStudy("contributions", {"texts": 64}, tokens=0.1),
    ScaleStudy("local-effects", {"texts": 64}, tokens=1),
    ScaleStudy("loops-against-depth", {"items": 1000}, tokens=8),
    ScaleStudy("weight-similarity"),
    ScaleStudy("adaptive-exit", {"items": 1000}, tokens=10),
    ScaleStudy(TUNED, tokens=30),
    ScaleStudy(
        UNTIED, {"sizes": (64, 128, 256, 512, 1024), "ties": ("untied",)}, ("loop-*",), tokens=30
    ),
)


def _large(name: str, size: str) -> Scale:
    models = _paper_models(size)
    plain = tuple(model.name for model in models if model.base is None)
    first, *others = LARGE
    studies = (
        first,
        *(ScaleStudy(s.study, s.options, _matching(s.models, plain), 0, s.tokens) for s in others),
    )
    score = ScaleStudy("score", tokens=30)
    return Scale(name, models, studies, score, block=4, dtype="bfloat16", distributed=True)


def _matching(patterns: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names that match a pattern."""
    return tuple(name for name in names if any(fnmatchcase(name, p) for p in patterns))


SCALES = {"laptop": LAPTOP, "360m": _large("360m", "360M"), "1.7b": _large("1.7b", "1.7B")}


def find_scale(name: str, fast: bool = False) -> Scale:
    """Return a scale by name.

    Args:
        fast: the laptop scale with few steps and items, to try it out.

    Raises:
        InputError: the name is unknown; the message suggests the nearest.
    """
    if name not in SCALES:
        raise unknown("scale", name, SCALES)
    if fast and name != FAST.name:
        raise unknown("scale for --fast", name, [FAST.name])
    return FAST if fast else SCALES[name]
