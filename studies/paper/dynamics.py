"""Dynamics: does a loop settle, cycle or drift? Beyond the paper, after arXiv 2604.11791.

A looped model runs its own loop, ``--loops`` times if given. A plain model repeats ``--block``, or
is compared with itself ``--period`` layers earlier, as a grown model is by default.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import InputError, one_of, whole
from ...core.schedule import Schedule
from ...core.statistics import CHANGE, SIZE, Interval, ends, interval_pairs, mean_intervals
from .. import seed_aggregation
from ..cells import StudyCell
from ..checkpoints import ModelLoader, StudyModel
from ..measure import charts
from ..measure.loop_schedules import schedule_by_loops
from ..measure.prompts import check_prompts, read_prompts, round_digits
from ..measure.step_chart import step_chart
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

if TYPE_CHECKING:
    import torch

    from ...models.diagnostics import Trace

LOOPS = 8  # passes of a block that is repeated
DRAWN = 4  # prompts whose trajectory is stored
RATE = "contraction rate"
TITLES = {
    "change": "change from the loop before, |x - x'| / |x'|",
    "to_last": "distance to the last loop, |x - x_n| / |x_n|",
    "turn": "cosine of a loop's change and the one before",
    "attention_change": "change of attention's contribution",
}


@dataclass(frozen=True)
class Options:
    """Options of dynamics."""

    loops: int | None = option(
        None, f"passes of the loop in all; by default the model's own, {LOOPS} of a --block"
    )
    block: str | None = option(None, "START:STOP to repeat, for models that do not loop")
    period: int | None = option(
        None, "without a loop: compare layers this many steps apart; grown models have their own"
    )
    states: str = option("direction", "compare the direction of states, or the raw states")
    text: str | None = text_option()
    texts: int = texts_option()
    tokens: int = tokens_option()
    seed: int = seed_option("seed of generated questions")
    show: tuple[str, ...] = option(
        ("change", "to_last"), f"measures in the chart, of {', '.join(TITLES)}", drawn=True
    )


@dataclass(frozen=True)
class Run:
    """Schedule to run, and the steps of a block for one without a loop."""

    schedule: Schedule
    period: int | None = None


def run_of(base: Schedule, period: int | None, options: Options) -> Run:
    """Return what a model runs.

    Args:
        base: schedule of the model.
        period: steps of a block that its growth suggests.

    Raises:
        InputError: a model without a loop, block and period, or a block outside.
    """
    looped = any(section.times > 1 for section in base.sections)
    if looped and options.loops is None:
        return Run(base)
    if looped or options.block is not None:
        return Run(schedule_by_loops(base, options.block)(options.loops or LOOPS))
    period = options.period or period
    if period is None:
        raise InputError(
            f"schedule {base} has no loop: repeat a block (--block START:STOP), or compare "
            "layers that are a number of steps apart (--period)"
        )
    return Run(base, period)


def plan(models: Sequence[StudyModel], options: Options) -> list[StudyCell]:
    """Make a cell for each model."""
    from ...models.diagnostics.dynamics import STATES, loop_chains

    check_prompts(options.text, options.texts, options.tokens)
    one_of("states", options.states, STATES)
    for name in options.show:
        one_of("measure", name, TITLES)
    if options.loops is not None:
        whole("loops", options.loops, 2, 1000)
    if options.period is not None:
        whole("period", options.period, 1, 1000)
    if options.block is not None and options.period is not None:
        raise InputError("--block repeats layers and --period compares them as they are: give one")
    looped = [any(section.times > 1 for section in m.schedule.sections) for m in models]
    for name in ("block", "period"):
        if getattr(options, name) is not None and all(looped):
            raise InputError(f"--{name} is for models that do not loop, and these do: leave it out")
    for model in models:
        run = run_of(model.schedule, model.period, options)
        loop_chains(run.schedule, run.period)
    recorded = recorded_options(options)
    return [StudyCell("dynamics", model.name, model.path, {}, recorded) for model in models]


def measure(cell: StudyCell, options: Options, loader: ModelLoader, out: Path) -> Measurement:
    """Measure every looped step of a model, and each looped layer."""
    import torch

    from ...models import loop
    from ...models.diagnostics import dynamics, layer_dynamics, loop_chains, returns, trace
    from ...models.diagnostics.dynamics import principal_plane
    from ...models.diagnostics.periodicity import expected_period
    from ...models.looping.config import current_schedule

    model, tokenizer = loader(cell.path)
    base = current_schedule(model)
    run = run_of(base, expected_period(model.config), options)
    chains = loop_chains(run.schedule, run.period)
    texts = read_prompts(
        tokenizer, options.text, options.texts, options.tokens, options.seed, model=model
    )
    scheduled: Any = contextlib.nullcontext()
    if run.schedule != base:
        scheduled = loop(model).scheduled(run.schedule)
    each: dict[str, list[torch.Tensor]] = {name: [] for name in TITLES}
    far: list[list[torch.Tensor]] = [[] for _ in chains]
    ends_of_prompts = []  # state of the last token after each step of the chains
    steps = sorted(step for chain in chains for step in chain)
    with scheduled:
        for ids in loader.with_bar(texts.ids, "texts"):
            traced = trace(model, ids.to(model.device), sublayers=None)
            for name, values in dynamics(traced, chains, options.states).items():
                each[name].append(values[0])
            for place, chain in enumerate(chains):
                if len(chain) > 2:
                    far[place].append(returns(traced, chain, options.states)[0])
            last = torch.stack([_path_state(traced, step)[0, -1].float() for step in steps])
            if options.states == "direction":
                last = torch.nn.functional.normalize(last, dim=-1)
            ends_of_prompts.append(last.cpu())
    arrays = {name: torch.stack(values).double().numpy() for name, values in each.items()}
    rows = _step_rows(arrays, chains, run, texts.metadata)
    for place, chain in enumerate(chains):
        found = layer_dynamics(
            arrays["change"][:, chain[1:]],
            torch.stack(far[place]).double().numpy() if far[place] else None,
        )
        if found.rate is None:
            continue
        rows.append(
            Row.make(
                metric=RATE,
                layer=_layer(run, chain[0]),
                loops=len(chain),
                value=found.rate,
                **ends(found.interval),
                verdict=found.verdict,
                left=found.left,
                period=found.period,
                **texts.metadata,
            )
        )
    plane, share = principal_plane(torch.stack(ends_of_prompts))
    data = {
        "schedule": str(run.schedule),
        "period": run.period,
        "steps": steps,
        "plane": [[round_digits(xy) for xy in prompt] for prompt in plane[:DRAWN].tolist()],
        "explained": round(share, 4),
        "show": list(options.show),
    }
    return Measurement(rows, data)


def _path_state(traced: Trace, step: int) -> torch.Tensor:
    """Return what a loop carries on after a step; with several streams, the block's output."""
    output = traced.outputs[step]
    carried = traced.carried.get(step, output)
    return carried if carried.shape == output.shape else output


def _layer(run: Run, step: int) -> int:
    """Return the layer of a step; its place in the block for a schedule without a loop."""
    return step if run.period is not None else run.schedule.coordinates[step][0]


def _step_rows(
    arrays: dict[str, Any], chains: list[list[int]], run: Run, about: dict[str, Any]
) -> list[Row]:
    """Return a row for each measure and looped step that has a value."""
    rows = []
    for name, values in arrays.items():
        intervals = interval_pairs(mean_intervals(values, range_of(name)))
        for chain in chains:
            for loop, step in enumerate(chain):
                column = values[:, step]
                if np.isnan(column).any() or (name == "to_last" and step == chain[-1]):
                    continue
                rows.append(
                    Row.make(
                        metric=name,
                        step=step,
                        layer=_layer(run, chain[0]),
                        loop=loop,
                        value=float(column.mean()),
                        **ends(intervals[step]),
                        each=round_digits(column),
                        **about,
                    )
                )
    return rows


def range_of(measure: str) -> Interval:
    """Return the range of a measure."""
    return CHANGE if measure == "turn" else SIZE


@seed_aggregation.with_seed_means("layer", of="rate", within=SIZE)
def table(records: Sequence[StudyRecord]) -> Table:
    """Tabulate each looped layer: first and last change, their rate, what is left, and verdict."""
    lines: Table = []
    for record in records:
        rates = {row["layer"]: row for row in record.rows if row.metric == RATE}
        changes: dict[int, list[Row]] = {}
        for row in record.rows:
            if row.metric == "change":
                changes.setdefault(row["layer"], []).append(row)
        for layer, of_layer in changes.items():
            rate = rates.get(layer)
            verdict = "too few loops" if rate is None else rate["verdict"]
            if rate is not None and rate["period"]:
                verdict += f" of {rate['period']} loops"
            lines.append(
                {
                    "model": record.model_name,
                    "layer": layer,
                    "loops": len(of_layer) + 1,
                    "first change": of_layer[0].value,
                    "last change": of_layer[-1].value,
                    "rate": None if rate is None else rate.value,
                    "low": None if rate is None else rate.low,
                    "high": None if rate is None else rate.high,
                    "left": None if rate is None else rate["left"],
                    "verdict": verdict,
                    "texts": of_layer[0].n,
                }
            )
    return lines


def chart(records: Sequence[StudyRecord]) -> Any:
    """Draw the measures against the steps, and a prompt's path in the plane of most variance."""
    alt = charts.altair()
    panels = [
        step_chart(records, name, TITLES[name], range_of(name), logarithmic=name != "turn")
        for name in records[0].data["show"]
    ]
    paths = [_path_panel(record) for record in records]
    return alt.vconcat(alt.concat(*panels, columns=2), alt.concat(*paths, columns=3)).resolve_scale(
        color="independent"
    )


def _path_panel(record: StudyRecord) -> Any:
    """Draw the path of the first prompt's last token through the loops; dark is late."""
    alt = charts.altair()
    path = record.data["plane"][0]
    values = [
        {"x": x, "y": y, "order": place, "step": step}
        for place, ((x, y), step) in enumerate(zip(path, record.data["steps"], strict=True))
    ]
    share = f"{record.data['explained']:.0%}"
    title = alt.Title(
        f"{record.model_name}: state of the last token",
        subtitle=f"two components hold {share} of the variance; dark: late steps",
    )
    base = alt.Chart(charts.rows(values), title=title).encode(
        x=alt.X("x:Q", title="first component", scale=alt.Scale(zero=False)),
        y=alt.Y("y:Q", title="second component", scale=alt.Scale(zero=False)),
    )
    line = base.mark_line(color=charts.GREY, strokeWidth=1).encode(order="order:Q")
    colour = alt.Color(
        "order:Q", title="step", scale=alt.Scale(scheme="blues", domainMin=-2), legend=None
    )
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(
        color=colour, tooltip=["step:Q", "x:Q", "y:Q"]
    )
    return (line + dots).properties(width=220, height=190)


STUDY = Study(
    name="dynamics",
    question="Does the state settle, cycle or drift from loop to loop?",
    figure="beyond the paper",
    cost="one forward pass a prompt",
    options=Options,
    plan=plan,
    measure=measure,
    table=table,
    chart=chart,
    example="--block 2:4",
    conditions=("layer", "loop"),
)
