"""Command ``growloop verify``."""

from __future__ import annotations

import json
import sys

import click

from ..primitives import Template, verify
from .command import Command
from .options import option, table_options
from .tables import print_csv


@click.command("verify", cls=Command)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@option("--template", help="custom template that the file was made with")
@option("--words", help="custom word list that the file was made with")
@table_options("print the findings as JSON", "print files, fingerprints and problems as CSV")
def command(
    files: tuple[str, ...],
    template: str | None,
    words: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Verify data sets: regenerate and solve every item, detect repeats and leaks.

    FILE: JSON lines (.gz too, - is standard input), Parquet, or a data set folder. Several files
    together must not share an item. Exit code 2 if anything is wrong. The answers of a primitive
    without a solver (of a plug-in) are compared with its generator alone; a message says so.

    \b
    Example:
      growloop verify train.jsonl test.jsonl
    """
    own = None if template is None else Template.from_file(template)
    verdict = verify(files, template=own, words=words)
    if as_json:
        findings = {
            "ok": verdict.ok,
            "lines": verdict.lines,
            "problems": verdict.problems,
            "bad": [{"place": place, "reason": reason} for place, reason in verdict.bad],
            "fingerprints": verdict.fingerprints,
            "unsolved": verdict.unsolved,
        }
        click.echo(json.dumps(findings, indent=2))
    elif as_csv:
        rows = [
            {"place": f, "fingerprint": d, "problem": ""} for f, d in verdict.fingerprints.items()
        ]
        rows += [{"place": place, "fingerprint": "", "problem": why} for place, why in verdict.bad]
        print_csv(rows)
    else:
        for place, reason in verdict.bad:
            click.echo(f"{place}: {reason}", err=True)
        if verdict.problems > len(verdict.bad):
            click.echo(f"... and {verdict.problems - len(verdict.bad):,} more", err=True)
        for file, digest in verdict.fingerprints.items():
            click.echo(f"{file}   sha256 {digest}")
        for task in verdict.unsolved:
            click.echo(
                f"{task} has no solver: its items equal the generator's, but nothing derived their "
                "answers from the prompts",
                err=True,
            )
        state = "all right" if verdict.ok else f"{verdict.problems:,} problems"
        click.echo(f"{verdict.lines:,} items: {state}", err=not verdict.ok)
    if not verdict.ok:
        sys.exit(2)
