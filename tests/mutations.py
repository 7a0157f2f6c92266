"""Damaged files and odd options through every command: a sentence or a result, never a traceback.

``python tests/mutations.py --count 5000`` damages that many files, ``--log FILE`` goes on where it
was stopped, ``--round N --keep FOLDER`` does one round again and keeps its files;
``tests/test_mutations.py`` runs a few with each test run.

A round copies the files that a command reads, damages one or adds odd options, runs the command in
their folder, and looks for tracebacks, other exit codes than 0 and 2, hangs, and files left behind
by a refusal. It depends on the seed and its number alone. Rounds run in worker processes, which are
killed when a round takes too long; one in fifty runs the command in a process of its own, as a user
does.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import multiprocessing
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

LIMIT = 180  # seconds for a round
ALONE = 0.02  # share of rounds in a process of their own
LIFE = 250  # rounds of a worker: what libraries hold on to goes with it
TEMPORARY = (".partial", ".part", ".tmp", ".old")
DEEP: Any = json.loads("[" * 900 + "]" * 900)
ODD: tuple[Any, ...] = (
    None, "", " ", "x", "..", "../../x", "/", "\ud800", "\0", "a" * 5000, "{{ 7 * 7 }}",
    "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "2026-02-31", "1e400", "nan",
    True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**15, 10**400, 1.5, -0.0, 1e-320, 1.7e308,
    -1.7e308, float("nan"), float("inf"), [], [[]], {}, {"": {}}, DEEP,
)  # fmt: skip
WORDS = (
    "", " ", "x", "-", "--", "=", "-1", "0", "1", "2", "1.5", "nan", "inf", "-inf", "1e9", "true",
    "None", str(10**20), "9" * 400, "a" * 5000, "a/b", "a.jsonl", "a.jsonl/x", "gone/x", "model",
    "0,1", ",", "1:2", "2:1", "[", "*", "{}", "{{ 7 * 7 }}", "\u00e9", "\udcff", "a=b", "depth=1",
    "cpu", "json", "file.txt",
)  # fmt: skip
"""Odd values of options; as paths they stay in the folder of a round."""


@dataclass(frozen=True)
class Case:
    """A command and the files it reads.

    Args:
        name: shown with each finding.
        files: glob patterns, below the case's folder, of files that may be damaged.
        command: arguments, typed in the case's folder.
        weight: how often it is drawn: cheap commands more often.
        needs: files and folders that are copied beside those of ``files``.
        writes: what it may leave after a refusal too.
        options: whether odd options are added, in place of damage.
        fixed: options that are not added.
        code: exit code of the command on whole files.
    """

    name: str
    files: tuple[str, ...]
    command: str
    weight: int = 10
    needs: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    options: bool = False
    fixed: tuple[str, ...] = ()
    code: int = 0

    @property
    def copied(self) -> set[str]:
        """Names at the top of the folder."""
        return {pattern.split("/")[0] for pattern in (*self.files, *self.needs)}


MODEL = ("model/*",)
EVAL = "-t copying_random_words --limit 2 -k 0 --items 4"
TUNE = "--min-steps 1 --epochs 1 --precision fp32 --validations 1"
SUITE = "--suite paper --data-dir bench"
LAPTOP = "reproduce laptop --fast --seeds 1 --device cpu"
BEGUN = ("begun-laptop/*.json*", "begun-laptop/runs/*/*",
         "begun-laptop/runs/*/*/*.*")  # fmt: skip
CASES = (
    Case("verify", ("a.jsonl",), "verify a.jsonl", 30),
    Case("verify-parquet", ("a.parquet",), "verify a.parquet"),
    Case("verify-folder", ("set/*", "set/data/*"), "verify set"),
    Case("words", ("w.txt",), "generate copying --words w.txt -n 3 -o out.jsonl", 15),
    Case("template", ("t.j2",), "generate variable_assignment --template t.j2 -n 3 -o out", 20),
    Case("run-file", ("run.yaml",), "train run.yaml --plan", 40, ("shards",)),
    Case("shards", ("shards/*",), "train run.yaml --plan", 15, ("run.yaml",)),
    Case("shards-verify", ("shards/*",), "tokenize . --out shards --verify", 10),
    Case("shards-train", ("shards/*",), "train run.yaml --out new", 3, ("run.yaml",), ("new",)),
    Case(
        "resume",
        ("run/*.json*", "run/*/*.json", "run/*/*.safetensors", "run/*/*/*.safetensors"),
        "train run.yaml --out run",
        8,
        ("run.yaml", "shards"),
    ),
    Case("resume-plan", ("run/*/*.json",), "train run.yaml --out run --plan", 8,
         ("run.yaml", "shards")),
    Case("tokenize", ("a.jsonl",), "tokenize a.jsonl --field prompt -o t", 10),
    Case("tokenize-parquet", ("a.parquet",), "tokenize a.parquet --field prompt -o t", 6),
    Case("tokenizer", ("model/tokenizer.json",), "tokenize a.jsonl --field prompt -t model -o t", 8,
         ("a.jsonl",)),
    Case("job", ("begun/*.json",), "tokenize a.jsonl --field prompt --documents 2 -o begun", 6,
         ("a.jsonl",)),
    Case("records", ("records/*",), "leaderboard show records", 30),
    Case("records-check", ("records/*",), "leaderboard check records", 10),
    Case("claims", ("records/*",), "claims records", 10),
    Case("page", ("records/*",), "leaderboard build records --out site", 5),
    Case("results", ("results.json",), "leaderboard add results.json --to new", 30),
    Case("results-model", ("model/config.json",),
         "leaderboard add results.json --model model --to new", 6, ("results.json",)),
    Case("study-records", ("study/records/*/*",), "study publish --out study --leaderboard new",
         20),
    Case("study-again", ("study/records/*/*",), "study weight-similarity -m model --out study", 10,
         ("model",)),
    Case("study", MODEL, "study weight-similarity -m model --out s", 5, (), ("s",)),
    Case("study-texts", (*MODEL, "pairs.jsonl"),
         "study contributions -m model --texts 8 --tokens 20 --text pairs.jsonl --out s", 4, (),
         ("s",)),
    Case("study-trained", ("run/*/training.json", "run/*/config.json"),
         "study weight-similarity -m run/step-000000002 --out s --leaderboard new", 6, (), ("s",)),
    Case("config", ("model/*.json",), "inspect model --config-only", 20),
    Case("inspect", MODEL, "inspect model", 8),
    Case("inspect-run", ("run/step-000000002/*",), "inspect run/step-000000002", 6),
    Case("loop", MODEL, "loop model --schedule 1x2-1 --out o", 5),
    Case("grow", MODEL, "grow model --operator lidas --block-size 1 --to 3 --out o", 5),
    Case("export", ("looped/*",), "export looped --out o", 6),
    Case("eval", MODEL, f"eval --model model {EVAL} --out o", 2, (), ("o",)),
    Case("eval-chat", ("chat/chat_template.jinja", "chat/tokenizer_config.json"),
         f"eval --model chat --apply_chat_template {EVAL}", 2, ("chat",)),
    Case("eval-task", ("task.yaml", "task.jsonl"), "eval --model model -t task.yaml --limit 2 -k 0",
         2, ("model",)),
    Case("eval-words", ("w.txt",), "eval --model model -t copying:words=w.txt --limit 2 -k 0 -n 4",
         2, ("model",)),
    Case("sft", ("pairs.jsonl",), f"sft -m model -d pairs.jsonl -o o {TUNE}", 3, ("model",)),
    Case("sft-model", MODEL, f"sft -m model -d pairs.jsonl -o o {TUNE}", 3, ("pairs.jsonl",)),
    Case("lens", ("lens.safetensors",),
         "study depth -m model --lens lens.safetensors --parts overlap --texts 8 --tokens 20 "
         "--text pairs.jsonl --out s", 8, ("model", "pairs.jsonl"), ("s",)),
    Case("suite", ("bench/*/*",), f"eval --model model {SUITE} --limit 1 --out o", 5, ("model",),
         ("o",)),
    Case("suite-again", ("begun-suite/*/*",), f"eval --model model {SUITE} --limit 1 "
         "--out begun-suite", 3, ("model", "bench")),
    Case("reproduce-plan", ("bench/*/*",), "reproduce 360m --plan --data-dir bench --out new", 2),
    Case("reproduce-begun", BEGUN, f"{LAPTOP} --out begun-laptop --plan", 3),
    *(Case(f"options-{line.split()[0]}", (), line, weight, needs, writes, True)
      for line, weight, needs, writes in (
        ("generate copying -n 3 -o out.jsonl", 8, ("a.jsonl",), ()),
        ("verify a.jsonl", 6, ("a.jsonl",), ()),
        ("tasks", 3, ("a.jsonl",), ()),
        ("recipe 1.7b-lidas", 6, ("a.jsonl",), ()),
        ("tokenize a.jsonl --field prompt --out t", 6, ("a.jsonl",), ()),
        ("inspect model", 6, ("model", "a.jsonl"), ()),
        ("loop model --schedule 1x2-1 --out o", 4, ("model", "a.jsonl"), ()),
        ("grow model --block-size 1 --to 3 --out o", 4, ("model", "a.jsonl"), ()),
        ("export looped --out o", 3, ("looped", "a.jsonl"), ()),
        ("claims records", 4, ("records", "a.jsonl"), ()),
        ("study weight-similarity -m model --out s", 6, ("model", "a.jsonl"), ("s",)),
        (f"eval --model model {EVAL}", 2, ("model", "a.jsonl"), ("results",)),
        (f"sft -m model -d pairs.jsonl -o o {TUNE}", 2, ("model", "pairs.jsonl"), ()),
      )),
    Case("options-train", (), "train run.yaml --dry-run", 6, ("run.yaml", "shards", "a.jsonl"),
         options=True),
    Case("options-show", (), "tasks show variable_assignment_code_d0", 4, ("a.jsonl",),
         options=True),
    Case("options-table", (), "leaderboard show records", 6, ("records", "a.jsonl"), options=True),
    Case("options-page", (), "leaderboard build records --out site", 3, ("records", "a.jsonl"),
         options=True),
    Case("options-reproduce", (), "reproduce laptop --plan", 3, ("a.jsonl", "bench"),
         options=True),
    Case("options-quickstart", (), "quickstart --fast --out a.jsonl", 3, ("a.jsonl",), (), True,
         ("--out",), 2),
)  # fmt: skip
LONG = {
    "begun-suite": f"eval --model model {SUITE} --limit 1",
    "begun-laptop": f"{LAPTOP} --only train/standard/*",
}
"""Folders whose commands take seconds or minutes, without their ``--out``."""


def prepare(folder: Path, cases: Sequence[Case] = CASES) -> None:
    """Write a folder with a valid file of every kind; all commands succeed there.

    Args:
        cases: what takes long is left out where none of these needs it.
    """
    import yaml
    from growloop.models.training.data.tokenization import byte_tokenizer, tokenize
    from growloop.primitives import SPLITS, Source, export, make_task

    from tests.tasks.benchmarks import data as benchmarks
    from tests.tasks.tiny import save

    task = make_task("variable_assignment")
    export([Source(task, "test", 0)], 8, folder / "a.jsonl")
    export([Source(task, "test", 0)], 8, folder / "a.parquet", "parquet")
    export([Source(task, split, 0) for split in SPLITS], 8, folder / "set", "datasets")
    (folder / "w.txt").write_text("\n".join(f"word{i}" for i in range(60)))
    lines = "{% for line in lines %}{{ line.name }}={{ line.value }}\n{% endfor %}{{ query }}?"
    (folder / "t.j2").write_text(lines)
    pairs = [{"prompt": f"{i}+{i}={'?' * 20}", "target": str(2 * i)} for i in range(12)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (folder / "task.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    task_fields = {
        "task": "sums",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "task.jsonl"}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{prompt}}",
        "doc_to_choice": ["1", "2"],
        "doc_to_target": 0,
        "metric_list": [{"metric": "acc"}],
        "metadata": {"version": 1},
    }
    (folder / "task.yaml").write_text(yaml.safe_dump(task_fields))
    save("llama", folder / "model", layers=2)
    shutil.copytree(folder / "model", folder / "chat")
    chat = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
    (folder / "chat" / "chat_template.jinja").write_text(chat)
    fields = {
        "name": "tiny",
        "steps": 4,
        "precision": "fp32",
        "model": {"preset": "tiny", "options": {"vocab_size": 257, "num_hidden_layers": 2}},
        "data": {"sources": {"a": "shards"}, "mixture": {"a": 1.0}, "seq_len": 32, "batch_size": 2},
        "optimizer": {"warmup": 1, "cooldown": 2},
        "events": [{"step": 3, "repeat": [0, 1]}],
        "checkpoints": {"every": 2, "keep": 2},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(fields))
    with contextlib.chdir(folder):
        _succeed("tokenize a.jsonl --field prompt -o shards")
        _succeed("train run.yaml --out run --until 2")
        _succeed("loop model --schedule 1x2-1 --out looped")
        _succeed("study weight-similarity -m model --out study --leaderboard records")
        _succeed(f"eval --model model {EVAL} --out found --leaderboard records")
        [results] = Path("found").rglob("results_*.json")
        results.replace("results.json")
        shutil.rmtree("found")
        with contextlib.suppress(KeyboardInterrupt):
            _begin(tokenize, byte_tokenizer())
        _write_lens()
        benchmarks.write(Path("bench"))
        needed = {name for case in cases for name in case.copied}
        for name, command in LONG.items():
            if name in needed:
                _succeed(f"{command} --out {name}")


def _write_lens() -> None:
    """A tuned lens for the model."""
    import torch
    from growloop.core.schedule import Schedule
    from growloop.models.checkpoints import load_config
    from growloop.models.diagnostics import Lens

    dim = load_config("model").hidden_size
    random = torch.Generator().manual_seed(0)
    matrices = torch.randn(2, dim, dim, generator=random) / 100
    Lens(Schedule.parse("2"), matrices, torch.zeros(2, dim)).save("lens.safetensors")


def _begin(tokenize: Callable[..., object], tokenizer: Any) -> None:
    """A job that was interrupted after a shard."""
    from growloop.models.training.data.documents import documents, read_by

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    read = read_by("a.jsonl", "prompt", "train")
    texts = documents("a.jsonl", "prompt")
    tokenize(texts, tokenizer, "begun", "a.jsonl", None, 2, stop, read)


def _succeed(command: str, code: int = 0) -> None:
    from tests.cli.test_commands import run as growloop

    result = growloop(*shlex.split(command))
    if result.exit_code != code:
        raise SystemExit(f"growloop {command}: {result.output}\n{result.exception!r}")


def check_undamaged(origin: Path, cases: Sequence[Case] = CASES) -> None:
    """Run every command once on whole files: one that is refused there would find nothing."""
    for case in cases:
        with _copied(case, origin):
            if not all([*map(list, map(Path().glob, case.files))]):
                raise SystemExit(f"{case.name}: a pattern of {case.files} fits no file")
            _succeed(case.command, case.code)


def damage(path: Path, rng: random.Random) -> str:
    """Change a file; what was done to it."""
    content = path.read_bytes()
    ways: list[Callable[[bytes, random.Random], bytes]] = [_cut, _flip, _insert, _repeat, _drop]
    ways += [_whole]
    if path.suffix in (".json", ".jsonl", ".yaml"):
        ways += [_structured] * 10
    if path.suffix == ".safetensors":
        ways += [_header] * 4
    way = rng.choice(ways)
    try:
        changed = way(content, rng)
    except (ValueError, UnicodeError, RecursionError):
        way, changed = _flip, _flip(content, rng)
    path.write_bytes(changed)
    return way.__name__[1:]


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randint(0, len(content))]


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(rng.choice([1, 1, 4, 32])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _insert(content: bytes, rng: random.Random) -> bytes:
    odd = [b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\n", b"\r", b"\n\n", b"[" * 50_000, b"{", b'"']
    odd += [b"\xed\xa0\x80", b"NaN", b"9" * 5000, b"\xe2\x80\xa8", b"&a *a", b"!!python/object "]
    place = rng.choice([0, len(content), rng.randint(0, len(content))])
    return content[:place] + rng.choice(odd) + content[place:]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    start, stop = sorted(rng.randint(0, len(content)) for _ in range(2))
    return content[:stop] + content[start:stop][:100_000] + content[stop:]


def _drop(content: bytes, rng: random.Random) -> bytes:
    start, stop = sorted(rng.randint(0, len(content)) for _ in range(2))
    return content[:start] + content[stop:]


def _whole(content: bytes, rng: random.Random) -> bytes:
    return rng.choice([b"", b"\n", b"null", b"[]", b"{}", b"0", b"PAR1", rng.randbytes(200)])


def _structured(content: bytes, rng: random.Random) -> bytes:
    """Another value, a missing or an unknown field, or a field twice, at a random place."""
    import yaml

    text = content.decode()
    lines = text.splitlines()
    if len(lines) > 1 and all(line.startswith("{") for line in lines):  # JSON lines
        i = rng.randrange(len(lines))
        lines[i] = _structured(lines[i].encode(), rng).decode("utf-8", "surrogatepass").strip()
        return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
    is_json = text.lstrip().startswith(("{", "["))
    data = json.loads(text) if is_json else yaml.safe_load(text)
    data = copy.deepcopy(data)
    places = _places(data)
    if not places:
        return _whole(content, rng)
    holder, key = rng.choice(places)
    action = rng.choice(["odd", "odd", "odd", "drop", "add", "swap"])
    if action == "odd":
        holder[key] = rng.choice(ODD)
    elif action == "drop":
        del holder[key]
    elif action == "swap":
        other, name = rng.choice(places)
        holder[key] = copy.deepcopy(other[name])
    elif isinstance(holder, dict):
        holder[rng.choice(["x", "", "__class__", "\ud800", str(key) + " "])] = rng.choice(ODD)
    else:
        holder.append(rng.choice(ODD))
    changed = json.dumps(data)
    if rng.random() < 0.1:  # a field twice
        changed = changed.replace("{", '{"version": 1, "version": 2, ', 1)
    return changed.encode("utf-8", "surrogatepass")


def _header(content: bytes, rng: random.Random) -> bytes:
    """Another header of a safetensors file."""
    size = int.from_bytes(content[:8], "little")
    header = _structured(content[8 : 8 + size], rng)
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def _places(data: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    pending = [data]
    while pending:
        part = pending.pop()
        keys = (
            list(part)
            if isinstance(part, dict)
            else range(len(part))
            if isinstance(part, list)
            else ()
        )
        for key in keys:
            found.append((part, key))
            pending.append(part[key])
    return found


@contextlib.contextmanager
def _copied(case: Case, origin: Path, keep: Path | None = None) -> Iterator[Path]:
    """A folder with copies of what a case needs, which is worked in."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "case"
        if keep is not None:
            folder = keep
        folder.mkdir(parents=True)
        for name in case.copied | {word for word in ("model",) if word in case.command.split()}:
            source = origin / name
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / name)
        with contextlib.chdir(folder):
            yield folder


def misplace(path: Path, rng: random.Random) -> str:
    """Put something else where a file was; what."""
    kind = rng.choice(["gone", "folder", "dangling link", "loop", "pipe"])
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "pipe":
        kind = "empty"
        path.touch()
    return kind


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
    with _copied(case, origin, keep):
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


def _work(pipe: Connection, origin: Path, seed: int, names: Sequence[str]) -> None:
    """A worker: does rounds by their numbers, until it gets None."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)  # progress bars of libraries
    while (number := pipe.recv()) is not None:
        try:
            pipe.send(attempt(number, seed, origin, names))
        except BaseException:
            pipe.send(("harness", traceback.format_exc()))


class Worker:
    """A process that does a round at a time."""

    def __init__(self, *given: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, *given), daemon=True)
        self.process.start()
        theirs.close()
        self.number: int | None = None
        self.began, self.done = 0.0, 0

    def begin(self, number: int) -> None:
        """Start a round."""
        self.number, self.began = number, time.monotonic()
        self.pipe.send(number)

    def end(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def search(
    origin: Path, numbers: Sequence[int], seed: int, names: Sequence[str] = (), workers: int = 1,
    log: Path | None = None,
) -> list[str]:  # fmt: skip
    """Problems in rounds; those in ``log`` are not done again."""
    problems: list[str] = []
    done = Counter[str]()
    known = _read_log(log, seed)
    for name, problem in known.values():
        done[name] += 1
        problems += [problem] if problem else []
    waiting = iter([number for number in numbers if number not in known])
    running: list[Worker] = []
    start = time.monotonic()

    def report(number: int, name: str, problem: str | None) -> None:
        done[name] += 1
        if problem is not None:
            problems.append(f"round {number}: {problem}")
            print(problems[-1], flush=True)
        if log is not None:
            with open(log, "a") as file:
                file.write(json.dumps([seed, number, name, problem]) + "\n")
        if done.total() % 100 == 0:
            rate = 60 * (done.total() - len(known)) / (time.monotonic() - start)
            print(f"{done.total()} rounds, {rate:.0f} a minute, {len(problems)} problems",
                  flush=True)  # fmt: skip

    for number in waiting:
        running.append(Worker(origin, seed, names))
        running[-1].begin(number)
        if len(running) == workers:
            break
    while running:
        ready = wait([worker.pipe for worker in running], timeout=1)
        for worker in list(running):
            assert worker.number is not None
            late = time.monotonic() - worker.began > LIMIT
            if worker.pipe not in ready and not late:
                continue
            try:
                if late:
                    raise TimeoutError
                report(worker.number, *worker.pipe.recv())
                worker.done += 1
                fresh = worker.done >= LIFE
            except (EOFError, TimeoutError):
                what = f"more than {LIMIT} s" if late else "the process ended"
                report(worker.number, "killed", f"{what}: --round {worker.number} does it again")
                fresh = True
            running.remove(worker)
            number_next = next(waiting, None)
            if fresh or number_next is None:
                worker.end()
            if number_next is not None:
                again = Worker(origin, seed, names) if fresh else worker
                again.begin(number_next)
                running.append(again)
    rate = 60 * (done.total() - len(known)) / max(1e-9, time.monotonic() - start)
    print(dict(sorted(done.items())), f"{len(problems)} problems, {rate:.0f} rounds a minute")
    return problems


def _read_log(log: Path | None, seed: int) -> dict[int, tuple[str, str | None]]:
    """Rounds that are done, by number."""
    if log is None or not log.is_file():
        return {}
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return {number: (name, problem) for of, number, name, problem in rows if of == seed}


def main() -> None:
    from growloop.core.files import replacing

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=5000, help="rounds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", action="append", default=[], help="these cases alone")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--log", type=Path, help="rounds that are done; goes on there")
    parser.add_argument("--round", type=int, help="this round alone, in this process")
    parser.add_argument("--keep", type=Path, help="new folder for the files of --round")
    parser.add_argument("--whole", type=Path, help="folder of the whole files, kept and used again")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        origin = given.whole or Path(temporary, "whole")
        is_new = not origin.exists()
        os.environ["HF_DATASETS_CACHE"] = str(Path(temporary, "datasets"))
        with open(os.devnull, "w") as null, contextlib.redirect_stderr(null):
            chosen = [case for case in CASES if not given.case or case.name in given.case]
            if is_new:
                with replacing(origin, folder=True) as part:
                    prepare(part, chosen)
                check_undamaged(origin, chosen)
        if given.round is not None:
            name, problem = attempt(given.round, given.seed, origin, given.case, given.keep)
            print(problem or f"{name}: no problem")
            sys.exit(problem is not None)
        numbers = range(given.count)
        found = search(origin, numbers, given.seed, given.case, given.workers, given.log)
        sys.exit(1 if found else 0)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ["PYTHONPATH"] = str(Path(__file__).parent.parent)
    sys.path.insert(0, str(Path(__file__).parent.parent))
    main()
