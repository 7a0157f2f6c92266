"""Recipes: run files for every row of the paper's Tables 1-4, and a laptop-size twin of each.

A recipe follows from a row and a size. Values that the paper does not state are SmolLM-v1's for the
size, or ours; the comments in ``recipe_text`` say which.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from ...core.errors import unknown
from .variant_recipes import VARIANTS
from .yaml_text import write_yaml

PAPER = (
    # tables, size, models, cooldown, block that runs once more
    ("Tables 1, 2, 3", "1.7B", "Baseline, LIDAS, Loop(4-4x4-4)", "", ""),
    ("Tables 1, 3", "1.7B", "MIDAS, Standard 4, Loop(4x6), Standard 12, Loop(12x2)", "", ""),
    ("Table 2", "1.7B", "Baseline, LIDAS, Loop(4-4x4-4)", "NMT 20%", ""),
    ("Table 2", "1.7B", "Baseline, LIDAS", "NMT 20%", "8-11"),
    ("Table 2", "1.7B", "Baseline, LIDAS", "NMT 20%", "12-15"),
    ("Table 2", "1.7B", "Loop(4-4x4-4)", "NMT 20%", "4-7"),
    ("Tables 3, 4", "360M", "Baseline, MIDAS, LIDAS", "", ""),
    ("Table 3", "360M", "Standard 4, Loop(4x8), Standard 8, Loop(8x4)", "", ""),
    ("Table 3", "360M", "Standard 16, Loop(16x2)", "", ""),
    ("Table 4", "360M", "Baseline, MIDAS, LIDAS", "FMT 20%", ""),
    ("Table 4", "360M", "Baseline, MIDAS, LIDAS", "NMT 20%", ""),
)
MATH = {"FMT 20%": "finemath", "NMT 20%": "nemotron"}  # the source of a cooldown
SHARES = {
    "fineweb-edu": 0.70,
    "cosmopedia-v2": 0.15,
    "python-edu": 0.08,
    "open-web-math": 0.06,
    "stackoverflow": 0.01,
}


@dataclass(frozen=True)
class Row:
    """Row of the paper's tables.

    Args:
        tables: tables that have the row.
        size: 360M or 1.7B.
        model: name in the tables; ``Standard`` with its number of layers.
        cooldown: math data of the cooldown, if not the standard one.
        block: layers that run one extra pass during the cooldown.
    """

    tables: str
    size: str
    model: str
    cooldown: str
    block: str

    def __str__(self) -> str:
        model = re.sub(r" (\d+)$", r", \1 layers", self.model)
        looped = f"looped block {self.block}" if self.block else ""
        parts = filter(None, (model, self.cooldown, looped))
        return f"{self.tables}: {self.size} {', '.join(parts)}"

    def halved(self) -> Row:
        """Return the row with half the layers and the same number of loops."""
        model = re.sub(r"(?<![x\d])\d+", lambda match: str(int(match[0]) // 2), self.model)
        start, stop = self.looped
        return replace(self, model=model, block=self.block and f"{start // 2}-{stop // 2 - 1}")

    @property
    def looped(self) -> tuple[int, int]:
        """First layer of the block, and the layer after its last."""
        first, last = self.block.split("-") if self.block else (0, -1)
        return int(first), int(last) + 1

    def name(self, size: str) -> str:
        """Return the name of its recipe."""
        model = re.sub(r"[ (]", "-", self.model.rstrip(")")).lower()
        cooldown = f"retrofit-{self.block}" if self.block else MATH.get(self.cooldown, "")
        return "-".join(filter(None, (size, model, cooldown)))


@dataclass(frozen=True)
class Size:
    """Settings that the recipes of one size share.

    Args:
        rows: model size of the paper's rows, ``360M`` or ``1.7B``.
        preset: name in ``PRESETS``.
        depth: layers of the baseline.
        lr, warmup: peak learning rate, and steps of linear warm-up.
        batch_size, seq_len: sequences per step, and tokens per sequence.
        steps: optimizer steps, cooldown included.
        block_size: layers that a growth step adds.
        folder: folder of the token shards.
    """

    rows: str
    preset: str
    depth: int
    lr: float
    warmup: int
    batch_size: int
    seq_len: int = 2048
    steps: int = 200_000
    block_size: int = 4
    folder: str = "shards"

    @property
    def laptop(self) -> bool:
        """Return whether this is a laptop twin, with half the layers."""
        return self.block_size == 2

    @property
    def cooldown(self) -> int:
        """Steps of the cooldown: the paper's 15 %."""
        return self.steps * 15 // 100

    @property
    def shares(self) -> dict[str, float]:
        """source -> share before the cooldown."""
        return {"text": 0.94, "math": 0.06} if self.laptop else SHARES


SIZES = {  # in the order of the fields
    "360m": Size("360M", "smollm-360m", 32, 3e-3, 5000, 512),
    "1.7b": Size("1.7B", "smollm-1.7b", 24, 5e-4, 2000, 1024),
    "laptop": Size("1.7B", "laptop-10m", 12, 3e-3, 40, 8, 256, 4000, 2, "shards/laptop"),
    "laptop-deep": Size("360M", "laptop-10m", 16, 3e-3, 100, 8, 256, 4000, 2, "shards/laptop"),
}
ROWS = {  # name: its size, the paper's row, the row with the layers of this size
    own.name(prefix): (size, row, own)
    for prefix, size in SIZES.items()
    for tables, rows, models, cooldown, block in PAPER
    if rows == size.rows
    for row in [Row(tables, rows, model, cooldown, block) for model in models.split(", ")]
    for own in [row.halved() if size.laptop else row]
}
LESSONS = {  # models that learn the primitives from generated lessons, most at effective depth 6
    "lessons-standard": "Standard 6",
    "lessons-standard-3": "Standard 3",
    "lessons-standard-4": "Standard 4",
    "lessons-loop-3x2": "Loop(3x2)",
    "lessons-loop-1-2x2-1": "Loop(1-2x2-1)",
    "lessons-midas": "MIDAS",
    "lessons-lidas": "LIDAS",
}
COMPARED = {  # recipe of a loop variant -> its size, and its name
    f"{prefix}-variant-{name}": (size, name)
    for prefix, size in (("360m", "360m"), ("laptop", "laptop-deep"))
    for name in VARIANTS
}
RECIPES = {
    name: f"twin of {row.name(row.size.lower())}" if size.laptop else str(row)
    for name, (size, row, _) in ROWS.items()
}
RECIPES |= {
    name: f"loop variant: {VARIANTS[variant].about}" for name, (_, variant) in COMPARED.items()
}
RECIPES |= {name: f"{model}, on generated lessons" for name, model in LESSONS.items()}


def recipe(name: str) -> dict[str, Any]:
    """Return the fields of a run file, for ``runfile.parse``.

    >>> recipe("1.7b-loop-4-4x4-4")["model"]
    {'preset': 'smollm-1.7b', 'schedule': '4-4x4-4'}

    Raises:
        InputError: an unknown name.
    """
    if name in LESSONS:
        return _lessons(name, LESSONS[name])
    if name in COMPARED:
        return _variant(name, *COMPARED[name])
    if name not in ROWS:
        raise unknown("recipe", name, RECIPES)
    size, _, row = ROWS[name]
    sources = [*size.shares, *([MATH[row.cooldown]] if row.cooldown else [])]
    fields: dict[str, Any] = {"name": name, "steps": size.steps}
    fields |= {"precision": "fp32"} if size.laptop else {"micro_batch_size": 8}
    fields["model"] = {"preset": size.preset} | _depth(row.model, size.depth)
    fields["data"] = {
        "sources": {source: f"{size.folder}/{source}" for source in sources},
        "mixture": dict(size.shares),
        "seq_len": size.seq_len,
        "batch_size": size.batch_size,
    }
    fields["optimizer"] = {
        "lr": size.lr,
        "betas": [0.9, 0.95],
        "eps": 1e-8,
        "weight_decay": 0.01,
        "clip": 1.0,
        "warmup": size.warmup,
        "cooldown": size.cooldown,
    }
    if (operator := row.model.lower()) in ("midas", "lidas"):
        fields["growth"] = {"operator": operator, "block_size": size.block_size, "alpha": 1.0}
    event: dict[str, Any] = {"step": size.steps - size.cooldown, "checkpoint": True}
    if row.cooldown:
        event["mixture"] = cooldown_shares(size.shares, MATH[row.cooldown])
    if row.block:
        event["repeat"] = list(row.looped)
    return fields | {"events": [event]}


def _variant(name: str, size: str, variant: str) -> dict[str, Any]:
    """Return a recipe of a loop variant: the looped baseline's, with its steps and recurrence."""
    made, laptop = VARIANTS[variant], SIZES[size].laptop
    fields = recipe(f"{size}-baseline") | {"name": name, "steps": made.steps[laptop]}
    fields["model"] = {"preset": SIZES[size].preset, "schedule": made.schedule(laptop)}
    if made.recurrence:
        fields["model"]["recurrence"] = made.recurrence
    cooldown = fields["steps"] * 15 // 100
    fields["optimizer"] |= {"cooldown": cooldown}
    return fields | {"events": [{"step": fields["steps"] - cooldown, "checkpoint": True}]}


def _lessons(name: str, model: str) -> dict[str, Any]:
    """Return a recipe of a small model with a curriculum."""
    copying = {"copying-words": 0.1, "copying-letters": 0.1}
    stages: list[tuple[dict[str, float], float]] = [
        ({"repeats": 1.0}, 0.25),
        ({"recall": 0.7, "repeats": 0.1, "copying-words": 0.1, "copying-letters": 0.1}, 0.15),
        ({"assignment-1": 0.6, "assignment-0": 0.1, "recall": 0.1} | copying, 0.5),
        ({"assignment-2": 0.6, "assignment-1": 0.1, "recall": 0.1} | copying, 0.5),
        ({"assignment-3": 0.5, "assignment-2": 0.2, "recall": 0.1} | copying, 0.0),
    ]
    fields: dict[str, Any] = {
        "name": name,
        "steps": 3500,
        "precision": "fp32",
        "micro_batch_size": 32,
        "model": {"preset": "lessons"} | _depth(model, 6),
        "data": {
            "curriculum": [{"lessons": shares, "until": until} for shares, until in stages],
            "seq_len": 320,
            "batch_size": 64,
        },
        "optimizer": {"name": "muon", "lr": 3e-3, "muon_lr": 0.02, "warmup": 50, "cooldown": 700},
    }
    if (operator := model.lower()) in ("midas", "lidas"):
        fields["growth"] = {"operator": operator, "block_size": 2, "alpha": 1.0}
    return fields


def _depth(model: str, baseline: int) -> dict[str, Any]:
    """Return the fields that set a model's layers."""
    if model.startswith("Loop"):
        return {"schedule": model[len("Loop(") : -1]}
    _, _, layers = model.partition(" ")
    return {"options": {"num_hidden_layers": int(layers or baseline)}}


def cooldown_shares(shares: dict[str, float], math: str) -> dict[str, float]:
    """Replace math sources by 20 % of one; other sources keep their proportions.

    >>> cooldown_shares({"text": 0.7, "code": 0.24, "open-web-math": 0.06}, "finemath")
    {'text': 0.5957, 'code': 0.2043, 'finemath': 0.2}
    """
    rest = {source: share for source, share in shares.items() if "math" not in source}
    scale = 0.8 / sum(rest.values())
    return {source: round(share * scale, 4) for source, share in rest.items()} | {math: 0.2}


def recipe_text(name: str) -> str:
    """Format a recipe as a run file, with comments on the origin of its values.

    Raises:
        InputError: an unknown name.
    """
    fields = recipe(name)
    if name in LESSONS:
        head = f"# {RECIPES[name]}: docs/lessons.md\n"
        return head + write_yaml(fields, width=100, default_flow_style=None)
    if name in COMPARED:
        size, row = SIZES[COMPARED[name][0]], RECIPES[name]
    else:
        size, row = ROWS[name][0], str(ROWS[name][1])
    lines = [f"# {row}", "# Values are of the paper, of SmolLM-v1's recipe for this size, or ours."]
    if size.laptop:
        lines[1:] = [
            "# A laptop's twin: half the layers, far fewer steps; ours unless another is named."
        ]
    notes = NOTES | (LAPTOP_NOTES if size.laptop else {})
    for field, value in fields.items():
        keys = [field, *(fields["events"][0] if field == "events" else [])]
        lines += [f"# {notes[key]}" for key in keys if key in notes]
        style = None if isinstance(value, (dict, list)) else False
        text = write_yaml({field: value}, default_flow_style=style, width=70)
        lines.append(text.rstrip())
    return "\n".join(lines) + "\n"


NOTES = {  # field of the run file, or of its event -> origin of the value
    "steps": "paper: 170,000 steps, then 30,000 (15 %) of cooldown",
    "micro_batch_size": "ours: what the memory holds; the rest of the batch is accumulated",
    "model": "paper: SmolLM-v1's configuration at this depth",
    "data": "paper: 6 % OpenWebMath; SmolLM: other shares, tokens a step (in all 200B or 400B)",
    "optimizer": "paper: steps of cooldown; SmolLM: the rest; ours: its decay is linear",
    "growth": "paper: blocks of 4, PROP-1 up to the cooldown; ours: order (LIDAS): contiguous",
    "checkpoint": "ours: kept for good, so that other cooldowns can branch off here",
    "mixture": "paper: 20 % math; ours: no other math, the rest in proportion",
    "repeat": "paper: this block runs once more during the cooldown",
}
LAPTOP_NOTES = {
    "steps": "paper: 15 % of cooldown",
    "model": "paper: the structure, with twice the layers",
    "data": "paper: 6 % math",
    "optimizer": "paper: 15 % of cooldown; SmolLM: all but lr and steps",
    "growth": "paper: PROP-1 up to the cooldown",
}
