"""What of a study's records goes to the leaderboard: the numbers that models are compared by.

A study keeps every point it measured in its own files. Here are, of a repeated block, the one
chosen on validation items; of swaps, the mean over the middle; of depth, what is there half way.
Names of tasks, metrics and conditions are those that the claims look for.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.statistics import Z
from ..models.training.finetuning import Settings
from .measure.prompts import skipped_front
from .paper.contributions import PERIODICITY
from .paper.sample_efficiency_table import UNTIED
from .paper.swaps import LOSS, middle
from .study import Record as Measured

USUAL = Settings()
SELDOM = ("min_steps", "batch_size", "patience", "validations")
HALFWAY = "halfway"
NESTED = "nested shots"  # as evaluations of several numbers of examples say it


@dataclass(frozen=True)
class Point:
    """A number for the leaderboard.

    Args:
        record: of the study, which says on what and how it was measured.
        row: of the record, with its fields named as those of a task.
        conditions: what the study varied.
        plain: that it is what ``growloop eval`` measures, of the model as it is.
        untied: that the model had lost its ties.
    """

    record: Measured
    row: Mapping[str, Any]
    conditions: Mapping[str, Any] = field(default_factory=dict)
    plain: bool = False
    untied: bool = False


Points = Callable[[Sequence[Measured]], list[Point]]
"""What of the records of a study is for the leaderboard."""


def as_they_are(*conditions: str, study: bool = True, plain: bool = False) -> Points:
    """For studies whose rows are accuracies, as ``accuracy_row`` makes them.

    Args:
        conditions: fields of a row that tell it from others of the same model, task and schedule.
        study: that they are results of the study.
        plain: that rows under the model's own schedule are what ``growloop eval`` measures, and
            count as that (too).
    """

    def found(measured: Sequence[Measured]) -> list[Point]:
        points = []
        for record in measured:
            for row in record["rows"]:
                told = {name: row[name] for name in conditions if name in row}
                points += [Point(record, row, told)] if study else []
                own = row.get("schedule") in (None, record["model"]["schedule"])
                points += [Point(record, row, plain=True)] if plain and own else []
        return points

    return found


def at_exits(measured: Sequence[Measured]) -> list[Point]:
    """Accuracy on test items when a model is left after so many steps."""
    found: list[Point] = []
    for record in measured:
        cell = record["cell"]
        told = {"lens": record["data"]["lens"]}
        # after as many steps another model ran: what follows the block, or more loops of it
        told |= {"exits": "loop"} if cell["params"].get("exits") == "loop" else {}
        told |= {"loops": cell["options"]["loops"]} if cell["options"].get("loops") else {}
        rows = [row for row in record["rows"] if row["split"] == "test"]
        found += [Point(record, row, {"steps": row["steps"], **told}) for row in rows]
    return found


def repeats(measured: Sequence[Measured]) -> list[Point]:
    """The block that was best on validation items, on test items, however often it ran.

    ``chosen`` is true of a choice among all blocks of the size. Of a choice among some, which more
    of them may change, it says among how many: no claim counts that.
    """
    groups: dict[tuple[object, ...], list[Measured]] = {}
    for record in measured:
        cell = record["cell"]
        asked = json.dumps(cell["options"], sort_keys=True)
        # starts of another model that was at the path, or in another precision, are no choice
        same = record["model"]["dtype"], (record.get("weights") or {}).get("sha256"), asked
        key = cell["model"], cell["path"], cell["params"]["task"], cell["params"]["block"], *same
        groups.setdefault(key, []).append(record)
    found: list[Point] = []
    for group in groups.values():
        chosen = max(group, key=lambda record: (_best(record), -record["cell"]["params"]["start"]))
        place = chosen["cell"]["params"]
        block = f"{place['start']}:{place['start'] + place['block']}"
        starts = len({record["cell"]["params"]["start"] for record in group})
        every = len(chosen["model"]["layers"]) - place["block"] + 1
        among = True if starts == every else f"of {starts} of {every} starts"
        found += [
            Point(chosen, row, {"times": row["times"], "block": block, "chosen": among})
            for row in chosen["rows"]
            if row["split"] == "test" and row["control"] == "none"
        ]
    return found


def _best(record: Measured) -> float:
    """Of a block, on validation items, when it is repeated."""
    rows = [r for r in record["rows"] if r["split"] == "validation" and r["times"] > 0]
    return max(float(row["value"]) for row in rows)


def in_context(measured: Sequence[Measured]) -> list[Point]:
    """Accuracy at each number of examples."""
    return [
        Point(record, {**row, "prompting": NESTED}) for record in measured for row in record["rows"]
    ]


def tuned(measured: Sequence[Measured]) -> list[Point]:
    """Accuracy after fine-tuning on so many examples, of the model that was fine-tuned.

    Its seed is that of the examples. A setting is told where it is not the usual one.
    """
    settings: dict[str, list[dict[str, Any]]] = {}  # of each model, under which it was tuned
    for record in measured:
        if record["cell"]["params"]["examples"]:
            told, some = _tuning(record), settings.setdefault(record["cell"]["model"], [])
            some += [] if told in some else [told]
    found: list[Point] = []
    for record in measured:
        cell = record["cell"]
        # the model as it is begins the curve of each setting
        every = (
            [_tuning(record)] if cell["params"]["examples"] else settings.get(cell["model"], [{}])
        )
        for told in every:
            for row in record["rows"]:
                own = {**row, "seed": row["tuning_seed"]}
                conditions = {"examples": row["examples"], **told}
                found.append(Point(record, own, conditions, untied=row["ties"] == UNTIED))
    return found


def _tuning(record: Measured) -> dict[str, Any]:
    """How a model was fine-tuned: what is usual goes without saying."""
    asked = record["cell"]["options"]
    told = {"train_depths": ",".join(map(str, asked["train_depths"]))}
    told |= {name: asked[name] for name in ("lr", "epochs", "lora") if asked[name]}
    return told | {name: asked[name] for name in SELDOM if asked[name] != getattr(USUAL, name)}


def swapped(measured: Sequence[Measured]) -> list[Point]:
    """The model as it is, and the mean over all swaps of neighbours in its middle half."""
    found: list[Point] = []
    for record in measured:
        plain, *rows = record["rows"]
        size = record["cell"]["params"]["size"]
        pairs = middle(record["model"]["layers"], size)
        rows = [row for row in rows if (row["first"], row["second"]) in pairs]
        if not rows:
            continue
        about: dict[str, Any] = {}
        if plain["task"] == LOSS:
            about = {"metric": "nats_per_token", "higher_is_better": False}
            about |= {"prompting": _texts(record, plain)}
        found.append(Point(record, {**plain, **about}, {"swapped": 0}))
        found.append(Point(record, {**plain, **about, **mean_of(rows)}, {"swapped": size}))
    return found


def mean_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of rows on the same items, and its standard error over items.

    Without the values of each item the error is as if all rows erred together, which is the most
    it can be.
    """
    value = statistics.fmean(row["value"] for row in rows)
    kept = "answers" if "answers" in rows[0] else "each"
    if kept not in rows[0]:
        known = [error for row in rows if (error := stderr_of(row)) is not None]
        return {"value": value, "stderr": statistics.fmean(known) if known else None}
    every = zip(*(row[kept] for row in rows), strict=True)
    items = [statistics.fmean(map(float, values)) for values in every]
    return {"value": value, "stderr": statistics.stdev(items) / len(items) ** 0.5}


def stderr_of(row: Mapping[str, Any]) -> float | None:
    """The standard error of a row: told, of the values of its texts, or from its interval."""
    if "stderr" in row:
        return None if row["stderr"] is None else float(row["stderr"])
    if len(each := row.get("each") or ()) > 1:
        return float(statistics.stdev(each) / len(each) ** 0.5)
    low, high = row.get("low"), row.get("high")
    return None if low is None or high is None else float(high - low) / 2 / Z


def depth(measured: Sequence[Measured]) -> list[Point]:
    """The depth score as a share of the depth; overlap and accuracy half way.

    Its chance is what a model has whose steps all matter alike.
    """
    found: list[Point] = []
    for record in measured:
        part, rows = record["cell"]["params"]["part"], record["rows"]
        if part == "score":
            [row] = rows
            last = record["model"]["effective_depth"] - 1
            # older records kept each text's own score, which is not what the error is of
            told = (row["high"] - row["low"]) / 2 / Z if row["low"] is not None else None
            share = {"value": row["value"] / last, "stderr": row.get("stderr", told)}
            share["stderr"] = None if share["stderr"] is None else share["stderr"] / last
            about = {"task": "depth_score", "metric": "depth_score", "chance": 0.5}
            found.append(Point(record, {**row, **share, **about, "prompting": _texts(record, row)}))
            continue
        if part == "overlap":
            rows = [row for row in rows if row["metric"] == "overlap"]
            about = {"task": "top5_overlap", "prompting": _texts(record, rows[0], cuts=False)}
            rows = [{**row, **about} for row in rows]
        middle_row = rows[(len(rows) - 1) // 2]
        place = {"place": HALFWAY, "lens": record["data"]["lens"]}
        found.append(Point(record, middle_row, place))
    return found


def recurring(measured: Sequence[Measured]) -> list[Point]:
    """How much attention's contributions recur after the model's own block; of others, any."""
    return [
        Point(
            record,
            {**row, "task": "attention_contribution", "metric": "periodicity"}
            | {"prompting": _texts(record, row)},
            {"block": row["block"]},
        )
        for record in measured
        for row in record["rows"]
        if row["metric"] == PERIODICITY and record["data"]["block"] in (None, row["block"])
    ]


def alike(measured: Sequence[Measured]) -> list[Point]:
    """Mean similarity of layers at each distance; over all pairs, so without an error."""
    return [
        Point(
            record,
            {"task": "weight_similarity", "metric": "cosine", "version": 1, "stderr": None}
            | {"value": row["value"], "n": row["n"]},
            {"apart": row["apart"]},
        )
        for record in measured
        for row in record["rows"]
    ]


def local(measured: Sequence[Measured]) -> list[Point]:
    """The mean effect of an earlier step on a later one: how little a model is a mere sequence."""
    found = []
    for record in measured:
        params, rows = record["cell"]["params"], record["rows"]
        name = f"{params['measure']}_effect"
        about = {"task": name, "metric": "mean_effect", "prompting": _texts(record, rows[0])}
        found.append(
            Point(record, {**rows[0], **mean_of(rows), **about}, {"where": params["where"]})
        )
    return found


def _texts(record: Measured, row: Mapping[str, Any], cuts: bool = True) -> str:
    """What else decides a number measured on texts, beside the texts themselves.

    Without ``skip_front`` it is 0: so records from before that option stay the ones they are.
    """
    options = record["cell"]["options"]
    places = f", {options['cuts']} cuts" if cuts and "cuts" in options else ""
    front = skipped_front(record)
    places += f", skip_front {front}" if front else ""
    return f"{row['texts']}, at most {options['tokens']} tokens{places}"
