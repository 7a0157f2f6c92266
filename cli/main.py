"""Command group ``growloop``: a table of subcommands, each imported when it runs."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from . import streams

COMMANDS = {
    # name: (module of this package, what it does)
    "quickstart": ("quickstart", "Train small models, score and compare them, in ten minutes."),
    "reproduce": ("reproduce", "Reproduce the paper at a scale: laptop, 360m, 1.7b."),
    "generate": ("generate", "Write a reasoning-primitive data set."),
    "verify": ("verify", "Check a data set: answers, choices, repeats, splits."),
    "tasks": ("tasks", "List the evaluation tasks, or show one of them."),
    "eval": ("evaluate", "Score a language model."),
    "compare": ("compare", "Compare two evaluations question by question."),
    "leaderboard": ("leaderboard", "Keep results as records; show them as tables and pages."),
    "claims": ("claims", "Test the paper's claims on the records."),
    "tokenize": ("tokenize", "Write text as token shards to train on."),
    "recipe": ("recipes", "List the run files of the paper's tables, or print one."),
    "train": ("train", "Train a model as a run file says."),
    "sft": ("sft", "Fine-tune a model on prompts and targets, or on conversations."),
    "study": ("study", "Run a study of the paper on any checkpoints."),
    "scan": ("scan", "Find the layers worth repeating, skipping or swapping."),
    "inspect": ("inspection", "Show layers, schedule, parameters and FLOPs of a model."),
    "loop": ("loop", "Write a model whose layers run by a schedule."),
    "grow": ("grow", "Deepen a model by copying layers."),
    "export": ("export", "Write a model as a plain folder, loops unrolled."),
    "new": ("new", "Write an example package that adds a primitive, operator, loop part or study."),
}

EXAMPLES = """\b
Examples:
  growloop quickstart
  growloop generate variable_assignment --style code --depth 2 --items 1000 --out va.jsonl
  growloop verify va.jsonl
  growloop eval --model HuggingFaceTB/SmolLM2-135M --tasks reasoning_primitives --items 100
  growloop eval --model HuggingFaceTB/SmolLM2-135M --block 6:10 --items 100
  growloop scan HuggingFaceTB/SmolLM2-135M --out map
  growloop grow ./checkpoint --operator lidas --to 24 --out grown
"""


class Growloop(click.Group):
    """Command group that imports a command's module when the command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".{COMMANDS[cmd_name][0]}", __package__)
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            from ..core.errors import unknown

            raise click.UsageError(str(unknown("command", args[0], COMMANDS)), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> Any:
        """Run; bad input becomes one sentence on standard error and exit code 2."""
        # what was typed: results quote the command that made them
        typed = list(sys.argv[1:] if args is None else args)
        extra.setdefault("obj", typed)
        if not extra.get("standalone_mode", True):
            return super().main(args, *more, **extra)
        streams.prepare()
        _refuse_half_characters(typed)
        # ended from outside: clean up as after Ctrl-C
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            return super().main(args, *more, **extra)
        except OSError as error:
            _end(error)
        except ImportError as error:
            package = (error.name or "").split(".")[0]
            if package in ("", "growloop"):
                raise
            from ..core.extras import bringing

            absent = isinstance(error, ModuleNotFoundError)
            needed = bringing(package) if absent else None  # one that is there may be broken
            how = "" if needed is None else f"; pip install 'growloop[{needed}]' brings it"
            why = f"{package} cannot be imported: {streams.message(error)}{how}"
            click.echo(f"Error: {why}", err=True)
            sys.exit(2)
        except Exception as error:
            from ..core.files import disk_error

            if getattr(error, "is_for_the_user", False):
                click.echo(f"Error: {streams.message(error)}", err=True)
                sys.exit(2)
            if (file_error := disk_error(error)) is None:
                raise
            _end(file_error)


def _refuse_half_characters(arguments: Sequence[str]) -> None:
    """End with one sentence if an argument is not UTF-8: libraries cannot write such a name."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            click.echo(f"Error: an argument is not UTF-8 text: {argument!r}", err=True)
            sys.exit(2)


def _end(error: OSError) -> NoReturn:
    """Print which file could not be read or written, and exit with code 2."""
    where = f"{error.filename}: " if error.filename else ""
    click.echo(f"Error: {streams.message(where + str(error.strerror or error))}", err=True)
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        sys.stdout = None  # what is left in it cannot be written
    sys.exit(2)


def _add_plugins(ctx: click.Context, param: click.Parameter, files: tuple[str, ...]) -> None:
    """Run plug-in files before the command is looked up; processes of the command see them too."""
    if files and not ctx.resilient_parsing:
        from ..core.plugins import add_files

        add_files(files)


@click.group(
    cls=Growloop,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="growloop")
@click.option(
    "--plugin",
    metavar="FILE",
    multiple=True,
    expose_value=False,
    is_eager=True,
    callback=_add_plugins,
    help="Python file that registers primitives, operators, loop parts or studies",
)
def main() -> None:
    """Study iterative computation in language models: models that loop and models that grow."""
