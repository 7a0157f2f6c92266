"""``growloop.train``, ``sft``, ``study`` and ``scan``: results, resuming, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import growloop
import pytest
from growloop import InputError
from growloop.models.training.data.tokenization import byte_tokenizer, tokenize

from ..support.tuning_runs import sums, written

RUN = {
    "name": "lesson",
    "steps": 6,
    "precision": "fp32",
    "log_every": 2,
    "model": {"preset": "tiny", "options": {"vocab_size": 257, "num_hidden_layers": 2}},
    "optimizer": {"warmup": 1, "cooldown": 2},
    "checkpoints": {"every": 3, "keep": 1},
}


@pytest.fixture(scope="module")
def run_fields(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("shards")
    texts = [f"{i} and {i * 7 % 31} make {i + i * 7 % 31}. " * 5 for i in range(40)]
    tokenize(texts, byte_tokenizer(), root / "a", "sums")
    return {**RUN, "data": {"sources": {"a": str(root / "a")}, "seq_len": 16, "batch_size": 2}}


def test_a_run_resumes_and_shows_its_metrics(run_fields: Any, tmp_path: Path) -> None:
    stopped = growloop.train(run_fields, tmp_path, until=2, progress=False)
    assert (stopped.step, stopped.finished) == (2, False)
    result = growloop.train(run_fields, tmp_path, progress=False)
    assert (result.step, result.finished) == (6, True)
    assert [row["step"] for row in result.to_rows()] == [2, 4, 6]
    assert result.chart().to_dict()["mark"]
    assert "finished after 6 steps" in result._repr_html_()
    assert json.loads(json.dumps(result.to_dict()))["finished"] is True
    assert growloop.load(str(result.folder)).config.num_hidden_layers == 2


def test_bad_runs_are_one_sentence(run_fields: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a run is a run file or its fields, not 3"):
        growloop.train(3, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"the run: .*steps"):
        growloop.train({**run_fields, "steps": -1}, tmp_path)
    with pytest.raises(InputError, match="cannot read nowhere"):
        growloop.train("nowhere.yaml", tmp_path)


def test_fine_tuning_gives_a_checkpoint_a_seed(plain: Path, tmp_path: Path) -> None:
    data = written(tmp_path / "train.jsonl", sums(12))
    held_out = written(tmp_path / "held_out.jsonl", sums(6, 12))
    said: list[str] = []
    result = growloop.sft(
        plain, data, tmp_path / "tuned", validation=held_out, seeds=2, progress=False,
        say=said.append, epochs=1, min_steps=3, seq_len=32, precision="fp32", validations=1,
    )  # fmt: skip
    assert len(result.checkpoints) == 2
    assert "12 examples" in said[0]
    rows = result.to_rows()
    assert [row["seed"] for row in rows] == [0, 1]
    assert all(row["loss"] > 0 and row["held_out"] > 0 for row in rows)
    assert result.chart().to_dict()["mark"]
    scored = growloop.evaluate(result.checkpoint, "copying_real_words", items=2, shots=0)
    assert scored.to_rows()[0]["n"] == 2
    with pytest.raises(InputError, match="unknown setting of sft 'epoch': did you mean 'epochs'"):
        growloop.sft(plain, data, tmp_path / "other", epoch=1)
    with pytest.raises(InputError, match="save a loaded model"):
        growloop.sft(growloop.load(str(plain)), data, tmp_path / "other")  # type: ignore[arg-type]


def test_a_study_is_stored_and_compared(plain: Path, looped: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "tasks": ("copying_real_words",), "items": 8, "shots": (0, 1), "out": tmp_path,
        "progress": False,
    }  # fmt: skip
    result = growloop.study("in-context-scaling", [plain, looped], **settings)
    assert {row["model"] for row in result.to_rows()} == {"plain", "looped"}
    assert result.against("plain")[0]["n"] == 8
    assert result.chart().to_dict()
    assert "in-context-scaling" in result._repr_html_()
    files = sorted(tmp_path.rglob("*.json"))
    before = [file.stat().st_mtime_ns for file in files]
    again = growloop.study("in-context-scaling", [plain, looped], **settings)
    assert [file.stat().st_mtime_ns for file in files] == before
    assert again.to_rows() == result.to_rows()
    assert json.loads(json.dumps(result.to_dict()))["study"] == "in-context-scaling"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("swap", ["x"]), "unknown study 'swap': did you mean 'swaps'"),
        (("swaps", []), "needs at least one model"),
        (("swaps", [3]), "save a loaded model"),
        (("swaps", "nowhere"), "nowhere"),
    ],
)
def test_bad_studies_are_one_sentence(arguments: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        growloop.study(*arguments, out=tmp_path)
    with pytest.raises(InputError, match="unknown option of swaps 'item': did you mean 'items'"):
        growloop.study("swaps", ["x"], item=3)


def test_a_scan_is_a_table_and_a_map(plain: Path) -> None:
    result = growloop.scan(
        plain, probes=("copying_real_words",), items=24, test_items=8, shots=0, max_block=1,
        allow_chance=True, beam=0, dtype="float32", progress=False,
    )  # fmt: skip
    gains = [row["score_gain"] for row in result.to_rows()]
    assert gains == sorted(gains, reverse=True)
    assert result.lines[0] == result.verdict
    assert result.chart().to_dict()["hconcat"]
    assert "plain: chosen" in result._repr_html_()
    with pytest.raises(InputError, match="save a loaded model"):
        growloop.scan(growloop.load(str(plain)))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="unknown dtype 'float31'"):
        growloop.scan(plain, dtype="float31")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": 3}, "tasks are names"),
        ({"tasks": [3]}, "tasks are names"),
        ({"tasks": None}, "tasks are names"),
        ({"shots": 1.5}, "shots must be a whole number"),
        ({"params": "x"}, "params maps names to values"),
    ],
)
def test_arguments_of_evaluate_of_another_type_are_refused(
    plain: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        growloop.evaluate(str(plain), **options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"block": 3}, "block is text, not 3"),
        ({"text": 3}, "text is text, not 3"),
        ({"show": 3}, "show takes values such as"),
        ({"states": ["raw"]}, "states is text"),
        ({"block": (1, 3), "period": 2}, "give one"),
    ],
)
def test_options_of_a_study_of_another_type_are_refused(
    plain: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        growloop.study("dynamics", str(plain), **given)


def test_options_of_a_study_are_single_values_lists_or_text() -> None:
    from growloop.api.studying import _as_default

    assert _as_default("shots", 1, (0, 2)) == (1,)
    assert _as_default("shots", range(3), (0, 2)) == (0, 1, 2)
    assert _as_default("tasks", "a, b", ("x",)) == ("a", "b")
    assert _as_default("block", (1, 3), None) == "1:3"
    assert _as_default("items", 20, 200) == 20
