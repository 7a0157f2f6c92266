"""Rows of studies for the leaderboard: the numbers that models are compared by.

A study's own files hold every number it measured. The leaderboard gets few of them: the repeated
block that was chosen on validation items; the mean over swaps in the middle half of the depth;
overlap and early-exit accuracy at half depth. Names of tasks, metrics and conditions are those that
the claims query.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.statistics import Z
from ..models.training.finetuning import Settings
from .measure.losses import LOSS
from .measure.prompts import skipped_front
from .paper.contributions import PERIODICITY
from .paper.dynamics import RATE
from .paper.sample_efficiency_table import UNTIED
from .paper.swaps import middle
from .records import Row, StudyRecord

USUAL = Settings()
SELDOM = ("min_steps", "batch_size", "patience", "validations")
HALFWAY = "halfway"
NESTED = "nested shots"  # as evaluations of several numbers of examples call it


@dataclass(frozen=True)
class LeaderboardRow:
    """Number of a study for the leaderboard.

    Args:
        record: record of the study it comes from.
        row: the number, with columns named as those of a task.
        conditions: what the study varied, e.g. ``{"examples": 64}``.
        plain: whether it equals a result of ``growloop eval`` on the unchanged model.
        untied: whether the model was untied before fine-tuning.
    """

    record: StudyRecord
    row: Row
    conditions: Mapping[str, Any] = field(default_factory=dict)
    plain: bool = False
    untied: bool = False


RowSelector = Callable[[Sequence[StudyRecord]], list[LeaderboardRow]]
"""Selects rows for the leaderboard from the records of a study."""


def accuracy_rows(*conditions: str, study: bool = True, plain: bool = False) -> RowSelector:
    """Make the selector of a study whose rows :func:`.accuracy.accuracy_row` made.

    Args:
        conditions: columns that distinguish rows of the same model, task and schedule.
        study: whether rows count as results of the study.
        plain: whether rows under the model's own schedule count as results of ``growloop eval``.
    """

    def select(records: Sequence[StudyRecord]) -> list[LeaderboardRow]:
        selected = []
        for record in records:
            for row in record.rows:
                values = {name: row[name] for name in conditions if name in row}
                selected += [LeaderboardRow(record, row, values)] if study else []
                own = row.schedule in (None, record.model.schedule)
                selected += [LeaderboardRow(record, row, plain=True)] if plain and own else []
        return selected

    return select


def exit_rows(records: Sequence[StudyRecord]) -> list[LeaderboardRow]:
    """Select accuracies on test items at each exit of a model."""
    selected: list[LeaderboardRow] = []
    for record in records:
        loops = record.cell.options.get("loops")
        conditions = {"lens": record.data["lens"]}
        # after equal steps another model ran: the layers after the block, or more loops of it
        conditions |= {"exits": "loop"} if record.params.get("exits") == "loop" else {}
        conditions |= {"loops": loops} if loops else {}
        selected += [
            LeaderboardRow(record, row, {"steps": row["steps"], **conditions})
            for row in record.rows
            if row.split == "test"
        ]
    return selected


def chosen_block_rows(records: Sequence[StudyRecord]) -> list[LeaderboardRow]:
    """Select test rows of the block that was best on validation items, at each number of repeats.

    The condition ``chosen`` is True if all blocks of this size were measured. Otherwise the choice
    may still change: the condition is ``of 3 of 9 starts``, and claims do not use the row.
    """
    groups: dict[tuple[object, ...], list[StudyRecord]] = {}
    for record in records:
        options = json.dumps(record.cell.options, sort_keys=True)
        # blocks of another model at the same path, or in another precision, are not alternatives
        same = record.model.dtype, record.weights_digest, options
        place = record.params["task"], record.params["block"]
        groups.setdefault((record.model_name, record.cell.path, *place, *same), []).append(record)
    selected: list[LeaderboardRow] = []
    for group in groups.values():
        best = max(group, key=lambda record: (_best(record), -record.params["start"]))
        start, size = best.params["start"], best.params["block"]
        measured = len({record.params["start"] for record in group})
        possible = len(best.model.layers) - size + 1
        chosen = True if measured == possible else f"of {measured} of {possible} starts"
        conditions = {"block": f"{start}:{start + size}", "chosen": chosen}
        selected += [
            LeaderboardRow(best, row, {"times": row["times"], **conditions})
            for row in best.rows
            if row.split == "test" and row.control == "none"
        ]
    return selected


def _best(record: StudyRecord) -> float:
    """Return the best accuracy of a repeated block on validation items."""
    return max(r.value for r in record.rows if r.split == "validation" and r["times"] > 0)


def scan_rows(records: Sequence[StudyRecord]) -> list[LeaderboardRow]:
    """Select test rows of the edit that a scan chose on validation items.

    The condition ``chosen`` says what was chosen and among how many candidates.
    """
    selected = []
    for record in records:
        among = f"{record.data['chosen']} of {record.data['candidates']}"
        conditions = {"chosen": among if record.data["complete"] else f"{among}, budget spent"}
        selected += [LeaderboardRow(record, r, conditions) for r in record.rows if r["edited"]]
    return selected


def in_context_rows(records: Sequence[StudyRecord]) -> list[LeaderboardRow]:
    """Select accuracies at each number of examples in the prompt."""
    return [
        LeaderboardRow(record, row.replace(prompting=NESTED))
        for record in records
        for row in record.rows
    ]


def fine_tuning_rows(records: Sequence[StudyRecord]) -> list[LeaderboardRow]:
    """Select accuracies after fine-tuning, under the seed of its examples.

    Settings that differ from the defaults are conditions.
    """
    settings: dict[str, list[dict[str, Any]]] = {}  # model -> settings it was fine-tuned with
    for record in records:
        if record.params["examples"]:
            earlier = settings.setdefault(record.model_name, [])
            earlier += [] if _settings(record) in earlier else [_settings(record)]
    selected: list[LeaderboardRow] = []
    for record in records:
        # the model as it is begins the curve of each setting
        tuned = record.params["examples"]
        every = [_settings(record)] if tuned else settings.get(record.model_name, [{}])
        for conditions in every:
            for row in record.rows:
                own = row.replace(seed=row["tuning_seed"])
                where = {"examples": row["examples"], **conditions}
                selected.append(LeaderboardRow(record, own, where, untied=row["ties"] == UNTIED))
    return selected


def _settings(record: StudyRecord) -> dict[str, Any]:
    """Return the settings of a fine-tuning that differ from the defaults."""
    options = record.cell.options
    settings = {"train_depths": ",".join(map(str, options["train_depths"]))}
    settings |= {name: options[name] for name in ("lr", "epochs", "lora") if options[name]}
    seldom = {name: options[name] for name in SELDOM}
    return settings | {k: value for k, value in seldom.items() if value != getattr(USUAL, k)}


def swap_rows(records: Sequence[StudyRecord]) -> list[LeaderboardRow]:
    """Select the unchanged model, and the mean over swaps of neighbours in its middle half."""
    selected: list[LeaderboardRow] = []
    for record in records:
        plain, *rows = record.rows
        size = record.params["size"]
        pairs = middle(record.model.layers, size)
        rows = [row for row in rows if (row["first"], row["second"]) in pairs]
        if not rows:
            continue
        plain = plain.replace(**_loss_columns(record, plain))
        selected.append(LeaderboardRow(record, plain, {"swapped": 0}))
        mean = plain.replace(**mean_of(rows))
        selected.append(LeaderboardRow(record, mean, {"swapped": size}))
    return selected


def _loss_columns(record: StudyRecord, row: Row) -> dict[str, Any]:
    """Return metric and prompting of a row of losses; nothing for another row."""
    if row.task != LOSS:
        return {}
    columns = {"metric": "nats_per_token", "higher_is_better": False}
    return columns | {"prompting": _prompting(record, row)}


def loop_rows(records: Sequence[StudyRecord]) -> list[LeaderboardRow]:
    """Select accuracies and losses at each number of loops."""
    return [
        LeaderboardRow(
            record,
            row.replace(**_loss_columns(record, row)),
            {"loops": row["loops"], "trained": record.data["trained"]},
        )
        for record in records
        for row in record.rows
    ]


def law_rows(records: Sequence[StudyRecord]) -> list[LeaderboardRow]:
    """Select the held-out loss of each model."""
    return [
        LeaderboardRow(record, row.replace(**_loss_columns(record, row)))
        for record in records
        for row in record.rows
    ]


def mean_of(rows: Sequence[Row]) -> dict[str, float | None]:
    """Return mean ``value`` and ``stderr`` over items of rows on the same items.

    Without per-item results the standard error is the mean of the rows' standard errors: an upper
    bound, reached when their errors are fully correlated.
    """
    value = statistics.fmean(row.value for row in rows)
    per_item = [row.answers or row.each for row in rows]
    if not per_item[0]:
        errors = [error for row in rows if (error := stderr_of(row)) is not None]
        return {"value": value, "stderr": statistics.fmean(errors) if errors else None}
    items = [statistics.fmean(map(float, values)) for values in zip(*per_item, strict=True)]
    return {"value": value, "stderr": statistics.stdev(items) / len(items) ** 0.5}


def stderr_of(row: Row) -> float | None:
    """Return the standard error of a row: its column, else by its prompts, else by its interval."""
    if "stderr" in row:
        return row.stderr
    if len(row.each) > 1:
        return float(statistics.stdev(row.each) / len(row.each) ** 0.5)
    return None if row.low is None or row.high is None else float(row.high - row.low) / 2 / Z


def depth_rows(records: Sequence[StudyRecord]) -> list[LeaderboardRow]:
    """Select the depth score as a share of the depth, and overlap and accuracy at half depth.

    The chance level of the score is 0.5: all steps have the same effect.
    """
    selected: list[LeaderboardRow] = []
    for record in records:
        part, rows = record.params["part"], list(record.rows)
        if part == "score":
            [row] = rows
            last = record.model.effective_depth - 1
            stderr = row.stderr
            if "stderr" not in row and row.low is not None and row.high is not None:
                # older records: ``each`` has per-prompt scores, the interval that of the pooled one
                stderr = (row.high - row.low) / 2 / Z
            share = row.replace(
                value=row.value / last,
                stderr=None if stderr is None else stderr / last,
                task="depth_score",
                metric="depth_score",
                chance=0.5,
                prompting=_prompting(record, row),
            )
            selected.append(LeaderboardRow(record, share))
            continue
        if part == "overlap":
            rows = [row for row in rows if row.metric == "overlap"]
            prompting = _prompting(record, rows[0], cuts=False)
            rows = [row.replace(task="top5_overlap", prompting=prompting) for row in rows]
        halfway = rows[(len(rows) - 1) // 2]
        conditions = {"place": HALFWAY, "lens": record.data["lens"]}
        selected.append(LeaderboardRow(record, halfway, conditions))
    return selected


def periodicity_rows(records: Sequence[StudyRecord]) -> list[LeaderboardRow]:
    """Select the periodicity of attention's contributions at the model's own block size.

    A model without looped or grown blocks gets a row for each block size.
    """
    return [
        LeaderboardRow(
            record,
            row.replace(
                task="attention_contribution",
                metric="periodicity",
                prompting=_prompting(record, row),
            ),
            {"block": row["block"]},
        )
        for record in records
        for row in record.rows
        if row.metric == PERIODICITY and record.data["block"] in (None, row["block"])
    ]


def dynamics_rows(records: Sequence[StudyRecord]) -> list[LeaderboardRow]:
    """Select the rate at which the changes of each looped layer shrink."""
    return [
        LeaderboardRow(
            record,
            row.replace(
                task="loop_dynamics", metric="rate", prompting=_prompting(record, row, cuts=False)
            ),
            {"layer": row["layer"], "loops": row["loops"]},
        )
        for record in records
        for row in record.rows
        if row.metric == RATE
    ]


def similarity_rows(records: Sequence[StudyRecord]) -> list[LeaderboardRow]:
    """Select the mean similarity of layers at each distance.

    It is a mean over all pairs of layers, not a sample, so it has no standard error.
    """
    return [
        LeaderboardRow(
            record,
            Row.make(
                task="weight_similarity",
                metric="cosine",
                version=1,
                stderr=None,
                value=row.value,
                n=row.n,
            ),
            {"apart": row["apart"]},
        )
        for record in records
        for row in record.rows
    ]


def local_effect_rows(records: Sequence[StudyRecord]) -> list[LeaderboardRow]:
    """Select the mean effect of an earlier step on a later one.

    A small effect means that steps hardly depend on their order.
    """
    selected = []
    for record in records:
        first = record.rows[0]
        mean = first.replace(
            **mean_of(record.rows),
            task=f"{record.params['measure']}_effect",
            metric="mean_effect",
            prompting=_prompting(record, first),
        )
        selected.append(LeaderboardRow(record, mean, {"where": record.params["where"]}))
    return selected


def _prompting(record: StudyRecord, row: Row, cuts: bool = True) -> str:
    """Describe the settings of a measurement on prompts: source, length, cuts, skipped tokens.

    ``skip_front`` is left out where it is 0, as in records from before the option existed.
    """
    options = record.cell.options
    places = f", {options['cuts']} cuts" if cuts and "cuts" in options else ""
    front = skipped_front(record)
    places += f", skip_front {front}" if front else ""
    return f"{row.texts}, at most {options['tokens']} tokens{places}"
