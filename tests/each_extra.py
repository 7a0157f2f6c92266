"""Every command under one extra: it does its work, or says in one sentence which extra it needs.

``python tests/each_extra.py EXTRAS`` runs the commands in an empty folder, in an environment that
has these extras (commas between; none for a plain install). With ``--hide`` all that the extras do
not bring is hidden from this process first, as if it were not installed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from floors import EXTRAS, OWN, requirements

RUN = {
    "name": "tiny",
    "steps": 4,
    "precision": "fp32",
    "model": {"preset": "tiny", "options": {"vocab_size": 257}},
    "data": {"sources": {"text": "shards"}, "seq_len": 32, "batch_size": 4},
    "optimizer": {"warmup": 1, "cooldown": 1},
    "growth": {"operator": "lidas", "block_size": 2},
}
MODEL = "runs/tiny/step-000000004"
SFT = f"sft -m {MODEL} -d c.jsonl --epochs 1 --min-steps 2 --precision fp32 --out"
TASK = "--tasks variable_assignment_code_d0 --items 2 --shots 0 --device cpu"
STEPS = (
    # extras that a command needs, and the command
    ("", "generate copying --items 8 --split train --out c.jsonl"),
    ("", "verify c.jsonl"),
    ("", "tasks"),
    ("", "tasks show variable_assignment_code_d1"),
    ("", "study list"),
    ("data", "generate copying --items 8 --out c.parquet"),
    ("leaderboard", "leaderboard show"),
    ("leaderboard", "leaderboard build --out site"),
    ("leaderboard", "claims"),
    ("train", "recipe lessons-lidas --out recipe.yaml"),
    ("train", "tokenize text.txt --out shards"),
    ("train", "train run.json --plan"),
    ("train", "train run.json"),
    ("train", f"inspect {MODEL}"),
    ("plots train", f"inspect {MODEL} --picture layers.svg"),
    ("train", f"loop {MODEL} --block 1:2 --out looped"),
    ("train", f"grow {MODEL} --block-size 2 --out grown"),
    ("train", "export looped --out unrolled"),
    ("train", f"{SFT} tuned"),
    ("lora", f"{SFT} adapted --lora 2"),
    ("eval", f"eval --model {MODEL} {TASK} --leaderboard records"),
    ("eval", f"study weight-similarity --model {MODEL} --device cpu"),
    ("eval plots", f"study weight-similarity --model {MODEL} --device cpu --picture alike.svg"),
)


def with_included(extras: set[str]) -> set[str]:
    """Extras, and those that they include."""
    lines = [line for extra in extras for line in EXTRAS[extra] if line.startswith(f"{OWN}[")]
    more = {name for line in lines for name in line[len(OWN) + 1 : -1].split(",")}
    return extras if more <= extras else with_included(extras | more)


def hidden(extras: set[str]) -> set[str]:
    """Importable names of all installed packages that the extras do not bring."""
    from packaging.requirements import Requirement

    def plain(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    brought: set[str] = {OWN}
    waiting = list(requirements(*extras))
    while waiting:
        name = plain(waiting.pop())
        if name in brought:
            continue
        brought.add(name)
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # what another platform or Python needs
            continue
        parsed = [Requirement(line) for line in needed]
        waiting += [
            one.name for one in parsed if one.marker is None or one.marker.evaluate({"extra": ""})
        ]
    installed = metadata.packages_distributions().items()
    return {name for name, owners in installed if not brought & set(map(plain, owners))}


def problems(extras: set[str]) -> Iterator[str]:
    """What is wrong under these extras, in the current folder; nothing where all is well."""
    from click.testing import CliRunner
    from growloop.cli import main

    Path("text.txt").write_text("a = 1\nb = 2\na + b = 3\n" * 100)
    Path("run.json").write_text(json.dumps(RUN))
    has = with_included(extras)
    for needs, line in STEPS:
        lacking = set(needs.split()) - has
        before = set(Path().rglob("*"))
        result = CliRunner().invoke(main, line.split())
        shown = f"growloop {line}: exit code {result.exit_code}\n{result.output}"
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            yield f"{shown}{result.exception!r}"
        elif not lacking and result.exit_code != 0:
            yield shown
        elif lacking:
            named = any(f"pip install '{OWN}[{extra}]'" in result.stderr for extra in lacking)
            one = result.stderr.startswith("Error: ") and len(result.stderr.splitlines()) == 1
            if result.exit_code != 2 or not named or not one:
                yield shown
            if set(Path().rglob("*")) != before:
                yield f"growloop {line}: wrote something, and was refused"


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extras", nargs="?", default="", metavar="EXTRAS")
    parser.add_argument("--hide", action="store_true")
    options = parser.parse_args()
    extras = set(filter(None, options.extras.split(",")))
    if options.hide:
        sys.modules.update(dict.fromkeys(hidden(extras)))  # None: "not installed" to an import
    found = list(problems(extras))
    print(
        "\n".join(found) or f"{options.extras or 'plain'}: {len(STEPS)} commands, all as declared"
    )
    return bool(found)


if __name__ == "__main__":
    sys.exit(run())
