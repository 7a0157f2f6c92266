"""Commands that are run on damaged files or with odd options, and the files that each reads."""

from __future__ import annotations

from dataclasses import dataclass


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
