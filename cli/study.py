"""Command ``growloop study``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ..core.errors import InputError
from ..tasks.evaluate import DTYPES, require_extra
from .command import Command, Option, flags_of, no_such_option, write_options
from .dataclass_options import options_to_click
from .options import (
    device_option,
    dtype_option,
    leaderboard_option,
    model_option,
    option,
    out_option,
    picture_option,
    plan_option,
    table_options,
    trust_option,
)
from .tables import Column, print_csv, show, width

if TYPE_CHECKING:
    from ..studies.study import Study

ACTIONS = "list", "show", "publish"
OWN_OPTIONS = "growloop.study.options"
"""Key of a study's own options in the metadata of a call."""
VALUES = {
    "value", "mean", "low", "high", "±", "gain", "gain ±", "difference", "plain", "repeated",
    "without", "with", "accuracy", "over seeds", "gain over seeds",
    "mean effect of earlier steps", "untied less tied",
}  # fmt: skip
"""Columns of values and their errors: always shown."""
DETAILS = {
    "chance": 9, "skip_front": 9, "n": 8, "texts": 8, "pairs": 8, "of": 8, "a look": 7,
    "chosen of": 7, "training": 7, "FLOPs": 7, "unique": 7, "schedule": 6, "swaps": 6,
    "decoding": 6, "saved": 5, "layer": 5, "loop": 5, "all steps": 4, "seeds": 4,
    "once": 5, "recurrent": 5, "tokens": 5, "differ (Holm)": 3, "FLOPs saved": 3,
    "standard deviation": 3, "control": 2, "gain,": 2,
    "difference,": 2, "p": 1,
}  # fmt: skip
"""Columns that a narrow terminal folds, by name or first word: the highest first."""


class StudyCommand(Command):
    """Command ``study``: adds the options of the study NAME to its own before parsing."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the studies; of plug-ins name and origin, so that none is imported."""
        from ..studies.catalog import QUESTIONS, STUDIES

        own = [(name, question) for name, (question, _) in QUESTIONS.items()]
        with formatter.section("Studies"):
            origins = STUDIES.origins().items()
            formatter.write_dl([*own, *((name, f"(of {origin})") for name, origin in origins)])

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the options of all studies, then those of the study that was named."""
        return [*super().get_params(ctx), *ctx.meta.get(OWN_OPTIONS, ())]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find NAME, then parse all arguments with the options of that study.

        Raises:
            UsageError: an unknown option, with the nearest of the study's own; a repeated option.
        """
        ctx.ignore_unknown_options = ctx.allow_extra_args = True
        typed, _, _ = self.make_parser(ctx).parse_args(list(args))
        name = typed.get("name")
        if not isinstance(name, str) or name in ACTIONS:  # click marks what is missing
            return super().parse_args(ctx, args)
        if name.startswith("--"):
            raise no_such_option(name.partition("=")[0], flags_of(self.params), ctx)
        require_extra("eval", "a study")
        from ..studies.catalog import find

        own = options_to_click(find(name).options)
        ctx.meta[OWN_OPTIONS] = own
        ctx.ignore_unknown_options = ctx.allow_extra_args = False
        if typed.get("helped") is not True:
            _check_flags(self.make_parser(ctx), args, own, ctx)
        return super().parse_args(ctx, args)


def _check_flags(
    parser: Any, args: Sequence[str], own: Sequence[Option], ctx: click.Context
) -> None:
    """Refuse unknown or repeated options, an own option without a value, and extra arguments."""
    try:
        _, rest, order = parser.parse_args(list(args))
    except click.NoSuchOption as error:
        flags = flags_of([*own, *ctx.command.params])
        raise no_such_option(error.option_name, flags, ctx) from error
    if rest:
        raise click.UsageError(f"unexpected argument '{rest[0]}'", ctx)
    for each in own:
        if order.count(each) > 1:
            raise click.UsageError(f"{each.opts[0]} is given twice", ctx)


@click.command("study", cls=StudyCommand, add_help_option=False)
@click.argument("name", required=False)
@model_option("hub id, folder, GGUF file or package:NAME; once for each", multiple=True)
@dtype_option("float32", ", ".join(DTYPES))
@device_option()
@trust_option
@out_option("folder for the records", default="studies", show_default=True)
@leaderboard_option("add the leaderboard metrics to the records there")
@picture_option("chart to write", aliases=("-p",))
@option("--dark", is_flag=True, group="output", help="picture light on dark")
@table_options("print the records as JSON")
@plan_option("print the cells and measure nothing", "planned")
@option("--cell", type=int, help="measure only this cell of the plan (for array jobs)")
@option("--against", metavar="MODEL", help="compare the others with it on the same items")
@option("--help", "-h", "helped", is_flag=True, help="show this, or a study's own options")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    name: str | None,
    model: tuple[str, ...],
    out: str,
    planned: bool,
    cell: int | None,
    dtype: str,
    device: str | None,
    picture: str | None,
    dark: bool,
    leaderboard: str | None,
    against: str | None,
    as_json: bool,
    as_csv: bool,
    helped: bool,
    **own: Any,
) -> None:
    """Run a study of the paper on any checkpoints.

    NAME is a study. Each has options of its own: growloop study NAME --help. Results are stored
    below --out, so that a stopped study resumes.

    With --leaderboard its leaderboard metrics are added to the records that growloop leaderboard
    and growloop claims read. growloop study publish adds those of all results that are stored
    below --out already.

    \b
    Examples:
      growloop study list
      growloop study local-effects --help
      growloop study contributions -m ./plain -m ./looped --picture contributions.html
      growloop study inference-scaling -m ./grown --block-size 4 --repeats 1,2 --plan
      growloop study swaps -m ./looped -m ./plain --leaderboard records
      growloop study in-context-scaling -m ./looped -m ./plain --against plain
      growloop study publish --out studies --leaderboard records
    """
    if helped and (name is None or name in ACTIONS):
        click.echo(ctx.get_help())
        return
    if name is None:
        raise InputError("which study? growloop study list names them")
    if name in ACTIONS and (model or (name == "list" and ctx.args)):
        extra = "--model" if model else ctx.args[0]
        raise InputError(f"{name} takes no {extra}")
    if name == "list":
        _list(as_json, as_csv)
        return
    require_extra("eval", "a study")
    from ..studies.catalog import find

    if name == "show":
        if len(ctx.args) != 1:
            raise InputError("give one study: growloop study show NAME")
        _show(ctx, find(ctx.args[0]))
        return
    if name == "publish":
        _publish_all(ctx.args, out, leaderboard)
        return
    study = find(name)
    if helped:
        _show(ctx, study)
        return
    from ..api import studying

    options = study.options(**own)
    if not model:
        raise InputError("give a model: --model CHECKPOINT, once for each")
    _check(dtype, picture)
    studying.check_store(leaderboard, cell)
    if against is not None:
        from ..studies.checkpoints import read_models

        studying.check_against(against, study, [each.name for each in read_models(model)])
        if as_json or as_csv or cell is not None:
            raise InputError(
                "--against needs the tables of all cells: leave out --json, --csv and --cell"
            )
    if planned:
        cells = studying.plan_cells(study, options, model)
        if as_json or as_csv or cell is not None:
            raise InputError("--plan prints the cells: leave out --json, --csv and --cell")
        for number, planned_cell in enumerate(cells):
            click.echo(f"{number}\t{planned_cell.id}")
        return
    studying.check_places(picture)
    result = studying.study(
        name,
        model,
        out=out,
        dtype=dtype,
        device=device,
        leaderboard=leaderboard,
        cell=cell,
        command=shlex.join(["growloop", *(ctx.obj or [])]),
        **own,
    )
    for line in result.published:
        _say(line)
    if picture is not None:
        from ..studies.measure.charts import save

        click.echo(str(save(result.raw_chart(), picture, dark)), err=True)
    if as_json:
        click.echo(json.dumps(result.to_dict()["records"], indent=1))
    else:
        (print_csv if as_csv else _print)(result.to_rows())
    if against is not None:
        click.echo()
        _print(result.against(against))


def _publish_all(extra: Sequence[str], out: str, leaderboard: str | None) -> None:
    """Publish all records below ``out``."""
    if extra:
        raise InputError(f"publish takes --out and --leaderboard alone, not {extra[0]}")
    if leaderboard is None:
        raise InputError("publish where? give --leaderboard FOLDER")
    from ..api.studying import check_store, publish
    from ..studies.publish import read_records

    check_store(leaderboard)
    for line in publish(read_records(out), leaderboard):
        _say(line)


def _say(text: str) -> None:
    click.echo(text, err=True)


def _check(dtype: str, picture: str | None) -> None:
    from ..core.errors import one_of

    one_of("dtype", dtype, DTYPES)
    if picture is not None:
        from ..studies.measure.charts import check_picture

        check_picture(picture)


def _list(as_json: bool, as_csv: bool) -> None:
    from ..studies.catalog import summaries

    studies = summaries()
    if as_json:
        click.echo(json.dumps(studies, indent=2))
        return
    if as_csv:
        print_csv(studies)
        return
    rows = []
    for study in studies:
        figure = study["paper"]
        if study["from"] != "growloop":
            figure = ", ".join(filter(None, [figure, f"of {study['from']}"]))
        rows.append([study["study"], f"{study['asks']} ({figure})"])
    show([Column(""), Column("")], rows)


def _show(ctx: click.Context, study: Study) -> None:
    """Print question, cost and options of a study."""
    own = options_to_click(study.options)
    shared = [each for each in ctx.command.params if isinstance(each, click.Option)]
    formatter = click.HelpFormatter(width=min(100, width() or 100))
    formatter.write_text(f"{study.name}: {study.question}")
    formatter.write_text(f"Paper: {study.figure}")
    formatter.write_text(f"Cost: {study.cost}")
    with formatter.section("Options"):
        formatter.write_dl([rec for each in own if (rec := each.get_help_record(ctx))])
    write_options(shared, ctx, formatter, " of all studies")
    formatter.write("\nExample:\n")
    words = ["growloop study", study.name, "--model CHECKPOINT", study.example]
    formatter.write("  " + " ".join(filter(None, [*words, "--picture out.html"])))
    click.echo(formatter.getvalue())


def _print(lines: list[dict[str, Any]]) -> None:
    if not lines:
        return
    columns = [_column(name, [line[name] for line in lines]) for name in lines[0]]
    show(columns, [[_cell(value) for value in line.values()] for line in lines])


def _column(name: str, values: Sequence[Any]) -> Column:
    """Classify a study's column: name or setting, value or error, or detail."""
    numbers = all(isinstance(value, (int, float, type(None))) for value in values)
    if name in VALUES and (numbers or name != "repeated"):  # of retrofit that is a text
        return Column(name, number=True, value=True)
    fold = DETAILS.get(name, DETAILS.get(name.split()[0], 0))
    return Column(name, number=numbers, fold=fold)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        tiny_or_huge = value and not 1e-3 <= abs(value) < 1e4
        return f"{value:.4g}" if tiny_or_huge else f"{value:.4f}"
    return str(value)
