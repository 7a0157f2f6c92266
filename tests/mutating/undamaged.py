"""Valid files of every kind, on which every command succeeds."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .cases import CASES, EVAL, LONG, Case


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
        with copied(case, origin):
            if not all([*map(list, map(Path().glob, case.files))]):
                raise SystemExit(f"{case.name}: a pattern of {case.files} fits no file")
            _succeed(case.command, case.code)


@contextlib.contextmanager
def copied(case: Case, origin: Path, keep: Path | None = None) -> Iterator[Path]:
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
