"""Whether a model uses its late layers (paper Figure 5).

Three measurements: the depth score (skip a step at earlier tokens, see how much later predictions
change), the overlap of the five most likely tokens at each step with the final ones, and the
accuracy of leaving before each step. Predictions before the end are read by the logit lens, or by
a tuned lens: from a file, or trained here on ``--lens-text``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..models.diagnostics import (
    Lens,
    depth_score,
    depth_shares,
    exits,
    future_cuts,
    prediction_effects,
    trace,
)
from ..primitives.errors import one_of, whole
from . import charts, seeds
from .accuracy import accuracy_row, ask, check_accuracy
from .intervals import DRAWS, bootstrap_columns
from .lenses import LensOptions, check_lens, the_lens
from .questions import task_names
from .study import Cell, Loaded, Model, Record, Study, Table, option, settled
from .sweep import Sweep, base_schedule
from .texts import check_texts, read_texts

PARTS = ("score", "overlap", "accuracy")


@dataclass(frozen=True)
class Options(LensOptions):
    """What is measured."""

    parts: tuple[str, ...] = option(PARTS, "score, overlap, accuracy")
    text: str | None = option(None, "file of prompts; by default generated questions")
    texts: int = option(16, "how many of them, for score and overlap")
    tokens: int = option(128, "tokens of each, at most")
    cuts: int = option(4, "places between earlier and later tokens, for the score")
    tasks: tuple[str, ...] = option(("variable_assignment_math_d0",), "for the accuracy")
    items: int = option(200, "questions a task")
    shots: int = option(5, "examples before a question")
    split: str = option("test", "test or validation")
    seed: int = option(0, "which questions and examples are drawn")


def plan(models: Sequence[Model], options: Options) -> list[Cell]:
    """A cell for each model and part, and each task."""
    for part in options.parts:
        one_of("part", part, PARTS)
    check_texts(options.text, options.texts, options.tokens)
    whole("cuts", options.cuts, 1, options.tokens - 1)
    check_accuracy(options.tasks, options.items, options.shots, options.seed, options.split)
    check_lens(models, options, options.tokens, (options.text, options.texts))
    kept = settled(options, "parts", "tasks")
    cells = []
    for model in models:
        for part in options.parts:
            asked = task_names(options.tasks) if part == "accuracy" else ("",)
            for name in asked:
                params = {"part": part} | ({"task": name} if name else {})
                cells.append(Cell("depth", model.name, model.path, params, kept))
    return cells


def measure(cell: Cell, options: Options, loaded: Loaded, out: Path) -> dict[str, Any]:
    """One part."""
    model, tokenizer = loaded(cell.path)
    if cell.params["part"] == "score":
        return _score(model, tokenizer, options)
    measured = options.text, options.texts
    lens = the_lens(cell, model, tokenizer, options, out, options.tokens, options.seed, measured)
    kind = "logit lens" if lens is None else "tuned lens"
    if cell.params["part"] == "overlap":
        return _overlap(model, tokenizer, options, lens, kind)
    name = cell.params["task"]
    asked = ask(loaded, name, options.items, options.split, options.seed, options.shots)
    sweep = Sweep(model, [base_schedule(model)])
    answers = [
        sweep.exit_scores(question, lens).argmax(1) == question.answer for question in asked.asked
    ]
    right = torch.stack(answers, dim=1)  # (steps + 1, items)
    rows = [accuracy_row(values, asked, step=step) for step, values in enumerate(right)]
    return {"rows": rows, "data": {"lens": kind}}


def _score(model: Any, tokenizer: Any, options: Options) -> dict[str, Any]:
    texts = read_texts(tokenizer, options.text, options.texts, options.tokens, options.seed)
    found = []
    for ids in texts.ids:
        cuts = future_cuts(ids.shape[1], options.cuts)
        found.append(prediction_effects(trace(model, ids.to(model.device)), cuts))
    effects = torch.cat(found)  # (texts, steps)
    random = np.random.Generator(np.random.Philox(0))
    drawn = random.integers(0, len(effects), (DRAWS, len(effects)))
    scores = [depth_score(effects[rows]) for rows in drawn]
    low, high = np.quantile(scores, [0.025, 0.975])
    steps = effects.shape[1]
    # what a model has whose steps all matter alike
    row = {
        "metric": "depth score",
        "value": depth_score(effects),
        "low": float(low),
        "high": float(high),
        "chance": (steps - 1) / 2,
        **texts.about,
    }
    shares = [float(f"{value:.5g}") for value in depth_shares(effects)]
    return {"rows": [row], "data": {"shares": shares}}


def _overlap(
    model: Any, tokenizer: Any, options: Options, lens: Lens | None, kind: str
) -> dict[str, Any]:
    texts = read_texts(tokenizer, options.text, options.texts, options.tokens, options.seed)
    found = [exits(trace(model, ids.to(model.device)), lens) for ids in texts.ids]
    rows = []
    for name in found[0]:
        values = torch.cat([measured[name] for measured in found]).double().numpy()
        low, high = bootstrap_columns(values)
        for step, mean in enumerate(values.mean(0)):
            rows.append(
                {
                    "metric": name,
                    "step": step,
                    "value": float(mean),
                    "low": float(low[step]),
                    "high": float(high[step]),
                    **texts.about,
                }
            )
    return {"rows": rows, "data": {"lens": kind}}


@seeds.over_seeds("measure", "lens", "before step")
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
            what = {"score": "depth score", "overlap": "top-5 overlap"}.get(part, row.get("task"))
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
                }
            )
    return lines


def chart(records: Sequence[Record]) -> Any:
    """Depth scores as bars, overlap and accuracy against the step."""
    alt = charts.altair()
    names = seeds.names(records)
    panels = []
    by_part: dict[str, list[Record]] = {part: [] for part in PARTS}
    for record in records:
        by_part[record["cell"]["params"]["part"]].append(record)
    if by_part["score"]:
        values = [{"model": r["cell"]["model"], **r["rows"][0]} for r in by_part["score"]]
        values = seeds.lines(records, values)
        base = alt.Chart(charts.rows(values), title="depth score").encode(
            x=alt.X("model:N", title=None, sort=names, axis=alt.Axis(labelAngle=0)),
        )
        bars = base.mark_bar(size=34).encode(
            y=alt.Y("value:Q", title="mean step, by effect"), color=charts.colour("model", names)
        )
        error = base.mark_rule(size=2).encode(y="low:Q", y2="high:Q")
        panels.append((bars + error).properties(width=max(110, 70 * len(names)), height=220))
        shares = [
            {"model": record["cell"]["model"], "step": step, "share": value}
            for record in by_part["score"]
            for step, value in enumerate(record["data"]["shares"])
        ]
        shares = seeds.lines(records, shares, "step", of=("share",))
        panels.append(
            alt.Chart(charts.rows(shares), title="effect on later predictions")
            .mark_line(point={"size": 18})
            .encode(
                x=charts.steps_line("step", "step skipped"),
                y=alt.Y("share:Q", title="share of all steps' effects"),
                color=charts.colour("model", names),
                strokeDash=charts.dash("model", names),
            )
            .properties(width=330, height=220)
        )
    if by_part["overlap"]:
        for metric, title in (("overlap", "top-5 overlap with the end"), ("kl", "KL to the end")):
            values = [
                {"model": record["cell"]["model"], **row}
                for record in by_part["overlap"]
                for row in record["rows"]
                if row["metric"] == metric
            ]
            values = seeds.lines(records, values, "step")
            axis = "share of tokens" if metric == "overlap" else "nats"
            lens = by_part["overlap"][0]["data"]["lens"]
            panels.append(_lines(values, names, alt.Title(title, subtitle=lens), axis))
    for task in dict.fromkeys(r["cell"]["params"]["task"] for r in by_part["accuracy"]):
        chosen = [r for r in by_part["accuracy"] if r["cell"]["params"]["task"] == task]
        values = [{"model": r["cell"]["model"], **row} for r in chosen for row in r["rows"]]
        values = seeds.lines(records, values, "step", within=seeds.SHARE)
        lens, n = chosen[0]["data"]["lens"], values[0]["n"]
        title = alt.Title(f"leaving early: {task}", subtitle=f"{lens}, n = {n}; dotted: chance")
        lines = _lines(values, names, title, "accuracy")
        chance = alt.Chart(charts.rows([{"chance": values[0]["chance"]}]))
        panels.append(
            lines + chance.mark_rule(color="#888", strokeDash=[1, 3]).encode(y="chance:Q")
        )
    return alt.concat(*panels, columns=2)


def _lines(values: list[dict[str, Any]], names: list[str], title: Any, axis: str) -> Any:
    alt = charts.altair()
    base = alt.Chart(charts.rows(values), title=title).encode(
        x=charts.steps_line("step", "before step (the last: the model itself)"),
        color=charts.colour("model", names),
    )
    line = base.mark_line(point={"size": 18}).encode(
        y=alt.Y("value:Q", title=axis),
        strokeDash=charts.dash("model", names),
        tooltip=["model:N", "step:Q", "value:Q", "low:Q", "high:Q"],
    )
    band = base.mark_area(opacity=0.2).encode(y="low:Q", y2="high:Q")
    return (band + line).properties(width=330, height=220)


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
)
