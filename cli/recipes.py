"""Command ``growloop recipe``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..core.errors import InputError
from ..tasks.evaluate import require_extra
from .command import Command
from .options import out_option, table_options
from .tables import Column, print_csv, show


@click.command("recipe", cls=Command)
@click.argument("name", required=False)
@out_option("file to write the run file to; never replaces one")
@table_options("print the list, or the fields, as JSON", "print the list as CSV")
def command(name: str | None, out: str | None, as_json: bool, as_csv: bool) -> None:
    """List the run files of the paper's tables and of loop variants, or print one of them.

    Every row of Tables 1-4, at 360M and 1.7B, and variants of the loop at equal training FLOPs;
    and a twin of each that a laptop can train.

    \b
    Examples:
      growloop recipe
      growloop recipe laptop-variant-parcae
      growloop recipe 1.7b-lidas --out 1.7b-lidas.yaml
      growloop train 1.7b-lidas.yaml --plan
    """
    require_extra("train", "a recipe")
    from ..models.training.recipes import RECIPES, recipe, recipe_text

    if name is None:
        if out is not None:
            raise InputError("--out takes one run file: name a recipe")
        if as_json:
            click.echo(json.dumps(RECIPES, indent=2))
        elif as_csv:
            print_csv([{"recipe": key, "row": row} for key, row in RECIPES.items()])
        else:
            show([Column(""), Column("")], [[name, row] for name, row in RECIPES.items()])
        return
    if as_csv:
        raise InputError("a run file is not a table: leave out --csv")
    text = json.dumps(recipe(name), indent=2) + "\n" if as_json else recipe_text(name)
    if out is None:
        click.echo(text, nl=False)
        return
    from ..core.files import write_atomically

    path = Path(out)
    if path.exists():
        raise InputError(f"{out} exists: choose another name")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {out}: there is no folder {path.parent}")
    write_atomically(path, text.encode())
    click.echo(out)
