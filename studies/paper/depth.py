"""Depth: does a model use its late layers (paper Figure 5)?

Three measurements. Depth score: skip a step at earlier tokens, never at the first one, and measure
how much later predictions change. Overlap: share of the five most likely tokens before each step
that are among the final five. Accuracy: that of an early exit before each step. Predictions before
the end are read by the logit lens, or by a tuned lens: from a file, or trained here on
``--lens-text``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from ...tasks.questions import task_names
from .. import seed_aggregation
from ..cells import StudyCell
from ..checkpoints import ModelLoader, StudyModel
from ..measure import charts
from ..measure.accuracy import accuracy_row, check_accuracy, load_questions
from ..measure.prompts import (
    check_prompts,
    check_skip_front,
    read_prompts,
    round_digits,
    skipped_front,
)
from ..measure.tuned_lens import LensOptions, check_lens, load_or_train_lens
from ..options import (
    QuestionOptions,
    option,
    recorded_options,
    skip_front_option,
    split_option,
    tasks_option,
    text_option,
    texts_option,
    tokens_option,
)
from ..records import Row, StudyRecord
from ..study import Measurement, Study, Table

if TYPE_CHECKING:
    import torch

    from ...models.diagnostics import Lens

PARTS = ("score", "overlap", "accuracy")
LOGIT = "logit lens"
SCORE = "depth score"
RANGES = {"overlap": SHARE, "agreement": SHARE, "kl": SIZE}
NATS = [0, 0.5, 1, 2, 5, 10, 20, 50, 100, 200]  # ticks


@dataclass(frozen=True)
class Options(QuestionOptions, LensOptions):
    """Options of depth."""

    parts: tuple[str, ...] = option(PARTS, "measurements: score, overlap, accuracy")
    text: str | None = text_option()
    texts: int = texts_option(about="number of prompts, for score and overlap")
    tokens: int = tokens_option()
    cuts: int = option(4, "places between earlier and later tokens, for the score")
    skip_front: int = skip_front_option(before=0)
    tasks: tuple[str, ...] = tasks_option(
        "variable_assignment_math_d0", about="tasks or groups of them, for the accuracy"
    )
    split: str = split_option()


def plan(models: Sequence[StudyModel], options: Options) -> list[StudyCell]:
    """Make a cell for each model and part; accuracy has one for each task."""
    for part in options.parts:
        one_of("part", part, PARTS)
    check_prompts(options.text, options.texts, options.tokens)
    whole("cuts", options.cuts, 1, options.tokens - 1)
    check_skip_front(options.skip_front, options.tokens)
    check_accuracy(options.tasks, options.items, options.shots, options.seed, options.split)
    check_lens(models, options, options.tokens, (options.text, options.texts), options.seed)
    score = recorded_options(options, "parts", "tasks")
    others = {name: value for name, value in score.items() if name != "skip_front"}
    cells = []
    for model in models:
        for part in options.parts:
            tasks = task_names(options.tasks) if part == "accuracy" else ("",)
            for name in tasks:
                params = {"part": part} | ({"task": name} if name else {})
                recorded = score if part == "score" else others
                cells.append(StudyCell("depth", model.name, model.path, params, recorded))
    return cells


def measure(cell: StudyCell, options: Options, loader: ModelLoader, out: Path) -> Measurement:
    """Measure one part."""
    import torch

    from ...models.looping.config import current_schedule
    from ..measure.schedule_sweep import ScheduleSweep

    if cell.params["part"] == "score":
        return _score(loader, cell.path, options)
    measured = options.text, options.texts
    lens = load_or_train_lens(cell, loader, options, out, options.tokens, options.seed, measured)
    kind = LOGIT if lens is None else "tuned lens"
    if cell.params["part"] == "overlap":
        return _overlap(loader, cell.path, options, lens, kind)
    name, model = cell.params["task"], loader.load(cell.path)
    questions = load_questions(loader, name, options, options.split)
    sweep, lenses = ScheduleSweep(model, [current_schedule(model)]), _lenses(lens)
    answers = [
        sweep.exit_log_probs(question, lenses).argmax(-1) == question.answer
        for question in loader.with_bar(questions.questions, "questions")
    ]
    right = torch.stack(answers, dim=-1)  # (lenses, steps + 1, items)
    rows, *logit = (
        [accuracy_row(values, questions, step=step) for step, values in enumerate(each)]
        for each in right
    )
    return Measurement(rows, _data(kind, logit))


def _data(kind: str, logit: Sequence[Sequence[Row]]) -> dict[str, Any]:
    """Return the ``data`` of a record: the lens; with a tuned lens also the logit lens's rows."""
    more = {"logit": [row.to_json() for row in logit[0]]} if logit else {}
    return {"lens": kind} | more


def _lenses(lens: Lens | None) -> list[Lens | None]:
    """Return the lenses that read predictions: the logit lens, and before it a tuned lens."""
    return [None] if lens is None else [lens, None]


def _score(loader: ModelLoader, path: str, options: Options) -> Measurement:
    import torch

    from ...models.diagnostics import (
        depth_score,
        depth_shares,
        future_cuts,
        prediction_effects,
        trace,
    )

    model, tokenizer = loader(path)
    texts = read_prompts(
        tokenizer, options.text, options.texts, options.tokens, options.seed, model=model
    )
    per_text = []
    for ids in loader.with_bar(texts.ids, "texts"):
        cuts = future_cuts(ids.shape[1], options.cuts)
        traced = trace(model, ids.to(model.device))
        per_text.append(prediction_effects(traced, cuts, skip_front=options.skip_front))
    effects = torch.cat(per_text)  # (texts, steps)
    steps = effects.shape[1]
    # the score is a ratio of sums over prompts
    weighted = effects.double() * torch.arange(steps)
    sums = weighted.sum(1).tolist(), effects.double().sum(1).tolist()
    row = Row.make(
        metric=SCORE,
        step=None,
        value=depth_score(effects),
        each=round_digits(depth_score(text[None]) for text in effects),
        **ends(ratio_interval(*sums, within=(0.0, steps - 1.0))),
        stderr=ratio_error(*sums),
        chance=(steps - 1) / 2,  # score of a model whose steps all matter alike
        **texts.metadata,
    )
    shares = [float(f"{value:.5g}") for value in depth_shares(effects)]
    return Measurement([row], {"shares": shares})


def _overlap(
    loader: ModelLoader, path: str, options: Options, lens: Lens | None, kind: str
) -> Measurement:
    import torch

    from ...models.diagnostics import exits, trace

    model, tokenizer = loader(path)
    texts = read_prompts(
        tokenizer, options.text, options.texts, options.tokens, options.seed, model=model
    )
    lenses = _lenses(lens)
    traced = (trace(model, ids.to(model.device)) for ids in loader.with_bar(texts.ids, "texts"))
    every = [[exits(one, lens) for lens in lenses] for one in traced]
    rows, *logit = ([
        Row.make(
            metric=name,
            step=step,
            value=float(mean),
            **ends(interval),
            each=round_digits(values),
            **texts.metadata,
        )
        for name in every[0][number]
        for step, (mean, interval, values) in enumerate(
            _means(torch.cat([one[number][name] for one in every]), RANGES.get(name))
        )
    ] for number in range(len(lenses)))  # fmt: skip
    return Measurement(rows, _data(kind, logit))


def _means(
    values: torch.Tensor, within: Interval | None
) -> Iterator[tuple[float, Interval | None, list[float]]]:
    """Yield mean, interval over prompts and values of each column of ``(prompts, steps + 1)``."""
    measured = values.double().numpy()
    intervals = interval_pairs(mean_intervals(measured, within))
    return zip(measured.mean(0), intervals, measured.T.tolist(), strict=True)


def _range(row: dict[str, Any]) -> Interval:
    """Return the range of a table row; a depth score is between the first and the last step."""
    return (0.0, 2 * row["chance"]) if row["measure"] == SCORE else SHARE


@seed_aggregation.with_seed_means("measure", "lens", "before step", "skip_front", within=_range)
def table(records: Sequence[StudyRecord]) -> Table:
    """Tabulate the depth score, and overlap and accuracy at quarters of the depth."""
    lines: Table = []
    for record in records:
        part, rows = record.params["part"], list(record.rows)
        if part == "overlap":
            rows = [row for row in rows if row.metric == "overlap"]
        last = len(rows) - 1
        selected = rows if part == "score" else [rows[last // 4], rows[last // 2]]
        selected += [] if part == "score" else [rows[3 * last // 4], rows[last]]
        for row in selected:
            measure = {"score": SCORE, "overlap": "top-5 overlap"}.get(part, row.task)
            lines.append(
                {
                    "model": record.model_name,
                    "measure": measure,
                    "lens": record.data.get("lens"),
                    "before step": row.get("step"),
                    "value": row.value,
                    "low": row.low,
                    "high": row.high,
                    "n": row.n,
                    "chance": row.chance,
                    "skip_front": skipped_front(record) if part == "score" else None,
                }
            )
    return lines


def chart(records: Sequence[StudyRecord]) -> Any:
    """Draw depth scores, overlap and accuracy; below them the effect of each step, and KL."""
    alt = charts.altair()
    by_part: dict[str, list[StudyRecord]] = {part: [] for part in PARTS}
    for record in records:
        by_part[record.params["part"]].append(record)
    names = seed_aggregation.legend_names(records)
    panels = [_bars(by_part["score"], names)] if by_part["score"] else []
    overlap = by_part["overlap"]
    if overlap:
        panels.append(_lines(overlap, names, "top-5 overlap with the end", "share", "overlap"))
    for task in dict.fromkeys(r.params["task"] for r in by_part["accuracy"]):
        of_task = [r for r in by_part["accuracy"] if r.params["task"] == task]
        title = f"leaving early: {of_task[0].rows[0].task}"
        panels.append(_lines(of_task, names, title, "accuracy", "acc"))
    if by_part["score"]:
        panels.append(_shares(by_part["score"], names, dashed=not _both(records)))
    if overlap:
        panels.append(_lines(overlap, names, "KL to the end", "nats, symlog", "kl"))
    return alt.concat(*panels, columns=3)


def _bars(records: Sequence[StudyRecord], names: list[str]) -> Any:
    alt = charts.altair()
    values = [{"model": r.model_name, **r.rows[0].to_json()} for r in records]
    values = seed_aggregation.seed_means(
        records, values, within=lambda row: (0.0, 2 * row["chance"])
    )
    fronts = ", ".join(str(front) for front in sorted({skipped_front(r) for r in records}))
    subtitle = ["line: if all steps mattered alike", f"skip_front {fronts}"]
    title = alt.Title("depth score", subtitle=subtitle)
    base = alt.Chart(charts.rows(values), title=title).encode(
        y=alt.Y("model:N", title=None, sort=names, axis=alt.Axis(labelLimit=160))
    )
    bars = base.mark_bar(size=18).encode(
        x=alt.X("value:Q", title="mean step, by effect"), color=charts.colour("model", names)
    )
    error = base.mark_rule(size=2).encode(x="low:Q", x2="high:Q")
    uniform = base.mark_tick(size=30, thickness=2, color=charts.GREY).encode(x="chance:Q")
    return (bars + error + uniform).properties(width=200, height=max(90, 38 * len(values)))


def _both(records: Sequence[StudyRecord]) -> bool:
    """Return whether both a tuned lens and the logit lens are drawn, told apart by dashes."""
    return any("logit" in record.data for record in records)


def _shares(records: Sequence[StudyRecord], names: list[str], dashed: bool) -> Any:
    alt = charts.altair()
    more = {"strokeDash": charts.dash("model", names)} if dashed else {}
    values = [
        {"model": record.model_name, "step": step, "share": value}
        for record in records
        for step, value in enumerate(record.data["shares"])
    ]
    values = seed_aggregation.seed_means(records, values, "step", of=("share",))
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


def _lines(
    records: Sequence[StudyRecord], names: list[str], title: str, axis: str, metric: str
) -> Any:
    """Draw a measure against the steps run, read by the lens and by the logit lens."""
    alt = charts.altair()
    lens = records[0].data["lens"]
    values = [
        {"model": record.model_name, "read by": read, **row}
        for record in records
        for read, rows in (
            (lens, [row.to_json() for row in record.rows]),
            (LOGIT, record.data.get("logit", [])),
        )
        for row in rows
        if row["metric"] == metric
    ]
    accuracy = metric == "acc"
    within = SHARE if accuracy else RANGES[metric]
    values = seed_aggregation.seed_means(records, values, "step", "read by", within=within)
    both = [lens, LOGIT] if _both(records) else [lens]
    dash = (
        charts.dash("model", names) if len(both) == 1 else charts.dash("read by", both, alone=True)
    )
    kl = metric == "kl"  # from under a nat to a hundred, and 0 at the end
    scale = alt.Scale(type="symlog") if kl else alt.Scale()
    ticks = alt.Axis(values=NATS, format="~r", labelOverlap="greedy") if kl else alt.Axis()
    subtitle = f"{' and '.join(both)}, n = {values[0]['n']}" + ("; dotted: chance" * accuracy)
    base = alt.Chart(charts.rows(values), title=alt.Title(title, subtitle=subtitle)).encode(
        x=charts.steps_line("step", "steps run before it is read"),
        color=charts.colour("model", names),
    )
    own = f"datum['read by'] == '{lens}'"
    layers = charts.line_with_band(
        base,
        alt.Y("value:Q", title=axis, scale=scale, axis=ticks),
        names,
        low=alt.Y("low:Q", scale=scale, axis=ticks),
        point={"size": 18},
        dashes=dash,
        line_options={
            "opacity": alt.condition(own, alt.value(1), alt.value(0.5)),
            "tooltip": ["model:N", "read by:N", "step:Q", "value:Q", "low:Q", "high:Q"],
        },
        band=base.transform_filter(own),
    )
    layers += [charts.chance_line(values[0]["chance"])] if accuracy else []
    return alt.layer(*layers).properties(width=300, height=220)


STUDY = Study(
    name="depth",
    question="Do late layers still change the prediction, or could the model stop earlier?",
    figure="Figure 5",
    cost="score: half as many passes a prompt as steps, times --cuts; overlap: a pass and a head a "
    "step; accuracy: a pass a question; a lens: four heads a step for each token",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    conditions=("step",),
)
