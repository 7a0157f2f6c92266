"""Options, loading and saving for commands that write a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ..tasks.evaluate import DTYPES, model_arguments, require_extra
from .options import dtype_option, force_option, out_option, trust_option

Command = TypeVar("Command", bound=Callable[..., Any])


def writes_checkpoint(command: Command) -> Command:
    """Add the options of commands that write a model: dtype, trust, out, force."""
    for option in (
        force_option("replace a checkpoint there", aliases=("--overwrite",)),
        out_option("folder to write the checkpoint to", required=True),
        trust_option,
        dtype_option(),
    ):
        command = option(command)
    return command


def load(model: str, dtype: str) -> tuple[Any, Any]:
    """Load a model and its tokenizer; None without a readable tokenizer.

    Args:
        model: hub id, folder, GGUF file or ``package:NAME``.
    """
    from ..core.errors import one_of

    one_of("dtype", dtype, DTYPES)
    where = model_arguments(model)
    require_extra("train", "a model")
    from transformers.utils import logging

    from ..models import checkpoints

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    click.echo(f"Loading {model}", err=True)
    loaded, tokenizer = checkpoints.load(dtype=dtype, **where), checkpoints.load_tokenizer(**where)
    if tokenizer is None:
        click.echo(f"{model} has no tokenizer that can be read: none will be written", err=True)
    return loaded, tokenizer


def check_out(out: str, force: bool) -> None:
    """Refuse a folder that cannot be written, before the model is loaded."""
    require_extra("train", "a model")
    from ..models import checkpoints

    checkpoints.check_out(out, force)


def save(model: Any, tokenizer: Any, out: str, force: bool, **options: Any) -> None:
    """Write a checkpoint, and print its schedule, depth and parameters.

    Args:
        options: further arguments of :func:`growloop.models.save`.
    """
    from ..core.errors import InputError
    from ..models import checkpoints
    from ..models.costs import cost

    folder = checkpoints.save(model, tokenizer, out, force, **options)
    try:
        costs = cost(model)
    except InputError:  # no stack of layers that could loop: written all the same
        click.echo(f"{folder}: {model.num_parameters():,} parameters")
        return
    click.echo(
        f"{folder}: schedule {costs.schedule}, {costs.schedule.num_unique_layers} unique layers, "
        f"effective depth {costs.schedule.effective_depth}, "
        f"{costs.unique_parameters:,} parameters"
    )
