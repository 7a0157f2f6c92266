"""Options of all commands: one word for one thing, and earlier words still work."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from growloop.api.evaluation import limit_of
from growloop.cli import main
from growloop.cli.command import Option
from growloop.cli.dataclass_options import options_to_click
from growloop.studies.catalog import STUDIES, find

from ..support.commands import run

THINGS = {
    "--affordable": "training runs that can be made",
    "--against": "model that others are compared with",
    "--all-blocks": "blocks of every size",
    "--allow-chance": "scan although the model guesses",
    "--alpha": "probability of dropping one of the best",
    "--apart": "distances between layers",
    "--apply": "how a repeat is applied",
    "--backend": "scoring strategy",
    "--batch-size -b": "sequences or examples a step",
    "--beam": "blocks to combine",
    "--block": "block of layers that is repeated",
    "--block-size": "layers a block",
    "--blocks": "most blocks of a combination",
    "--budget": "most time or FLOPs",
    "--cell": "one cell of a plan",
    "--chat-template": "file of a chat template",
    "--claim -c": "one claim",
    "--clip": "largest margin",
    "--columns": "columns of the data",
    "--config-only": "no weights",
    "--control": "counterfactual control",
    "--copies": "copies of the stack in growing",
    "--csv": "CSV",
    "--cuts": "places between earlier and later tokens",
    "--dark": "dark picture",
    "--data -d": "training examples",
    "--data-dir": "local benchmarks",
    "--delimiter": "text between prompt and target",
    "--depths": "depths of assignments that are scored",
    "--device": "device",
    "--documents": "documents a shard",
    "--drop": "layers left out in growing",
    "--dtype": "dtype",
    "--edits": "edits of a schedule",
    "--embeddings": "count embeddings as parameters",
    "--end": "end token",
    "--epochs": "passes over examples",
    "--exits": "places of early exits",
    "--fast": "a small version to try out",
    "--field": "column of the text",
    "--fixed-shots": "same examples before all questions",
    "--force": "replace or resume in spite of what is there",
    "--format -f": "format of a data set",
    "--guard": "guard tasks",
    "--guard-items": "questions of a guard",
    "--held-out": "number of validation examples",
    "--help -h": "help",
    "--holdout": "held-out text of a suite",
    "--index -i": "index of an item",
    "--items -n": "questions a task",
    "--jobs -j": "parallel processes",
    "--json": "JSON",
    "--judged": "tokens that early exit judges",
    "--keep": "keep checkpoints of a study",
    "--keep-optimizer": "keep optimizer states",
    "--kv": "keys and values of repeated passes",
    "--leaderboard": "folder of records",
    "--lens": "file of a tuned lens",
    "--lens-batch": "prompts an update of a lens",
    "--lens-optimizer": "optimizer of a lens",
    "--lens-positions": "token positions in the loss of a lens",
    "--lens-recipe": "recipe of a lens",
    "--lens-text": "training prompts of a lens",
    "--lens-updates": "updates of a lens",
    "--loops": "passes of the block in all",
    "--lora": "rank of adapters",
    "--lr": "peak learning rate",
    "--max-block": "largest block",
    "--max-extra-layers": "extra layers of a combination",
    "--max-gen-toks": "most tokens of a generated answer",
    "--measure": "score of a candidate",
    "--measures": "kinds of effects",
    "--mergekit": "mergekit file",
    "--mfu": "share of the peak of a GPU",
    "--min-steps": "fewest optimizer steps",
    "--mixture": "mixture of a cooldown",
    "--model -m": "model",
    "--name": "name of the model in records",
    "--no-paper": "leave out the paper's rows",
    "--normalise": "options compared by character",
    "--only": "pattern of cells",
    "--operator": "growth operator",
    "--operator-option": "further option of a growth operator",
    "--order": "order of copies in growing",
    "--out -o": "output",
    "--pack": "tokens a forward pass",
    "--pairs": "pairs of blocks",
    "--param -p": "parameter of a task",
    "--parts": "parts of a study",
    "--path": "folder of the task files",
    "--patience": "validations without progress",
    "--peak": "FLOPs of a GPU",
    "--period": "steps in a block without a loop",
    "--picture": "picture",
    "--plan": "print what would be done",
    "--port": "port",
    "--power": "runs that would decide a claim",
    "--precision": "dtype of a training beside --dtype of the scoring",
    "--quiet -q": "no message",
    "--race": "how candidates are dropped",
    "--repeats": "extra passes of a block",
    "--report": "candidates on test items",
    "--rows": "packed rows a forward pass",
    "--rule": "rule of early exit",
    "--save": "write the winner",
    "--save-to": "folder of the winner",
    "--schedule": "schedule",
    "--seed": "seed of what is drawn",
    "--seeds": "number of runs",
    "--self-contained": "code beside the weights",
    "--seq-len": "tokens a sequence",
    "--set": "field of a run file",
    "--shots -k": "examples before a question",
    "--show": "measures in a chart",
    "--sizes": "numbers of training examples",
    "--skip-front": "first tokens that are not ablated",
    "--split": "split of the data",
    "--starts": "first layers of blocks",
    "--states": "direction of states, or raw states",
    "--steps": "steps of a cooldown",
    "--study": "results of a study",
    "--style": "wording of variable assignment",
    "--suite": "suite of benchmarks",
    "--tasks -t": "tasks",
    "--template": "file of a prompt template",
    "--test-items": "test items a task",
    "--text": "file of prompts",
    "--texts": "number of prompts",
    "--ties": "ties of loops in fine-tuning",
    "--title": "title of a site",
    "--to": "number of layers to grow to",
    "--tokenizer": "tokenizer",
    "--tokens": "longest prompt",
    "--top": "number of best candidates that are kept",
    "--train-depths": "depths of assignments that are trained on",
    "--trust-remote-code": "run code of the model",
    "--trust-task-code": "run code of task files",
    "--untie": "own layers for each step",
    "--until": "last step of this call",
    "--upto": "largest number of loops, as a multiple",
    "--validation": "file of validation examples",
    "--validations": "number of validations",
    "--verify": "compare checksums",
    "--where": "tokens of effects",
    "--words": "word list",
}
"""Flags -> the thing they name. An option is added here if its thing has no other name yet."""

ALIASES = [
    # earlier words, and the words for the same thing now
    ("eval -m m --repeat 1:2 --times 0,1", "eval -m m --block 1:2 --repeats 0,1"),
    ("eval -m m --num_fewshot 3", "eval -m m --shots 3"),
    ("inspect m --repeat 1:2 --times 2", "inspect m --block 1:2 --repeats 2"),
    ("loop m --repeat 1:2 -o x --overwrite", "loop m --block 1:2 -o x --force"),
    ("export m --times 2 --repeat 1:2 -o x", "export m --repeats 2 --block 1:2 -o x"),
    ("grow m --times 3 -o x --overwrite", "grow m --copies 3 -o x --force"),
    ("train run.yaml --dry-run --force-run-file", "train run.yaml --plan --force"),
    ("sft -m m -d d -o x --precision fp32", "sft -m m -d d -o x --dtype float32"),
    ("generate copying --count 5 --workers 2 -o -", "generate copying --items 5 --jobs 2 -o -"),
    ("tokenize a -t bytes -o x", "tokenize a --tokenizer bytes -o x"),
    ("leaderboard show --task 'copy*'", "leaderboard show --tasks 'copy*'"),
    ("leaderboard add a.json --to r", "leaderboard add a.json --leaderboard r"),
    ("study swaps -m m -p a.svg --sizes 2", "study swaps -m m --picture a.svg --block-size 2"),
    ("study inference-scaling --block 4 --times 1", "study inference-scaling --block-size 4 "
     "--repeats 1"),
    ("study retrofit --blocks 2:4 --times 1", "study retrofit --block 2:4 --repeats 1"),
    ("study in-context-scaling --counts 0,1", "study in-context-scaling --shots 0,1"),
    ("scan m --probe a --overwrite --guard-limit 3", "scan m -t a --force --guard-items 3"),
    ("study cooldown --mixtures a,b", "study cooldown --mixture a,b"),
]  # fmt: skip


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


def parameters() -> Iterator[tuple[str, click.Option]]:
    """Command and option of every shown option, without the parameters of generators."""
    for path, command in commands(main):  # type: ignore[arg-type]
        for param in command.params:
            own = (param.name or "").startswith("param_")
            if isinstance(param, click.Option) and not param.hidden and not own:
                yield " ".join(path), param
    for name in STUDIES:
        for option in options_to_click(find(name).options):
            yield f"study {name}", option


def parsed(line: str) -> dict[str, Any]:
    """Values of the options of a command line, which is not run."""
    words = shlex.split(line)
    command: Any = main
    context = click.Context(main)
    while isinstance(command, click.Group):
        command = command.get_command(context, words.pop(0))
    context = command.make_context(command.name, words, resilient_parsing=False)
    return dict(context.params)


def test_one_thing_has_one_name_on_every_command() -> None:
    assert len(set(THINGS.values())) == len(THINGS)
    found = defaultdict(set)
    for command, option in parameters():
        found[" ".join(option.opts)].add(command)
    unknown = {flags: sorted(where) for flags, where in found.items() if flags not in THINGS}
    assert not unknown, "is there another name for this thing, or another thing of this name?"
    assert set(THINGS) == set(found)


def test_every_table_is_json_and_csv_too() -> None:
    flags = defaultdict(set)
    for command, option in parameters():
        flags[command] |= set(option.opts)
    tables = {
        "eval", "study", "leaderboard show", "claims", "tasks", "recipe", "inspect", "reproduce",
        "quickstart", "compare", "scan", "train", "verify",
    }  # fmt: skip
    assert {command for command in flags if "--csv" in flags[command]} == tables
    assert all("--json" in flags[command] for command in tables)


@pytest.mark.parametrize(("earlier", "now"), ALIASES)
def test_earlier_words_mean_the_same_and_are_not_in_the_help(
    earlier: str, now: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parsed(earlier) == parsed(now)
    assert capsys.readouterr() == ("", "")
    path = [word for word in shlex.split(earlier)[:2] if word.replace("-", "").isalpha()]
    path = path if path[0] in ("generate", "leaderboard", "study") else path[:1]
    shown = set(run(*path, "--help").stdout.replace(",", " ").split())
    new = set(shlex.split(now))
    for word in shlex.split(earlier):
        if word.startswith("--") and word not in new:
            assert word not in shown


def test_limit_is_an_alias_of_its_own() -> None:
    values = parsed("eval -m m --limit 5 -n 50")
    assert (values["limit"], values["items"]) == (5, 50)
    assert "--limit" not in run("eval", "--help").stdout
    assert parsed("reproduce laptop --format json")["form"] == "json"


def test_items_are_generated_or_the_first_questions_of_other_tasks() -> None:
    assert limit_of(None, ["lambada_openai"], {}) is None
    assert limit_of(5, ["variable_assignment_code_d0", "reasoning_primitives"], {}) is None
    assert limit_of(5, ["variable_assignment_code_d0", "lambada_openai"], {}) == 5


def test_suggestions_are_shown_options() -> None:
    hidden = {alias for _, option in parameters() if isinstance(option, Option)
              for alias in option.aliases}  # fmt: skip
    for line in ("loop m --tims 2", "grow m --overwritee", "train r --dry-rum", "sft --precisoin"):
        message = run(*line.split()).stderr
        assert "no such option" in message
        suggested = message.partition("did you mean '")[2].partition("'")[0]
        assert suggested not in hidden


def test_many_options_are_grouped_and_studies_are_listed() -> None:
    text = run("eval", "--help").stdout
    headings = ["Model options:", "Task options:", "Output options:", "Other options:"]
    places = [text.index(heading) for heading in headings]
    assert places == sorted(places)
    assert "\nOptions:" in run("recipe", "--help").stdout
    assert "989e12" in run("reproduce", "--help").stdout
    for name in STUDIES:
        assert f"  {name} " in run("study", "--help").stdout


def test_tables_as_csv() -> None:
    rows = run("tasks", "--csv").stdout.splitlines()
    entries = json.loads(run("tasks", "--json").stdout)
    assert rows[0].split(",")[:2] == [*entries[0]][:2]
    assert len(rows) == len(entries) + 1
    assert run("study", "list", "--csv").stdout.splitlines()[0] == "study,asks,paper,from"


def test_plan_and_verification_as_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run("recipe", "lessons-lidas", "--out", "run.yaml")
    stages = json.loads(run("train", "run.yaml", "--plan", "--json").stdout)["stages"]
    rows = list(csv.DictReader(io.StringIO(run("train", "run.yaml", "--plan", "--csv").stdout)))
    assert [row["schedule"] for row in rows] == [stage["schedule"] for stage in stages]
    assert len(rows) > 1
    refused = run("train", "run.yaml", "--csv")
    assert refused.exit_code == 2
    assert "--plan" in refused.stderr

    run("generate", "copying", "--items", "5", "--out", "a.jsonl")
    [file] = csv.DictReader(io.StringIO(run("verify", "a.jsonl", "--csv").stdout))
    assert (file["place"], file["problem"], len(file["fingerprint"])) == ("a.jsonl", "", 64)
    lines = Path("a.jsonl").read_text(encoding="utf-8").splitlines()
    Path("b.jsonl").write_text("\n".join([*lines, lines[0]]) + "\n", encoding="utf-8")
    broken = run("verify", "b.jsonl", "--csv")
    assert broken.exit_code == 2
    problems = [row for row in csv.DictReader(io.StringIO(broken.stdout)) if row["problem"]]
    assert [row["place"] for row in problems] == ["b.jsonl", "b.jsonl, line 6"]
    assert "the same item" in problems[1]["problem"]
