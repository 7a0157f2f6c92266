"""Damaged files through every command that reads them: a sentence or a result, never a traceback.

``python tests/mutations.py --count 5000`` damages that many; ``tests/test_mutations.py`` runs a few
with each test run. A round copies the files a command reads, damages one, runs the command in this
process, and looks for tracebacks, hangs, and files left behind by a refused command.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT = 120  # seconds for a command
DEEP: Any = json.loads("[" * 900 + "]" * 900)
ODD: tuple[Any, ...] = (
    None, "", " ", "x", "..", "../../x", "/", "\ud800", "\0", "a" * 5000, "{{ 7 * 7 }}",
    "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "2026-02-31", "1e400", "nan",
    True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**15, 10**400, 1.5, -0.0, 1e-320, 1.7e308,
    -1.7e308, float("nan"), float("inf"), [], [[]], {}, {"": {}}, DEEP,
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A command and the files it reads.

    Args:
        name: shown with each finding.
        files: glob patterns, below the case's folder, of files that may be damaged.
        command: arguments; ``{}`` stands for the case's folder.
        weight: how often it is drawn: cheap commands more often.
        writes: name of what it may leave below its folder after a refusal too.
    """

    name: str
    files: tuple[str, ...]
    command: tuple[str, ...]
    weight: int = 10
    writes: tuple[str, ...] = ()


CASES = (
    Case("verify", ("a.jsonl",), ("verify", "{}/a.jsonl"), 30),
    Case("verify-parquet", ("a.parquet",), ("verify", "{}/a.parquet")),
    Case("verify-folder", ("set/*", "set/data/*"), ("verify", "{}/set")),
    Case("words", ("w.txt",), ("generate", "copying", "--words", "{}/w.txt", "-n", "3", "-o", "-")),
    Case(
        "template",
        ("t.j2",),
        ("generate", "variable_assignment", "--template", "{}/t.j2", "-n", "3", "-o", "{}/out"),
        20,
        ("out",),
    ),
    Case("run-file", ("run.yaml",), ("train", "{}/run.yaml", "--dry-run"), 40),
    Case("shards", ("shards/*",), ("train", "{}/run.yaml", "--dry-run"), 10),
    Case(
        "resume",
        ("run/*.json*", "run/*/*.json*", "run/*/*.safetensors", "run/*/*/*.safetensors"),
        ("train", "{}/run.yaml", "--out", "{}/run"),
        3,
        ("run",),
    ),
    Case("tokenize", ("a.jsonl",), ("tokenize", "{}/a.jsonl", "--field=prompt", "-o", "{}/t"), 8),
    Case("records", ("records/*",), ("leaderboard", "show", "--records", "{}/records"), 40),
    Case("records-check", ("records/*",), ("leaderboard", "check", "--records", "{}/records"), 10),
    Case("claims", ("records/*",), ("claims", "--records", "{}/records"), 10),
    Case(
        "results",
        ("results.json",),
        ("leaderboard", "add", "{}/results.json", "--records", "{}/new"),
        30,
        ("new",),
    ),
    Case(
        "study-records",
        ("study/records/*/*",),
        ("study", "publish", "--out", "{}/study", "--leaderboard", "{}/new"),
        30,
        ("new",),
    ),
    Case(
        "study-again",
        ("study/records/*/*",),
        ("study", "weight-similarity", "-m", "{}/model", "--out", "{}/study"),
        5,
    ),
    Case("config", ("model/*.json",), ("inspect", "{}/model", "--config-only"), 15),
    Case("checkpoint", ("model/*",), ("inspect", "{}/model"), 8),
    Case(
        "eval",
        ("model/*",),
        ("eval", "--model", "{}/model", "-t", "copying_random_words", "--limit", "2", "-k", "0",
         "--out", "{}/out"),
        3,
        ("out",),
    ),
    Case(
        "sft",
        ("pairs.jsonl",),
        ("sft", "-m", "{}/model", "-d", "{}/pairs.jsonl", "-o", "{}/out", "--min-steps", "1",
         "--epochs", "1", "--precision", "fp32", "--validations", "1"),
        3,
        ("out",),
    ),
)  # fmt: skip


def prepare(folder: Path) -> None:
    """Write a folder with a valid file of every kind."""
    import yaml
    from growloop.models import build
    from growloop.primitives import SPLITS, Source, export, make_task

    from tests.cli.test_commands import run as growloop
    from tests.tasks.tiny import save

    task = make_task("variable_assignment")
    export([Source(task, "test", 0)], 8, folder / "a.jsonl")
    export([Source(task, "test", 0)], 8, folder / "a.parquet", "parquet")
    export([Source(task, split, 0) for split in SPLITS], 8, folder / "set", "datasets")
    (folder / "w.txt").write_text("\n".join(f"word{i}" for i in range(60)))
    lines = "{% for line in lines %}{{ line.name }}={{ line.value }}\n{% endfor %}{{ query }}?"
    (folder / "t.j2").write_text(lines)
    pairs = [{"prompt": f"{i}+{i}=", "target": str(2 * i)} for i in range(12)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    save("llama", folder / "model", layers=2)

    def succeed(*arguments: str) -> None:
        result = growloop(*arguments)
        assert result.exit_code == 0, (arguments, result.output, result.exception)

    succeed("tokenize", str(folder / "a.jsonl"), "--field", "prompt", "-o", str(folder / "shards"))
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
    fields["data"]["sources"]["a"] = str(folder / "shards")  # type: ignore[index]
    (folder / "run.yaml").write_text(yaml.safe_dump(fields))
    succeed("train", str(folder / "run.yaml"), "--out", str(folder / "run"), "--until", "2")
    succeed(
        "study", "weight-similarity", "-m", str(folder / "model"), "--out", str(folder / "study"),
        "--leaderboard", str(folder / "records"),
    )  # fmt: skip
    succeed(
        "eval", "--model", str(folder / "model"), "-t", "copying_random_words", "--limit", "2",
        "-k", "0", "--out", str(folder / "found"), "--leaderboard", str(folder / "records"),
    )  # fmt: skip
    [results] = (folder / "found").rglob("results_*.json")
    shutil.copy(results, folder / "results.json")
    shutil.rmtree(folder / "found")
    del build


def damage(path: Path, rng: random.Random) -> str:
    """Change a file; what was done to it."""
    content = path.read_bytes()
    ways: list[Callable[[bytes, random.Random], bytes]] = [_cut, _flip, _insert, _repeat, _drop]
    ways += [_whole]
    if path.suffix in (".json", ".jsonl", ".yaml"):
        ways += [_structured] * 10
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


class HangError(Exception):
    """A command that took too long."""


def attempt(case: Case, origin: Path, rng: random.Random) -> str | None:
    """One round; what went wrong, or None."""
    from tests.cli.test_commands import run as growloop

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "case"
        shutil.copytree(origin, folder)
        for file in (
            folder / "run.yaml",
            *folder.rglob("run.json"),
            *folder.rglob("training.json"),
        ):
            if file.is_file():  # paths of the run file lead into this copy
                file.write_text(file.read_text().replace(str(origin), str(folder)))
        files = sorted(f for pattern in case.files for f in folder.glob(pattern) if f.is_file())
        target = rng.choice(files)
        done = damage(target, rng)
        kept = target.read_bytes()
        before = set(folder.rglob("*"))

        def hang(*_: object) -> None:
            raise HangError

        signal.signal(signal.SIGALRM, hang)
        signal.alarm(LIMIT)
        where = f"{case.name}, {target.relative_to(folder)}, {done}"
        try:
            result = growloop(*(part.replace("{}", str(folder)) for part in case.command))
        except HangError:
            return f"{where}: more than {LIMIT} s"
        finally:
            signal.alarm(0)
        problem = None
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            if isinstance(result.exception, HangError):
                return f"{where}: more than {LIMIT} s"
            text = "".join(traceback.format_exception(result.exception))
            problem = f"{where}: traceback\n{text[-1500:]}"
        elif result.exit_code not in (0, 2):
            problem = f"{where}: exit code {result.exit_code}\n{result.output[-500:]}"
        elif "Traceback" in result.output:
            problem = f"{where}: a traceback printed\n{result.output[-1500:]}"
        elif result.exit_code == 2 and not result.stderr.strip():
            problem = f"{where}: refused without a word"
        else:
            allowed = tuple(str(folder / name) for name in case.writes)
            left = [
                p for p in folder.rglob("*") if p not in before and not str(p).startswith(allowed)
            ]
            left += [p for p in folder.rglob("*") if p.name.endswith((".partial", ".part", ".tmp"))]
            if result.exit_code == 2 and left:
                problem = f"{where}: left {left[0].relative_to(folder)}"
        if problem is not None:
            problem += f"\ncontent {kept[:200]!r}" if len(kept) < 10_000 else ""
        return problem


def search(origin: Path, count: int, seed: int, names: Sequence[str] = ()) -> list[str]:
    """Problems in ``count`` rounds; round i depends on (seed, i) alone."""
    cases = [case for case in CASES if not names or case.name in names]
    problems, done = [], Counter[str]()
    for i in range(count):
        rng = random.Random(f"{seed}/{i}")
        [case] = rng.choices(cases, [case.weight for case in cases])
        done[case.name] += 1
        if (problem := attempt(case, origin, rng)) is not None:
            problems.append(f"round {i}: {problem}")
            print(problems[-1], flush=True)
    print(dict(done), f"{len(problems)} problems", flush=True)
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", action="append", default=[])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        sys.exit(1 if search(Path(folder), given.count, given.seed, given.case) else 0)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    main()
