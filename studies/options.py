"""Options of studies: fields of a frozen dataclass, with what the command line and records need."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

FILES = {"text", "lens", "lens_text"}
"""Options that are paths of files."""


def option(
    default: Any,
    about: str,
    later: bool = False,
    drawn: bool = False,
    before: Any = None,
    flags: str = "",
    aliases: str = "",
) -> Any:
    """Declare a field of a study's options.

    Args:
        about: help text of the command line.
        later: the option is newer than the first records, which were measured with its default.
            Records leave it out at its default, so that the old ones stay valid.
        drawn: the option changes no measured number, only the chart or which files are kept.
            Records leave it out.
        before: value that records older than the option were measured with, if it is not the
            default. Records leave it out at this value, so that the old ones stay valid for it.
        flags: flags on the command line, separated by blanks; by default the name of the field.
        aliases: older flags that still work and are not shown. The name of the field is one.

    Example::

        @dataclass(frozen=True)
        class Options:
            block: int = option(4, "steps in the block")
            exact: bool = option(False, "score exactly", later=True)
    """
    unsaid = (default,) if later else () if before is None else (before,)
    about_field = {"about": about, "unsaid": unsaid, "drawn": drawn}
    about_flags = {"flags": tuple(flags.split()), "aliases": tuple(aliases.split())}
    return field(default=default, metadata=about_field | about_flags)


def recorded_options(options: Any, *without: str) -> dict[str, Any]:
    """Return options as a record stores them: the part of a cell's id that the options decide.

    Files are stored as name and digest of their content. Options are left out as :func:`option`
    describes.

    Args:
        without: options that are parameters of the cell instead.
    """
    stored = asdict(options)
    for option_field in fields(options):
        unsaid = stored[option_field.name] in option_field.metadata["unsaid"]
        if unsaid or option_field.metadata["drawn"] or option_field.name in without:
            del stored[option_field.name]
    for name in FILES & stored.keys():
        if stored[name] is not None and (path := Path(stored[name])).is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            stored[name] = f"{path.name}@{digest[:12]}"
    as_json: dict[str, Any] = json.loads(json.dumps(stored))
    return as_json


# Options that several studies share. Each call makes a field of its own, so a study keeps the order
# of its options.


def tasks_option(*default: str, about: str = "tasks or groups of them") -> Any:
    """Tasks whose questions are scored."""
    return option(default or ("reasoning_primitives",), about, flags="--tasks -t")


def items_option(default: int = 200, about: str = "questions a task") -> Any:
    """Number of questions."""
    return option(default, about, flags="--items -n")


def shots_option(default: int = 5) -> Any:
    """Number of examples in a prompt."""
    return option(default, "examples before a question", flags="--shots -k")


def fixed_shots_option(later: bool = True) -> Any:
    """Same examples in all prompts, or new ones for each."""
    return option(False, "the same examples before all questions: cheaper", later=later)


def split_option() -> Any:
    """Split of the questions."""
    return option("test", "split of the questions: validation or test")


def control_option(default: str = "none", later: bool = True) -> Any:
    """Counterfactual control of the questions."""
    about = "also on counterfactual controls, where a task has them: none, cut, shuffled"
    return option(default, about, later=later)


def seed_option(about: str = "seed that draws questions and examples") -> Any:
    """Seed of what is measured on."""
    return option(0, about)


def text_option(about: str = "file of prompts; by default generated questions") -> Any:
    """File of prompts."""
    return option(None, about)


def texts_option(default: int = 16, about: str = "number of prompts") -> Any:
    """Number of prompts."""
    return option(default, about)


def tokens_option(default: int = 128) -> Any:
    """Length that prompts are cut to."""
    return option(default, "longest prompt in tokens; longer ones are cut")


def skip_front_option(before: int) -> Any:
    """Number of tokens at the front that keep their effects."""
    about = "first tokens of a prompt that are never ablated (attention sink)"
    return option(1, about, before=before)  # as `models.diagnostics.SKIP_FRONT`


@dataclass(frozen=True)
class QuestionOptions:
    """Shared options of studies that score questions; a study's own options come first.

    Args:
        items: questions per task.
        shots: examples before a question.
        fixed_shots: the same examples before all questions.
        seed: seed that draws questions and examples.
    """

    items: int = items_option()
    shots: int = shots_option()
    fixed_shots: bool = fixed_shots_option()
    seed: int = seed_option()
