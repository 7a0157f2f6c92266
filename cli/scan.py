"""``growloop scan``."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Any

import click

from ..core.errors import InputError
from ..tasks.evaluate import DTYPES, require_extra
from .command import Command
from .options import (
    device_option,
    dtype_option,
    force_option,
    items_option,
    leaderboard_option,
    model_argument,
    option,
    out_option,
    picture_option,
    seed_option,
    shots_option,
    table_options,
    trust_option,
    whole_numbers,
)
from .tables import Column, paragraph, print_csv, show


@click.command("scan", cls=Command)
@model_argument
@out_option("folder of the scan", default="scan", show_default=True)
@option(
    "--tasks", "-t", "probes", aliases=("--probe",), multiple=True, group="tasks",
    help="task, group, or JSONL of prompts; may be given again  [default: reasoning_primitives]",
)  # fmt: skip
@items_option("validation items a task", default=200, show_default=True)
@option("--test-items", default=500, show_default=True, help="test items a task", group="tasks")
@shots_option("examples before a question", type=int, default=5, show_default=True)
@option("--fixed-shots", is_flag=True, help="the same examples everywhere: cheaper", group="tasks")
@seed_option("draws items and examples")
@option("--edits", default="repeat", show_default=True, help="edits to search: repeat, skip, swap")
@option("--max-block", default=8, show_default=True,
        help="largest block; all sizes of a model of fewer layers")  # fmt: skip
@option("--all-blocks", is_flag=True, help="blocks of every size")
@option("--repeats", default="1", show_default=True, help="numbers of extra passes: 1,2")
@option("--apply", "applied", default="plain", show_default=True,
        help="how a repeat is applied: plain, damped:0.5, substeps")  # fmt: skip
@option("--kv", default="own", show_default=True,
        help="keys and values of repeated passes: own, shared")  # fmt: skip
@option("--max-gen-toks", default=64, show_default=True, help="most tokens of a generated answer",
        group="tasks")  # fmt: skip
@option("--normalise", is_flag=True, help="compare options by log-probability a character",
        group="tasks")  # fmt: skip
@option("--measure", default="margin", show_default=True, help="margin or accuracy")
@option("--clip", default=2.0, show_default=True, help="largest margin that counts, in nats")
@option("--race", default="bets", show_default=True,
        help="bets (stated error), halving (stated cost) or none (all on all items)")  # fmt: skip
@option("--top", default=1, show_default=True, help="number of best candidates that a race keeps")
@option("--alpha", default=0.05, show_default=True,
        help="probability that bets drop one of the best")  # fmt: skip
@option("--beam", default=4, show_default=True, help="blocks to combine; 0 for none")
@option("--blocks", default=3, show_default=True, help="most blocks of a combination")
@option(
    "--max-extra-layers",
    type=int,
    help="most extra layers of a combination  [default: twice --max-block]",
)
@option("--report", default=1, show_default=True, help="candidates measured on test items")
@option("--text", help="file of documents for held-out negative log-likelihood", group="tasks")
@option("--guard", default="", help="lm-eval tasks to score before and after, with commas",
        group="tasks")  # fmt: skip
@option("--guard-items", "guard_limit", aliases=("--guard-limit",), default=500, show_default=True,
        help="most questions of a guard", group="tasks")  # fmt: skip
@option("--budget", help="stop after 20m, 2h or 2e15flops with the best so far")
@option("--allow-chance", is_flag=True, help="scan although the model guesses on a task")
@option("--save", "saved", metavar="best", help="write the winner to --save-to", group="output")
@option(
    "--save-to", metavar="FOLDER", help="looped checkpoint  [default: OUT/best]", group="output"
)
@force_option("replace a checkpoint that --save wrote before", aliases=("--overwrite",))
@picture_option("write the map")
@leaderboard_option("add the winner to records")
@dtype_option("bfloat16", "dtype of the weights: " + ", ".join(DTYPES))
@device_option()
@trust_option
@table_options()
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str,
    out: str,
    probes: tuple[str, ...],
    edits: str,
    max_block: int,
    all_blocks: bool,
    repeats: str,
    applied: str,
    kv: str,
    guard: str,
    saved: str | None,
    save_to: str | None,
    force: bool,
    picture: str | None,
    leaderboard: str | None,
    dtype: str,
    device: str | None,
    as_json: bool,
    as_csv: bool,
    **settings: Any,
) -> None:
    """Find the layers of MODEL that are worth repeating.

    Every block of layers, repeated, races on validation items; blocks that are certainly not the
    best are dropped. The best ones are combined, and the winner is measured on test items that
    chose nothing. Called again, a scan resumes; several processes may share --out.

    \b
    Examples:
      growloop scan HuggingFaceTB/SmolLM2-135M --out map --picture map.html
      growloop scan ./model --tasks variable_assignment_math_d0 --fixed-shots --budget 20m
      growloop scan ./model --tasks my.jsonl --edits repeat,skip --apply plain,substeps
      growloop scan ./model --guard lambada_openai,hellaswag --text held-out.txt --save best
    """
    require_extra("eval", "a scan")
    if saved not in (None, "best"):
        raise InputError(f"--save takes best, not {saved!r}")
    if save_to is not None and saved is None:
        raise InputError("--save-to says where --save best writes: give both")
    settings |= {
        "probes": probes,
        "edits": _names(edits),
        "max_block": None if all_blocks else max_block,
        "repeats": tuple(whole_numbers(repeats, "--repeats")),
        "applied": _names(applied),
        "kv": _names(kv),
        "guards": _names(guard),
    }
    from ..api.scanning import scan

    line = _Line()
    try:
        result = scan(
            model,
            out,
            dtype=dtype,
            device=device,
            picture=picture,
            leaderboard=leaderboard,
            save_to=None if saved is None else save_to or f"{out}/best",
            overwrite=force,
            say=line,
            command=shlex.join(["growloop", *(ctx.obj or [])]),
            **settings,
        )
    finally:
        line.close()
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=1))
        return
    from ..studies.scan.outputs import table

    rows = table(result)
    if as_csv:
        print_csv(rows)
        return
    columns = [Column(name, number=name != "candidate") for name in rows[0]]
    show(columns, [[_cell(value) for value in row.values()] for row in rows])
    click.echo()
    verdict, *notations = result.lines or (result.verdict,)
    paragraph(verdict)
    for text in notations:  # to copy: never wrapped
        click.echo(text)


class _Line:
    """Progress on standard error: one line that is rewritten on a terminal, else many."""

    def __init__(self) -> None:
        self.live, self.wide = sys.stderr.isatty(), 0

    def __call__(self, text: str) -> None:
        if not self.live or text.startswith("note:"):
            click.echo(text, err=True)
            return
        click.echo("\r" + text.ljust(self.wide), err=True, nl=False)
        self.wide = len(text)

    def close(self) -> None:
        if self.live and self.wide:
            click.echo("\r" + " " * self.wide + "\r", err=True, nl=False)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _cell(value: Any) -> str:
    return f"{value:+.4f}" if isinstance(value, float) else str(value)
