"""Whether a model uses its late layers (paper Figure 5).

Three measurements: the depth score (skip a step at earlier tokens, but never at the first one, and
see how much later predictions change), the overlap of the five most likely tokens at each step with
the final ones, and the accuracy of leaving before each step. Predictions before the end are read by
the logit lens, or by a tuned lens: from a file, or trained here on ``--lens-text``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...core.errors import one_of, whole
from ...core.statistics import (
    SHARE,
    SIZE,
    Interval,
    ends,
    interval_pairs,
    mean_intervals,
    ratio_error,
    ratio_interval,
)
from ...models.diagnostics import (
    SKIP_FRONT,
    Lens,
    depth_score,
    depth_shares,
    exits,
    future_cuts,
    prediction_effects,
    trace,
)
from ...models.looping.config import current_schedule
from ...tasks.questions import task_names
from .. import seeds
from ..checkpoints import Loaded, Model
from ..measure import charts
from ..measure.accuracy import accuracy_row, ask, check_accuracy
from ..measure.schedule_sweep import Sweep
from ..measure.texts import (
    SKIP_FRONT_ABOUT,
    check_skip_front,
    check_texts,
    digits,
    front_skipped,
    read_texts,
)
from ..measure.tuned_lens import LensOptions, check_lens, the_lens
from ..study import Cell, Record, Study, Table, option, settled

PARTS = ("score", "overlap", "accuracy")
LOGIT = "logit lens"
SCORE = "depth score"
RANGES = {"overlap": SHARE, "agreement": SHARE, "kl": SIZE}
NATS = [0, 0.5, 1, 2, 5, 10, 20, 50, 100, 200]  # ticks


@dataclass(frozen=True)
class Options(LensOptions):
    """What is measured."""

    parts: tuple[str, ...] = option(PARTS, "score, overlap, accuracy")
    text: str | None = option(None, "file of prompts; by default generated questions")
    texts: int = option(16, "how many of them, for score and overlap")
    tokens: int = option(128, "tokens of each, at most")
    cuts: int = option(4, "places between earlier and later tokens, for the score")
    skip_front: int = option(SKIP_FRONT, SKIP_FRONT_ABOUT, before=0)
    tasks: tuple[str, ...] = option(("variable_assignment_math_d0",), "for the accuracy")
    items: int = option(200, "questions a task")
    shots: int = option(5, "examples before a question")
    fixed_shots: bool = option(False, "the same examples before all: cheaper", later=True)
    split: str = option("test", "test or validation")
    seed: int = option(0, "which questions and examples are drawn")


def plan(models: Sequence[Model], options: Options) -> list[Cell]:
    """A cell for each model and part, and each task."""
    for part in options.parts:
        one_of("part", part, PARTS)
    check_texts(options.text, options.texts, options.tokens)
    whole("cuts", options.cuts, 1, options.tokens - 1)
    check_skip_front(options.skip_front, options.tokens)
    check_accuracy(options.tasks, options.items, options.shots, options.seed, options.split)
    check_lens(models, options, options.tokens, (options.text, options.texts), options.seed)
    score = settled(options, "parts", "tasks")
    kept = {name: value for name, value in score.items() if name != "skip_front"}
    cells = []
    for model in models:
        for part in options.parts:
            asked = task_names(options.tasks) if part == "accuracy" else ("",)
            for name in asked:
                params = {"part": part} | ({"task": name} if name else {})
                decides = score if part == "score" else kept
                cells.append(Cell("depth", model.name, model.path, params, decides))
    return cells


def measure(cell: Cell, options: Options, loaded: Loaded, out: Path) -> dict[str, Any]:
    """One part."""
    if cell.params["part"] == "score":
        return _score(loaded, cell.path, options)
    measured = options.text, options.texts
    lens = the_lens(cell, loaded, options, out, options.tokens, options.seed, measured)
    kind = LOGIT if lens is None else "tuned lens"
    if cell.params["part"] == "overlap":
        return _overlap(loaded, cell.path, options, lens, kind)
    name, model = cell.params["task"], loaded.load(cell.path)
    asked = ask(loaded, name, options, options.split)
    sweep, lenses = Sweep(model, [current_schedule(model)]), _lenses(lens)
    answers = [
        sweep.exit_scores(question, lenses).argmax(-1) == question.answer
        for question in loaded.each(asked.asked, "questions")
    ]
    right = torch.stack(answers, dim=-1)  # (lenses, steps + 1, items)
    rows, *logit = (
        [accuracy_row(values, asked, step=step) for step, values in enumerate(each)]
        for each in right
    )
    return {"rows": rows, "data": {"lens": kind} | ({"logit": logit[0]} if logit else {})}


def _lenses(lens: Lens | None) -> list[Lens | None]:
    """What predictions are read by: beside a tuned lens always the logit lens."""
    return [None] if lens is None else [lens, None]


def _score(loaded: Loaded, path: str, options: Options) -> dict[str, Any]:
    model, tokenizer = loaded(path)
    texts = read_texts(tokenizer, options.text, options.texts, options.tokens, options.seed)
    found = []
    for ids in loaded.each(texts.ids, "texts"):
        cuts = future_cuts(ids.shape[1], options.cuts)
        traced = trace(model, ids.to(model.device))
        found.append(prediction_effects(traced, cuts, skip_front=options.skip_front))
    effects = torch.cat(found)  # (texts, steps)
    steps = effects.shape[1]
    # the score is a ratio of sums over texts
    weighted = effects.double() * torch.arange(steps)
    sums = weighted.sum(1).tolist(), effects.double().sum(1).tolist()
    # what a model has whose steps all matter alike
    row = {
        "metric": SCORE,
        "step": None,
        "value": depth_score(effects),
        "each": digits(depth_score(text[None]) for text in effects),
        **ends(ratio_interval(*sums, within=(0.0, steps - 1.0))),
        "stderr": ratio_error(*sums),
        "chance": (steps - 1) / 2,
        **texts.about,
    }
    shares = [float(f"{value:.5g}") for value in depth_shares(effects)]
    return {"rows": [row], "data": {"shares": shares}}


def _overlap(
    loaded: Loaded, path: str, options: Options, lens: Lens | None, kind: str
) -> dict[str, Any]:
    model, tokenizer = loaded(path)
    texts = read_texts(tokenizer, options.text, options.texts, options.tokens, options.seed)
    lenses = _lenses(lens)
    traced = (trace(model, ids.to(model.device)) for ids in loaded.each(texts.ids, "texts"))
    every = [[exits(found, each) for each in lenses] for found in traced]
    rows, *logit = ([
        {
            "metric": name,
            "step": step,
            "value": float(mean),
            **ends(interval),
            "each": digits(values),
            **texts.about,
        }
        for name in every[0][number]
        for step, (mean, interval, values) in enumerate(
            _means(torch.cat([found[number][name] for found in every]), RANGES.get(name))
        )
    ] for number in range(len(lenses)))  # fmt: skip
    return {"rows": rows, "data": {"lens": kind} | ({"logit": logit[0]} if logit else {})}


def _means(
    values: torch.Tensor, within: Interval | None
) -> Iterator[tuple[float, Interval | None, list[float]]]:
    """Mean, interval and all values of each column of ``(texts, steps + 1)``."""
    measured = values.double().numpy()
    intervals = interval_pairs(mean_intervals(measured, within))
    return zip(measured.mean(0), intervals, measured.T.tolist(), strict=True)


def _range(row: dict[str, Any]) -> Interval:
    """The range of a line of the table; of a depth score from the first to the last step."""
    return (0.0, 2 * row["chance"]) if row["measure"] == SCORE else SHARE


@seeds.over_seeds("measure", "lens", "before step", "skip_front", within=_range)
def table(records: Sequence[Record]) -> Table:
    """The score, and where overlap and accuracy reach their last values."""
    lines: Table = []
    for record in records:
        part, rows = record["cell"]["params"]["part"], record["rows"]
        if part == "overlap":
            rows = [row for row in rows if row["metric"] == "overlap"]
        last = len(rows) - 1
        shown = rows if part == "score" else [rows[last // 4], rows[last // 2]]
        shown += [] if part == "score" else [rows[3 * last // 4], rows[last]]
        for row in shown:
            what = {"score": SCORE, "overlap": "top-5 overlap"}.get(part, row.get("task"))
            lines.append(
                {
                    "model": record["cell"]["model"],
                    "measure": what,
                    "lens": record["data"].get("lens"),
                    "before step": row.get("step"),
                    "value": row["value"],
                    "low": row["low"],
                    "high": row["high"],
                    "n": row["n"],
                    "chance": row.get("chance"),
                    "skip_front": front_skipped(record) if part == "score" else None,
                }
            )
    return lines


def chart(records: Sequence[Record]) -> Any:
    """Depth scores, overlap and accuracy side by side; below them what each step does, and KL."""
    alt = charts.altair()
    by_part: dict[str, list[Record]] = {part: [] for part in PARTS}
    for record in records:
        by_part[record["cell"]["params"]["part"]].append(record)
    names = seeds.names(records)
    panels = [_bars(by_part["score"], names)] if by_part["score"] else []
    overlap = by_part["overlap"]
    if overlap:
        panels.append(_lines(overlap, names, "top-5 overlap with the end", "share", "overlap"))
    for task in dict.fromkeys(r["cell"]["params"]["task"] for r in by_part["accuracy"]):
        chosen = [r for r in by_part["accuracy"] if r["cell"]["params"]["task"] == task]
        title = f"leaving early: {chosen[0]['rows'][0]['task']}"
        panels.append(_lines(chosen, names, title, "accuracy", "acc"))
    if by_part["score"]:
        panels.append(_shares(by_part["score"], names, dashed=not _both(records)))
    if overlap:
        panels.append(_lines(overlap, names, "KL to the end", "nats, symlog", "kl"))
    return alt.concat(*panels, columns=3)


def _bars(records: Sequence[Record], names: list[str]) -> Any:
    alt = charts.altair()
    values = [{"model": r["cell"]["model"], **r["rows"][0]} for r in records]
    values = seeds.lines(records, values, within=lambda row: (0.0, 2 * row["chance"]))
    fronts = ", ".join(str(front) for front in sorted({front_skipped(r) for r in records}))
    about = ["line: if all steps mattered alike", f"skip_front {fronts}"]
    title = alt.Title("depth score", subtitle=about)
    base = alt.Chart(charts.rows(values), title=title).encode(
        y=alt.Y("model:N", title=None, sort=names, axis=alt.Axis(labelLimit=160))
    )
    bars = base.mark_bar(size=18).encode(
        x=alt.X("value:Q", title="mean step, by effect"), color=charts.colour("model", names)
    )
    error = base.mark_rule(size=2).encode(x="low:Q", x2="high:Q")
    alike = base.mark_tick(size=30, thickness=2, color="#888").encode(x="chance:Q")
    return (bars + error + alike).properties(width=200, height=max(90, 38 * len(values)))


def _both(records: Sequence[Record]) -> bool:
    """Whether a tuned lens and the logit lens are drawn: dashes tell them apart then."""
    return any("logit" in record["data"] for record in records)


def _shares(records: Sequence[Record], names: list[str], dashed: bool) -> Any:
    alt = charts.altair()
    more = {"strokeDash": charts.dash("model", names)} if dashed else {}
    values = [
        {"model": record["cell"]["model"], "step": step, "share": value}
        for record in records
        for step, value in enumerate(record["data"]["shares"])
    ]
    values = seeds.lines(records, values, "step", of=("share",))
    return (
        alt.Chart(charts.rows(values), title="effect on later predictions")
        .mark_line(point={"size": 18})
        .encode(
            x=charts.steps_line("step", "step skipped"),
            y=alt.Y("share:Q", title="share of all steps' effects"),
            color=charts.colour("model", names),
            **more,
        )
        .properties(width=300, height=220)
    )


def _lines(records: Sequence[Record], names: list[str], title: str, axis: str, metric: str) -> Any:
    """A measure against the steps run, by the lens and, where it is tuned, by the logit lens."""
    alt = charts.altair()
    lens = records[0]["data"]["lens"]
    values = [
        {"model": record["cell"]["model"], "read by": read, **row}
        for record in records
        for read, rows in ((lens, record["rows"]), (LOGIT, record["data"].get("logit", [])))
        for row in rows
        if row["metric"] == metric
    ]
    accuracy = metric == "acc"
    within = SHARE if accuracy else RANGES[metric]
    values = seeds.lines(records, values, "step", "read by", within=within)
    both = [lens, LOGIT] if _both(records) else [lens]
    dash = (
        charts.dash("model", names) if len(both) == 1 else charts.dash("read by", both, alone=True)
    )
    kl = metric == "kl"  # from under a nat to a hundred, and 0 at the end
    scale = alt.Scale(type="symlog") if kl else alt.Scale()
    ticks = alt.Axis(values=NATS, format="~r", labelOverlap="greedy") if kl else alt.Axis()
    said = f"{' and '.join(both)}, n = {values[0]['n']}" + ("; dotted: chance" * accuracy)
    base = alt.Chart(charts.rows(values), title=alt.Title(title, subtitle=said)).encode(
        x=charts.steps_line("step", "steps run before it is read"),
        color=charts.colour("model", names),
    )
    line = base.mark_line(point={"size": 18}).encode(
        y=alt.Y("value:Q", title=axis, scale=scale, axis=ticks),
        strokeDash=dash,
        opacity=alt.condition(f"datum['read by'] == '{lens}'", alt.value(1), alt.value(0.5)),
        tooltip=["model:N", "read by:N", "step:Q", "value:Q", "low:Q", "high:Q"],
    )
    band = base.transform_filter(f"datum['read by'] == '{lens}'")
    low = alt.Y("low:Q", scale=scale, axis=ticks)
    layers = [band.mark_area(opacity=0.15).encode(y=low, y2="high:Q"), line]
    if accuracy:
        chance = alt.Chart(charts.rows([{"chance": values[0]["chance"]}]))
        layers.append(chance.mark_rule(color="#888", strokeDash=[1, 3]).encode(y="chance:Q"))
    return alt.layer(*layers).properties(width=300, height=220)


STUDY = Study(
    name="depth",
    asks="Do late layers still change the prediction, or could the model stop earlier?",
    figure="Figure 5",
    cost="score: half as many passes a text as steps, times --cuts; overlap: a pass and a head a "
    "step; accuracy: a pass a question; a lens: four heads a step for each token",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    compares=("step",),
)
