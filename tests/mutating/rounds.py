"""One round: a file is damaged or odd options are added, and the end of the command is judged."""

from __future__ import annotations

import random
import shlex
import subprocess
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .cases import CASES, Case
from .damage import damage, misplace
from .undamaged import copied

ALONE = 0.02  # share of rounds in a process of their own
TEMPORARY = (".partial", ".part", ".tmp", ".old")
WORDS = (
    "", " ", "x", "-", "--", "=", "-1", "0", "1", "2", "1.5", "nan", "inf", "-inf", "1e9", "true",
    "None", str(10**20), "9" * 400, "a" * 5000, "a/b", "a.jsonl", "a.jsonl/x", "gone/x", "model",
    "0,1", ",", "1:2", "2:1", "[", "*", "{}", "{{ 7 * 7 }}", "\u00e9", "\udcff", "a=b", "depth=1",
    "cpu", "json", "file.txt",
)  # fmt: skip
"""Odd values of options; as paths they stay in the folder of a round."""


def odd_options(case: Case, rng: random.Random) -> list[str]:
    """One to three options of a command with odd values, and at times a word too many."""
    import click
    from growloop.cli import main

    command: click.Command | None = main
    context = click.Context(main)
    for word in shlex.split(case.command):
        if not isinstance(command, click.Group):
            break
        command = command.get_command(context, word)
    assert command is not None
    known = [
        param
        for param in command.params
        if isinstance(param, click.Option) and not {*param.opts} & {*case.fixed, "--help"}
    ]
    added = []
    for param in rng.choices(known, k=rng.choice([1, 1, 2, 3])):
        added.append(rng.choice(param.opts))
        if not param.is_flag:
            added += [rng.choice(WORDS) for _ in range(param.nargs)]
    return added + ([rng.choice(WORDS)] if rng.random() < 0.1 else [])


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    said: str
    trace: str | None = None


def _in_process(arguments: Sequence[str]) -> Ended:
    from tests.cli.test_commands import run as growloop

    result = growloop(*arguments)
    trace = None
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        trace = "".join(traceback.format_exception(result.exception))
    return Ended(result.exit_code, result.output, trace)


def _alone(arguments: Sequence[str]) -> Ended:
    command = [sys.executable, "-m", "growloop.cli", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace")
    return Ended(result.returncode, result.stdout + result.stderr)


def attempt(number: int, seed: int, origin: Path, names: Sequence[str] = (),
            keep: Path | None = None) -> tuple[str, str | None]:  # fmt: skip
    """One round; the name of its case, and what went wrong."""
    rng = random.Random(f"{seed}/{number}")
    cases = [case for case in CASES if not names or case.name in names]
    [case] = rng.choices(cases, [case.weight for case in cases])
    with copied(case, origin, keep):
        here = Path()
        arguments = shlex.split(case.command)
        done, content = "odd options", b""
        if case.options:
            arguments += odd_options(case, rng)
        else:
            files = sorted(f for pattern in case.files for f in here.glob(pattern) if f.is_file())
            target = rng.choice(files)
            done = f"{target}, {(misplace if rng.random() < 0.06 else damage)(target, rng)}"
            content = target.read_bytes()[:300] if target.is_file() else b""
        before = set(here.rglob("*"))
        ended = (_alone if rng.random() < ALONE else _in_process)(arguments)
        problem = _problem(case, ended, before)
    if problem is not None:
        typed = shlex.join(word[:300] for word in arguments).encode("utf-8", "backslashreplace")
        problem = f"{case.name}, {done}: {problem}\ngrowloop {typed.decode()}\n"
        problem += f"content {content!r}\n"
        only = "".join(f" --case {name}" for name in names)
        again = f"--seed {seed}{only} --round {number} --keep /tmp/round-{number}"
        problem += f"again: python tests/mutations.py {again}"
    return case.name, problem


def _problem(case: Case, ended: Ended, before: set[Path]) -> str | None:
    """What is wrong with the end of a command."""
    if ended.trace is not None:
        return f"traceback\n{ended.trace[-1500:]}"
    if ended.code not in (0, 2):
        return f"exit code {ended.code}\n{ended.said[-1500:]}"
    if "Traceback (most recent" in ended.said:
        return f"a traceback printed\n{ended.said[-1500:]}"
    left = [path for path in Path().rglob("*") if path.name.endswith(TEMPORARY)]
    if ended.code == 2:
        if not ended.said.strip():
            return "refused without a word"
        new = (path for path in Path().rglob("*") if path not in before)
        left += [path for path in new if not _allowed(path.as_posix(), case)]
    return f"left {left[0]}\n{ended.said[-300:]}" if left else None


def _allowed(path: str, case: Case) -> bool:
    whole = ("s", "new", "results")  # folders that may hold anything
    return any(path == name or (name in whole and path.startswith(name)) for name in case.writes)
