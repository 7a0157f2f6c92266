"""Recurrence equivalence: what is a loop worth in new layers? Beyond the paper (arXiv 2604.21106).

Measures the held-out loss of each model, and fits the iso-depth scaling law to all of them:
models of several sizes, some looped, trained in the same way. The exponent phi is 0 if loops are
worth nothing, 1 if a loop is worth as much as new layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.schedule import Schedule
from ...core.statistics import SIZE, ends, mean_interval
from ..cells import StudyCell
from ..checkpoints import ModelLoader, StudyModel
from ..measure import charts
from ..measure.iso_depth_law import ScalingRun, fit_iso_depth_law
from ..measure.losses import LOSS, schedule_losses
from ..measure.prompts import check_prompts, read_prompts, round_digits
from ..options import (
    option,
    recorded_options,
    seed_option,
    text_option,
    texts_option,
    tokens_option,
)
from ..records import Row, StudyRecord
from ..study import Measurement, Study, Table


@dataclass(frozen=True)
class Options:
    """Options of recurrence-equivalence."""

    text: str | None = text_option("file of held-out text; by default generated questions")
    texts: int = texts_option(64)
    tokens: int = tokens_option(256)
    seed: int = seed_option("seed of generated questions")
    embeddings: bool = option(
        False, "count embeddings as parameters that run once, though the law was fitted without"
    )


def loops_of(schedule: Schedule) -> int:
    """Return the number of loops of a schedule; 1 without a loop.

    Raises:
        InputError: layers that run different numbers of times.
    """
    counts = {schedule.layers.count(layer) for layer in set(schedule.layers)} - {1}
    if len(counts) > 1:
        listed = ", ".join(map(str, sorted(counts)))
        raise InputError(f"schedule {schedule} runs layers {listed} times: the law has one number")
    return counts.pop() if counts else 1


def plan(models: Sequence[StudyModel], options: Options) -> list[StudyCell]:
    """Make a cell for each model."""
    check_prompts(options.text, options.texts, options.tokens)
    for model in models:
        loops_of(model.schedule)
    recorded = recorded_options(options)
    return [
        StudyCell("recurrence-equivalence", model.name, model.path, {}, recorded)
        for model in models
    ]


def measure(cell: StudyCell, options: Options, loader: ModelLoader, out: Path) -> Measurement:
    """Measure the loss of a model under its own schedule, and count what the law needs.

    Raises:
        InputError: a model without a record of its training tokens.
    """
    from ...models.looping.config import current_schedule
    from ...models.looping.decoder import find_decoder
    from ..describe import model_of

    model, tokenizer = loader(cell.path)
    tokens = model_of(model, cell.path).training_tokens
    if not tokens:
        raise InputError(
            f"{cell.path} does not say how many tokens it was trained on: the law needs models "
            "trained by growloop train"
        )
    schedule = current_schedule(model)
    texts = read_prompts(
        tokenizer, options.text, options.texts, options.tokens, options.seed, model=model
    )
    losses = [
        schedule_losses(model, [schedule], ids.to(model.device))[0]
        for ids in loader.with_bar(texts.ids, "texts")
    ]
    layers = find_decoder(model).unique
    sizes = [sum(part.numel() for part in layer.parameters()) for layer in layers]
    recurrent = sum(size for layer, size in enumerate(sizes) if schedule.layers.count(layer) > 1)
    rest = sum(part.numel() for part in model.parameters()) - sum(sizes)
    once = sum(sizes) - recurrent + (rest if options.embeddings else 0)
    row = Row.make(
        task=LOSS,
        metric="nats a token",
        value=sum(losses) / len(losses),
        **ends(mean_interval(losses, SIZE)),
        each=round_digits(losses),
        once=once,
        recurrent=recurrent,
        loops=loops_of(schedule),
        training_tokens=tokens,
        **texts.metadata,
    )
    return Measurement([row])


def runs_of(records: Sequence[StudyRecord]) -> list[ScalingRun]:
    """Return the runs that the law is fitted to."""
    return [
        ScalingRun(row["once"], row["recurrent"], row["loops"], row["training_tokens"], row.value)
        for record in records
        for row in record.rows
    ]


def table(records: Sequence[StudyRecord]) -> Table:
    """Tabulate each model, and last the exponent with what it says about loops."""
    lines: Table = [
        {
            "model": record.model_name,
            "once": row["once"],
            "recurrent": row["recurrent"],
            "loops": row["loops"],
            "tokens": row["training_tokens"],
            "what": "loss",
            "value": row.value,
            "low": row.low,
            "high": row.high,
            "n": row.n,
            "answer": "",
        }
        for record in records
        for row in record.rows
    ]
    try:
        fit = fit_iso_depth_law(runs_of(records))
        phi, (low, high), answer, n = fit.phi, fit.interval, fit.answer, fit.runs
    except InputError as error:
        phi, low, high, answer, n = None, None, None, f"no fit: {error}", len(lines)
    empty = dict.fromkeys(("once", "recurrent", "loops", "tokens"))
    lines.append(
        {"model": "all", **empty, "what": "phi", "value": phi, "low": low, "high": high}
        | {"n": n, "answer": answer}
    )
    return lines


def chart(records: Sequence[StudyRecord]) -> Any:
    """Draw the loss against the parameters counted by the fitted exponent."""
    alt = charts.altair()
    runs = runs_of(records)
    try:
        fit = fit_iso_depth_law(runs)
        phi, title = fit.phi, fit.answer
    except InputError as error:
        phi, title = 0.0, f"no fit: {error}"
    values = [
        {
            "model": record.model_name,
            "size": run.once + run.loops**phi * run.recurrent,
            "loss": run.loss,
            "low": record.rows[0].low,
            "high": record.rows[0].high,
            "loops": f"{run.loops} loop" + "s" * (run.loops > 1),
        }
        for record, run in zip(records, runs, strict=True)
    ]
    names = list(dict.fromkeys(value["loops"] for value in values))
    base = alt.Chart(charts.rows(values), title=alt.Title(title)).encode(
        x=alt.X(
            "size:Q",
            title="parameters that run once + loops^phi x recurrent ones",
            scale=alt.Scale(type="log", nice=False, padding=15),
            axis=alt.Axis(format=".3~s", tickCount=5),
        ),
        color=charts.colour("loops", names),
    )
    dots = base.mark_point(filled=True, size=70, opacity=1).encode(
        y=alt.Y("loss:Q", title="held-out loss (nats per token)", scale=alt.Scale(zero=False)),
        tooltip=["model:N", "loops:N", "size:Q", "loss:Q"],
    )
    bars = base.mark_rule().encode(y="low:Q", y2="high:Q")
    return (bars + dots).properties(width=420, height=260)


STUDY = Study(
    name="recurrence-equivalence",
    question="What is a loop worth in new layers?",
    figure="beyond the paper",
    cost="one forward pass a text",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    example="",
    conditions=(),
)
