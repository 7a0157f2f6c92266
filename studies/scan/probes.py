"""Probes: what a scan measures candidates on, each with items to choose on and items to report on.

A probe is one of growloop's tasks or groups, a multiple-choice or generative task or group of
lm-eval, or a JSON Lines file. Primitives have a validation split of their own; a file is halved by
a hash of each prompt, so that the same prompt is always on the same side.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import InputError, shown
from ...core.statistics import FEWEST
from ...core.strict_json import LineError, line_value
from ...tasks import questions as primitives
from ...tasks.catalog import GROUPS, resolve
from ..measure.controls import control_task
from . import harness_probes
from .items import Item, ProbeItems

if TYPE_CHECKING:
    from ...tasks.scoring.scorer import TrieLM

VALIDATION, TEST = "validation", "test"
LONGEST = 64  # tokens of a generated answer
DEFAULT = ("reasoning_primitives",)


def probe_names(names: Sequence[str]) -> list[str]:
    """Expand groups, and check files and growloop's own tasks; lm-eval's are checked when loaded.

    Raises:
        InputError: an unknown task, or a file that does not exist.
    """
    expanded: list[str] = []
    for name in names or DEFAULT:
        if _is_file(name):
            if not Path(name).is_file():
                raise InputError(f"there is no file {name}")
            expanded.append(name)
        elif name.split(":")[0] in GROUPS or resolve(name) is not None:
            expanded += primitives.task_names([name])
        else:
            expanded.append(name)
    return list(dict.fromkeys(expanded))


def load_items(
    lm: TrieLM,
    names: Sequence[str],
    split: str,
    count: int,
    seed: int,
    shots: int,
    fixed: bool,
    longest: int = LONGEST,
    normalise: bool = False,
) -> list[ProbeItems]:
    """Load and tokenize the items of probes.

    Args:
        names: result of :func:`probe_names`.
        split: ``validation``, to choose on, or ``test``, to report on.
        count: items a probe.
        seed: seed of items and examples.
        shots: examples before each question of growloop's own tasks; lm-eval's have their own
            number, and files none.
        fixed: use the same examples before all questions.
        longest: most tokens of a generated answer.
        normalise: compare options of growloop's own tasks by log-probability a character.

    Raises:
        InputError: a probe without such items, or with too few.
    """
    found: list[ProbeItems] = []
    for name in names:
        if _is_file(name):
            found.append(_file(lm, name, split, count, seed))
        elif resolve(name) is not None:
            primitives.check_questions(name, count, split, seed, shots)
            found.append(_primitive(lm, name, split, count, seed, shots, fixed, normalise))
        else:
            found += harness_probes.load(lm, name, split, count, seed, longest)
    for probe in found:
        if len(probe) < FEWEST:
            raise InputError(
                f"{probe.name} has {len(probe)} items to {_purpose(split)}, fewer than {FEWEST}"
            )
    return found


def load_controls(
    lm: TrieLM,
    names: Sequence[str],
    count: int,
    seed: int,
    shots: int,
    fixed: bool,
    normalise: bool = False,
) -> list[ProbeItems]:
    """Load the counterfactual control (``cut``) of the probes that have one, from test items."""
    controls = [control_task(n, "cut") for n in names if not _is_file(n) and resolve(n) is not None]
    return [
        _primitive(lm, control, TEST, count, seed, shots, fixed, normalise)
        for control in controls
        if control is not None
    ]


def _primitive(
    lm: TrieLM,
    name: str,
    split: str,
    count: int,
    seed: int,
    shots: int,
    fixed: bool,
    normalise: bool,
) -> ProbeItems:
    asked = primitives.questions(
        lm, name, count, split=split, seed=seed, shots=shots, fixed_shots=fixed
    )
    items = tuple(
        Item(q.context, q.options, q.answer, _lengths(lm, q.options) if normalise else None)
        for q in asked.questions
    )
    about = asked.about | ({"metric": "acc_norm"} if normalise else {})
    return ProbeItems(asked.task, split, asked.chance, items, about)


def uneven(probe: ProbeItems) -> str | None:
    """Say that options of one of growloop's tasks have different numbers of tokens; else None."""
    if _is_file(probe.name) or resolve(probe.name) is None:
        return None
    counts = [{len(option) for option in item.options} for item in probe.scored]
    if all(len(count) == 1 for count in counts):
        return None
    every = set[int]().union(*counts)
    return (
        f"options of {probe.name} are {min(every)} to {max(every)} tokens long for this tokenizer: "
        "--normalise compares them by log-probability a character"
    )


def _lengths(lm: TrieLM, options: Sequence[list[int]]) -> tuple[int, ...]:
    """Return the characters of options, without the space before them."""
    return tuple(len(lm.tok_decode(option).strip()) for option in options)


def _file(lm: TrieLM, name: str, split: str, count: int, seed: int) -> ProbeItems:
    rows = [row for row in read_file(name) if _side(row["prompt"]) == split]
    rows = [rows[int(i)] for i in np.random.default_rng(seed).permutation(len(rows))[:count]]
    texts: list[tuple[str, str]] = []
    for row in rows:
        texts += [(row["prompt"], option) for option in row["choices"]]
    encoded = iter(lm.encoded(texts))
    items = []
    for row in rows:
        own = [next(encoded) for _ in row["choices"]]
        lm.check(own)
        lengths = tuple(len(option.strip()) for option in row["choices"])
        several = len(own) > 1
        options = [option for _, _, option in own]
        items.append(Item(own[0][1], options, row["answer"], lengths if several else None))
    chance = [1 / len(row["choices"]) for row in rows]
    known = rows and all(len(row["choices"]) > 1 for row in rows)
    fingerprint = hashlib.sha256("\0".join(row["prompt"] for row in rows).encode()).hexdigest()
    metrics = {"exact_match" if len(row["choices"]) == 1 else "acc_norm" for row in rows}
    about = {"task": Path(name).stem, "fingerprint": fingerprint, "split": split, "n": len(items),
             "metric": metrics.pop() if len(metrics) == 1 else "acc"}  # fmt: skip
    share = sum(chance) / len(chance) if known else None
    return ProbeItems(Path(name).name, split, share, tuple(items), about)


def read_file(name: str) -> list[dict[str, Any]]:
    """Read a JSON Lines file of prompts.

    Each line has ``prompt``, and ``choices`` with ``answer`` (the right choice or its index), or
    ``answer`` alone: a text that greedy decoding must give. A space is put before an option that
    begins without one.

    Returns:
        Per line ``prompt``, ``choices`` (texts) and ``answer`` (index).

    Raises:
        InputError: naming the line that cannot be used.
    """
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(Path(name).read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            row = line_value(line, first=number == 1)
        except LineError as error:
            raise InputError(f"{where}: {error}") from None
        if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
            raise InputError(f"{where}: an object with a text 'prompt' is needed")
        rows.append({"prompt": row["prompt"], **_choices(row, where)})
    if not rows:
        raise InputError(f"{name} holds no prompts")
    return rows


def _choices(row: dict[str, Any], where: str) -> dict[str, Any]:
    choices, answer = row.get("choices"), row.get("answer")
    if choices is None:
        if not isinstance(answer, str) or not answer.strip():
            raise InputError(f"{where}: a text 'answer', or 'choices' and 'answer', are needed")
        return {"choices": [_spaced(answer)], "answer": 0}
    texts = isinstance(choices, list) and all(isinstance(c, str) and c.strip() for c in choices)
    if not texts or len(choices) < 2 or len(set(choices)) < len(choices):
        raise InputError(f"{where}: 'choices' are two or more different texts")
    if isinstance(answer, str) and answer in choices:
        answer = choices.index(answer)
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise InputError(f"{where}: 'answer' is one of the choices or its index, "
                         f"not {shown(answer)}")  # fmt: skip
    return {"choices": [_spaced(choice) for choice in choices], "answer": answer}


def _spaced(option: str) -> str:
    return option if option[:1].isspace() else f" {option}"


def _side(prompt: str) -> str:
    """Return the split of a prompt: half of them validate, by the first bit of a hash."""
    return VALIDATION if hashlib.sha256(prompt.encode()).digest()[0] < 128 else TEST


def _is_file(name: str) -> bool:
    return name.endswith((".jsonl", ".json"))


def _purpose(split: str) -> str:
    return "choose on" if split == VALIDATION else "report on"


def content_name(name: str, rows: list[dict[str, Any]] | None) -> str:
    """Return a name that changes with the content of a probe's file."""
    if rows is None:
        return name
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    return f"{Path(name).name}@{digest[:12]}"
