"""``growloop compare``: two finished evaluations, or two models on the leaderboard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from .command import Command
from .options import leaderboard_option, picture_option, table_options, tasks_option
from .tables import Column, number, paragraph, print_csv, show, value


@click.command("compare", cls=Command)
@click.argument("first")
@click.argument("second")
@tasks_option("tasks or groups, separated by commas  [default: all of both]")
@leaderboard_option("compare records: FIRST and SECOND are names of models there")
@picture_option("draw the differences as a forest plot")
@table_options()
def command(
    first: str,
    second: str,
    tasks: str | None,
    leaderboard: str | None,
    picture: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Compare two evaluations question by question: FIRST minus SECOND.

    FIRST and SECOND are result files of growloop eval or lm-eval with their samples beside them,
    or folders with the results of one model, or folders of --suite. Each difference is taken over
    the questions that both answered, with a 95 % interval and the p-value of a paired test,
    corrected for the number of lines (Holm).

    With --leaderboard they are names of models in a folder of records. Records hold no answers, so
    those intervals are of two independent numbers, and wider.

    \b
    Examples:
      growloop compare results/looped results/plain
      growloop compare results/looped results/plain --tasks variable_assignment_code_d0
      growloop compare 'Loop(3x2)' 'Standard 6' --leaderboard records
      growloop compare results/looped results/plain --picture differences.svg
    """
    from ..api.comparison import compare

    if picture is not None:
        from ..studies.measure.charts import check_picture

        check_picture(picture)
    result = compare(first, second, tasks or "", leaderboard=leaderboard)
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2))
    elif as_csv:
        print_csv(result.to_rows())
    else:
        _print(result.to_rows(), result.remarks, (result.first, result.second))
    if picture is not None:
        from ..studies.measure.charts import save

        click.echo(str(save(result.chart(), picture)), err=True)


def _print(lines: Sequence[dict[str, Any]], notes: Sequence[str], names: tuple[str, str]) -> None:
    columns = [Column("task"), Column("metric", fold=3)]
    columns.append(number("seeds" if "seeds" in lines[0] else "n", fold=2))
    columns += [value("first"), value("second"), value("difference"), value("95 % interval")]
    tested = "p" in lines[0]
    if tested:
        columns.append(value(f"p (Holm of {len(lines)})"))
    rows = []
    for line in lines:
        interval = "" if line["low"] is None else f"[{line['low']:+.3f}, {line['high']:+.3f}]"
        row = ["  " * line["level"] + line["task"], line["metric"]]
        row.append(f"{line['seeds'] if 'seeds' in line else line['n']:,}")
        row += [f"{line['first']:.3f}", f"{line['second']:.3f}", f"{line['difference']:+.3f}"]
        row.append(interval)
        rows.append([*row, f"{line['p_holm']:.2g}"] if tested else row)
    show(columns, rows, f"{names[0]} (first) minus {names[1]} (second)")
    for note in notes:
        paragraph(note)
