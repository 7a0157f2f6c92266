"""Probes: files, tasks of lm-eval, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from growloop.core.errors import InputError
from growloop.models import load
from growloop.models.checkpoints import load_tokenizer
from growloop.studies.scan.items import Item, bounded, check_plain, requests, score
from growloop.studies.scan.probes import TEST, VALIDATION, load_items, read_file, uneven
from growloop.tasks.questions import scorer

ROWS = [{"prompt": f"{i} plus 1 is", "choices": [str(i + 1), "many"], "answer": 0}
        for i in range(60)]  # fmt: skip


def written(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def lm(tiny_model: str) -> Any:
    return scorer(load(tiny_model), load_tokenizer(tiny_model))


def test_a_file_is_halved_and_no_prompt_is_on_both_sides(lm: Any, tmp_path: Path) -> None:
    name = written(tmp_path / "sums.jsonl", ROWS)
    sides = [load_items(lm, [name], split, 100, 0, 0, False)[0] for split in (VALIDATION, TEST)]
    contexts = [{tuple(item.context) for item in side.items} for side in sides]
    assert len(contexts[0]) + len(contexts[1]) == 60
    assert not contexts[0] & contexts[1]
    assert sides[0].chance == 0.5
    reversed_name = written(tmp_path / "reversed.jsonl", ROWS[::-1])
    [again] = load_items(lm, [reversed_name], VALIDATION, 100, 0, 0, False)
    assert {tuple(item.context) for item in again.items} == contexts[0]


def test_an_answer_alone_must_be_what_greedy_decoding_gives(lm: Any, tmp_path: Path) -> None:
    import torch

    rows = [{"prompt": f"{i} and", "answer": "x"} for i in range(40)]
    name = written(tmp_path / "free.jsonl", rows)
    [probe] = load_items(lm, [name], VALIDATION, 40, 0, 0, False)
    item = probe.items[0]
    ids = torch.tensor([item.context])
    written_by_model = lm.model.generate(ids, max_new_tokens=3, do_sample=False, pad_token_id=0)
    right = written_by_model[0, len(item.context) :].tolist()
    items = [Item(item.context, [right], 0), Item(item.context, [[*right[:-1], right[-1] ^ 1]], 0)]
    pairs = requests(items)
    totals = np.array([[t for t, _ in lm._plain(pairs, True)[0]]])
    greedy = np.array([[g for _, g in lm._plain(pairs, True)[0]]])
    assert score(totals, greedy, items)[1].tolist() == [[True, False]]


def test_margins_and_ties_and_normalised_options() -> None:
    items = [Item([1], [[2], [3], [4]], 1), Item([1], [[2], [3, 4]], 1, (1, 4))]
    totals = np.array([[-3.0, -1.0, -2.0, -2.0, -4.0], [-1.0, -1.0, -5.0, -1.0, -8.0]])
    margins, correct = score(totals, np.zeros(totals.shape, dtype=bool), items)
    assert margins[:, 0].tolist() == [1.0, 0.0]
    assert correct[:, 0].tolist() == [True, False]  # the first of equal options counts as chosen
    assert margins[:, 1].tolist() == [(-1.0 + 2.0) * 2.5, (-2.0 + 1.0) * 2.5]
    assert bounded(margins, correct, "margin").max() == pytest.approx(1.0)
    assert bounded(margins, correct, "accuracy").tolist() == [[1.0, 1.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": 3}, "a text 'prompt' is needed"),
        ({"prompt": "a"}, "a text 'answer', or 'choices'"),
        ({"prompt": "a", "choices": ["x"], "answer": 0}, "two or more different texts"),
        ({"prompt": "a", "choices": ["x", "x"], "answer": 0}, "two or more different texts"),
        ({"prompt": "a", "choices": ["x", "y"], "answer": 2}, "one of the choices or its index"),
        ({"prompt": "a", "choices": ["x", "y"], "answer": True}, "one of the choices"),
        ({"prompt": "a", "answer": " "}, "a text 'answer'"),
    ],
)
def test_a_line_that_is_no_item_is_named(row: Any, message: str, tmp_path: Path) -> None:
    name = written(tmp_path / "bad.jsonl", [ROWS[0], row])
    with pytest.raises(InputError, match=rf"line 2: .*{message}"):
        read_file(name)


def test_a_file_with_too_few_items_is_refused(lm: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="items to choose on, fewer than 8"):
        load_items(lm, [written(tmp_path / "few.jsonl", ROWS[:5])], VALIDATION, 100, 0, 0, False)


TASK = """task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
{files}
{splits}
output_type: multiple_choice
doc_to_text: "{{{{prompt}}}}"
doc_to_target: answer
doc_to_choice: choices
metric_list:
  - metric: acc
  - metric: acc_norm
"""


def task(folder: Path, **splits: str) -> str:
    files = []
    for number, name in enumerate(("train", "validation", "test")):
        data = folder / f"{name}.jsonl"
        written(data, [{**row, "prompt": f"{number}{row['prompt']}"} for row in ROWS])
        files.append(f"    {name}: {data}")
    lines = "\n".join(f"{kind}_split: {name}" for kind, name in splits.items())
    path = folder / "sums.yaml"
    path.write_text(TASK.format(name="sums", files="\n".join(files), splits=lines))
    return str(path)


@pytest.mark.parametrize(
    ("splits", "first"),
    [
        ({"validation": "validation", "test": "test"}, {VALIDATION: "1", TEST: "2"}),
        ({"training": "train", "validation": "validation"}, {VALIDATION: "0", TEST: "1"}),
    ],
)
def test_a_task_of_lm_eval_is_chosen_on_one_split_and_reported_on_another(
    lm: Any, tmp_path: Path, splits: dict[str, str], first: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    name = task(tmp_path, **splits)
    for split in (VALIDATION, TEST):
        [probe] = load_items(lm, [name], split, 20, 0, 0, False)
        assert len(probe) == 20
        texts = [lm.tokenizer.decode(item.context) for item in probe.items]
        assert all(text.startswith(first[split]) for text in texts)
        assert probe.items[0].lengths is not None  # it reports acc_norm


def test_a_task_with_one_labelled_split_is_refused(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="no validation split apart from the one it reports on"):
        load_items(lm, [task(tmp_path, test="test")], VALIDATION, 20, 0, 0, False)


def test_a_note_says_where_the_tokenizer_makes_options_differently_long(
    lm: Any, tmp_path: Path
) -> None:
    names = ["variable_assignment_math_d0", "copying_random_words"]
    digits, words = load_items(lm, names, VALIDATION, 20, 0, 0, False)
    assert "variable_assignment_math_d0 are 2 to 3 tokens long" in str(uneven(digits))
    assert uneven(words) is None  # three letters and a space each
    [normalised] = load_items(lm, names[:1], VALIDATION, 20, 0, 0, False, normalise=True)
    for item in normalised.scored:
        texts = [lm.tokenizer.decode(option).strip() for option in item.options]
        assert item.lengths == tuple(map(len, texts))
    assert normalised.metric == "acc_norm"
    [file] = load_items(lm, [written(tmp_path / "a.jsonl", ROWS)], VALIDATION, 20, 0, 0, False)
    assert uneven(file) is None  # compared by character anyway


def test_guessing_and_the_ceiling_are_refused() -> None:
    with pytest.raises(InputError, match="guesses on probe"):
        check_plain(0.24, 0.2, 200, "probe")
    with pytest.raises(InputError, match="answers all 200 items"):
        check_plain(1.0, 0.2, 200, "probe")
    check_plain(0.4, 0.2, 200, "probe")
    check_plain(0.0, None, 200, "probe")
    with pytest.raises(InputError, match=r"guesses on free \(0\.000, chance 0\.000"):
        check_plain(0.0, 0.0, 24, "free")  # no generated answer is right
    check_plain(1 / 24, 0.0, 24, "free")
    check_plain(0.2, 0.2, 16, "probe")  # too few items to say
