"""Commands in processes whose standard output takes nothing, or ASCII alone.

``python -m tests.cli.printing`` reads requests from standard input, one JSON list a line: a key of
``KINDS``, a folder and command lines. It runs each command line in a fork of the one process that
has imported what they need, and answers with exit codes and standard error, as JSON on a line.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Callable


def no_reader() -> None:
    """Standard output is a pipe whose reader has ended, as in ``| true``."""
    reader, writer = os.pipe()
    os.dup2(writer, 1)
    os.close(reader)
    os.close(writer)


def one_line_read() -> None:
    """Standard output is a pipe whose reader takes a few bytes, as in ``| head -1``."""
    reader, writer = os.pipe()
    os.dup2(writer, 1)
    os.close(writer)
    if os.fork() == 0:
        os.close(1)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)


def closed() -> None:
    """Standard output is closed, as in ``>&-``."""
    os.close(1)
    sys.stdout = sys.__stdout__ = None  # type: ignore[misc, assignment]


def full() -> None:
    """Standard output is a file on a full disk."""
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


def ascii_alone() -> None:
    """Standard output knows ASCII alone, as under ``PYTHONIOENCODING=ascii``."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _open_streams("ascii")


def _open_streams(encoding: str = "utf-8") -> None:
    """Open the standard streams as a new process does."""
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", encoding=encoding)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", encoding=encoding)  # type: ignore[misc]


KINDS: dict[str, Callable[[], None]] = {
    "no reader": no_reader,
    "one line read": one_line_read,
    "closed": closed,
    "full": full,
    "ascii": ascii_alone,
}


def ended(kind: str, folder: str, line: str) -> tuple[int, str]:
    """Run a command line in a fork; its exit code and what it wrote to standard error."""
    from growloop.cli import main as growloop

    with tempfile.TemporaryFile() as said:
        if os.fork() == 0:
            os.chdir(folder)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(said.fileno(), 2)
            KINDS[kind]()
            if kind not in ("closed", "ascii"):
                _open_streams()
            growloop(shlex.split(line))  # exits as the command does
        _, status = os.wait()
        said.seek(0)
        return os.waitstatus_to_exitcode(status), said.read().decode()


PRELOADED = (
    "altair", "datasets", "lm_eval.tasks", "peft", "transformers.models.llama.modeling_llama",
    "transformers.models.auto.modeling_auto", "transformers.generation.utils",
    "growloop.api", "growloop.models.training.engine", "growloop.studies.paper.weight_similarity",
    "growloop.tasks.scoring.scorer", "transformers.trainer",
)  # fmt: skip
"""Modules that the commands import: once, instead of once a command."""


def main() -> None:
    for module in PRELOADED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a fork's end looks through its own objects alone
    for request in sys.stdin:
        kind, folder, lines = json.loads(request)
        found = {line: ended(kind, folder, line) for line in lines}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
