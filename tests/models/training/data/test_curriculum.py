"""Generated lessons: right answers, none of the evaluation's items, gates by what is learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from growloop.core.errors import InputError
from growloop.models import load
from growloop.models.training.data.batches import IGNORED
from growloop.models.training.data.curriculum import Curriculum
from growloop.models.training.data.lessons import GROUP, lesson
from growloop.models.training.data.mixture import Phase
from growloop.models.training.data.symbols import symbol_tokenizer, vocabulary
from growloop.models.training.engine import Engine
from growloop.models.training.runfile import Stage, parse
from growloop.primitives import generate, solve
from growloop.primitives.templating import FOLDER

from ....support.training_runs import losses, weights

TEXTS = {number: text for text, number in vocabulary().items()}
NAMES = ["repeats", "copying-words", "copying-letters", "recall"]
NAMES += [f"assignment-{depth}" for depth in range(5)]


def row(name: str, group: int, place: int) -> tuple[list[str], dict[int, str]]:
    """The tokens of a row as texts, and the target after each scored place."""
    tokens, targets = (part[place] for part in lesson(name)(7, group))
    wanted = {i: TEXTS[t] for i, t in enumerate(targets.tolist()) if t != IGNORED}
    return [TEXTS[t] for t in tokens.tolist()], wanted


def resolved(texts: list[str], stop: int) -> str:
    """The value of the last name before ``stop``, by following the lines."""
    letters = {t for t in texts if len(t) == 1 and t.isalpha()}
    bound: dict[str, str] = {}
    names = [(i, t) for i, t in enumerate(texts[:stop]) if t in letters]
    signs = {"=", ":", "-", ">", "is"}
    for i, name in names:
        rest = iter(texts[i + 1 : stop])
        value = next((t for t in rest if t not in signs), "")
        if name not in bound and (value.isdigit() or value in letters):
            bound[name] = value
    found = names[-1][1]
    while found in bound:
        found = bound[found]
    return found


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith(("recall", "assignment"))])
def test_every_scored_value_is_that_of_the_name_that_is_asked(name: str) -> None:
    checked = 0
    for group in range(12):
        for place in range(GROUP):
            texts, wanted = row(name, group, place)
            assert wanted
            for i, value in wanted.items():
                assert resolved(texts, i + 1) == value
                checked += 1
    assert checked > 12 * GROUP


def test_every_scored_symbol_came_after_the_same_one_before() -> None:
    for group in range(20):
        texts, wanted = row("repeats", group, 3)
        first = min(wanted)
        again = texts[first:]
        starts = [i for i in range(first) if texts[i : i + len(again)] == again]
        assert starts
        assert list(wanted.values())[:-1] == again[1:]


def test_the_letters_of_a_word_are_copied_in_their_order() -> None:
    for group in range(20):
        texts, wanted = row("copying-letters", group, 0)
        text = " ".join(texts) + " "
        answer = " ".join([wanted[i] for i in sorted(wanted)][-3:])
        assert answer in text[: text.rindex(" ")]


def test_lessons_do_not_depend_on_what_was_drawn_before() -> None:
    for name in NAMES:
        first, again = lesson(name)(3, 5), lesson(name)(3, 5)
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        others = lesson(name)(4, 5), lesson(name)(3, 6)
        assert all(not np.array_equal(first[0], other[0]) for other in others)


def test_no_evaluation_prompt_is_among_the_lessons() -> None:
    tokenizer = symbol_tokenizer()
    templates = [p.read_text().split("{")[0] for p in FOLDER.glob("*.j2")]
    heads = [" ".join(tokenizer.encode(t).tokens) for t in templates]
    heads = [head for head in heads if head.count(" ") > 2]
    assert len(heads) >= 4
    for name in NAMES:
        for group in range(30):
            text = " ".join(row(name, group, 0)[0])
            assert not any(head in text for head in heads)


def test_the_assignments_of_lessons_are_of_the_training_split() -> None:
    from growloop.primitives import VariableAssignment

    task = VariableAssignment(depth=0, chains=5)
    found = 0
    for group in range(60):
        texts, _ = row("assignment-0", group, 0)
        numbers = [i for i, t in enumerate(texts) if t.isdigit()]
        letters = [i for i, t in enumerate(texts) if len(t) == 1 and t.isalpha()]
        lines = {}
        for i in numbers:
            name = max((j for j in letters if j < i), default=None)
            if name is not None and i - name < 4 and texts[name] not in lines:
                lines[texts[name]] = texts[i]
        if len(lines) == 5:
            prompt = "".join(f"{name}={value}\n" for name, value in lines.items())
            assert task.splits_of([prompt]) == ["train"]
            found += 1
    assert found > 3


@pytest.mark.parametrize("task", ["copying", "variable_assignment"])
def test_the_tokenizer_reads_every_evaluation_prompt(task: str) -> None:
    tokenizer = symbol_tokenizer()
    styles: list[dict[str, Any]] = [{"style": s} for s in ("basic", "math", "code")]
    for params in styles if task.startswith("variable") else [{}, {"words": "real"}]:
        for item in generate(task, 20, **params):
            tokens = tokenizer.encode(item.prompt).tokens
            assert "<unk>" not in tokens
            assert solve(task, item.prompt) == item.target
            assert tokenizer.decode(tokenizer.encode(item.target).ids) == item.target


def stages(*until: float) -> list[Stage]:
    names = ("repeats", "recall", "assignment-1")
    return [Stage(lessons={n: 1.0}, until=u) for n, u in zip(names, until, strict=False)]


def test_a_stage_ends_when_its_running_loss_is_low_and_not_before() -> None:
    source = Curriculum(stages(0.5, 0.5, 0.5), 8, 256)
    assert source.observe_losses(0, {"repeats": 2.0}) is None
    assert source.observe_losses(1, {"recall": 0.0}) is None
    steps = 2
    while source.observe_losses(steps, {"repeats": 0.1}) is None:
        steps += 1
    assert 0.95 ** (steps - 1) * 1.9 + 0.1 < 0.5 < 0.95 ** (steps - 2) * 1.9 + 0.1
    assert source.state == {"stage": 1, "begun": [0, steps], "loss": None}
    source.observe_losses(50, {"recall": 0.1})
    for step in range(51, 60):
        assert source.observe_losses(step, {"assignment-1": 0.0}) is None  # the last one goes on
    assert source.state["stage"] == 2


def limited(*shares: float, steps: int | None = 40) -> Curriculum:
    """Curriculum whose stages have gates that no loss passes."""
    names = ("repeats", "recall", "assignment-1")
    return Curriculum(
        [Stage(lessons={n: 1.0}, max_share=s) for n, s in zip(names, shares, strict=False)],
        8,
        256,
        steps=steps,
    )


def test_a_stage_that_is_not_learned_ends_when_its_share_of_the_steps_is_used_up() -> None:
    source = limited(0.25, 0.3, 1.0)
    messages = {}
    for step in range(40):
        main = next(iter(source.stage.lessons))
        losses_of_step = {} if step == 9 else {main: 2.0}  # a step without rows of the main lesson
        if message := source.observe_losses(step, losses_of_step):
            messages[step] = message
    assert list(messages) == [9, 21]  # 10 steps and 12 of 40
    assert "repeats is not learned (2.000), but its share of the steps is used up" in messages[9]
    assert messages[21].endswith("now assignment-1")
    assert source.state["begun"] == [0, 9, 21]
    assert source.state["not_learned"] == [0, 1]


@pytest.mark.parametrize(("share", "end"), [(0.07, 6), (0.28, 27), (0.55, 54), (0.555, 55)])
def test_a_share_of_whole_steps_is_not_exceeded_by_rounding(share: float, end: int) -> None:
    source = limited(share, 1.0, steps=100)
    ends = [step for step in range(100) if source.observe_losses(step, {"repeats": 2.0})]
    assert ends[0] == end


def test_a_stage_that_is_learned_ends_before_its_share_is_used_up() -> None:
    gates = [(0.5, 0.5), (0.5, 0.25), (0.0, 1.0)]
    names = ("repeats", "recall", "assignment-1")
    source = Curriculum(
        [
            Stage(lessons={n: 1.0}, until=u, max_share=m)
            for n, (u, m) in zip(names, gates, strict=True)
        ],
        8,
        256,
        steps=40,
    )
    assert "repeats is learned (0.100)" in str(source.observe_losses(0, {"repeats": 0.1}))
    ends = [step for step in range(1, 40) if source.observe_losses(step, {"recall": 2.0})]
    assert ends == [10]  # 10 of 40 steps, from step 1 on
    assert source.state["not_learned"] == [1]


def test_shares_of_steps_that_have_no_meaning_are_refused() -> None:
    with pytest.raises(InputError, match="the last stage lasts to the end"):
        limited(0.5, 0.5)
    with pytest.raises(InputError, match="give steps"):
        limited(0.5, 1.0, steps=None)
    run = {"name": "x", "steps": 9, "model": {"preset": "tiny"}}
    for share in (0, 1.5, -1):
        stage = {"lessons": {"repeats": 1.0}, "max_share": share}
        with pytest.raises(InputError, match="max_share"):
            parse(run | {"data": {"curriculum": [stage], "seq_len": 64, "batch_size": 8}})


def test_a_run_file_without_limits_is_written_as_before_they_existed() -> None:
    stage = Stage(lessons={"repeats": 1.0}, until=0.5)
    assert stage.model_dump(mode="json") == {"lessons": {"repeats": 1.0}, "until": 0.5}
    limit = stage.model_copy(update={"max_share": 0.4}).model_dump(mode="json")
    assert Stage.model_validate(limit).max_share == limit["max_share"] == 0.4


def test_a_mixture_takes_the_place_of_the_stages_from_its_step_on() -> None:
    source = Curriculum(stages(0.5, 0.5), 8, 256, phases=[Phase(10, {"copying-words": 1.0})])
    plain = Curriculum(stages(0.5, 0.5), 8, 256)
    assert source.kinds == (*plain.kinds, "copying-words")
    assert np.array_equal(source.batch(9).tokens, plain.batch(9).tokens)
    kinds = source.batch(10).kinds
    assert kinds is not None
    assert {source.kinds[kind] for kind in kinds} == {"copying-words"}
    assert source.observe_losses(10, {"repeats": 0.0}) is None
    assert source.state["stage"] == 0
    for shares, message in [({"recall": 0.5}, "sum to 1"), ({"recal": 1.0}, "mean 'recall'")]:
        with pytest.raises(InputError, match=message):
            Curriculum(stages(0.5), 8, 256, phases=[Phase(10, shares)])


def test_shares_and_processes() -> None:
    source = Curriculum([Stage(lessons={"repeats": 0.75, "recall": 0.25})], 16, 256, seed=1)
    kinds = [source.batch(step).kinds for step in range(200)]
    share = np.mean([kind == 1 for kind in kinds])
    assert abs(share - 0.25) < 0.05
    whole = source.batch(5)
    parts = [source.batch(5, rank, 4) for rank in range(4)]
    assert np.array_equal(np.concatenate([p.tokens for p in parts]), whole.tokens)
    assert {p.count for p in parts} == {int((whole.targets != IGNORED).sum())}


@pytest.mark.parametrize(
    ("stage", "size", "length", "message"),
    [
        ({"repaets": 1.0}, 8, 256, "did you mean 'repeats'"),
        ({"assignment-9": 1.0}, 8, 256, "names last for depth 7"),
        ({"repeats": 0.5}, 8, 256, "sum to 1"),
        ({"repeats": 1.0}, 12, 256, "multiple of 8"),
        ({"recall": 1.0}, 8, 20, "seq_len 20 is too small"),
    ],
)
def test_bad_curricula_are_refused(
    stage: dict[str, float], size: int, length: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Curriculum([Stage(lessons=stage)], size, length).batch(0)


@pytest.mark.slow
def test_a_curriculum_goes_on_where_it_stopped_and_its_model_can_be_evaluated(
    tmp_path: Path,
) -> None:
    run = {
        "name": "lessons",
        "steps": 30,
        "precision": "fp32",
        "log_every": 1,
        "model": {"preset": "tiny", "options": {"vocab_size": len(vocabulary())}},
        "data": {
            "curriculum": [
                {"lessons": {"repeats": 1.0}, "max_share": 0.25},
                {"lessons": {"copying-letters": 1.0}, "until": 8.0},
                {"lessons": {"recall": 0.5, "assignment-1": 0.5}},
            ],
            "batch_size": 16,
            "seq_len": 256,
        },
        "optimizer": {"warmup": 4},
        "checkpoints": {"every": 6},
    }
    first = Engine(parse(run), tmp_path / "a").train()
    for until in (1, 9, None):
        second = Engine(parse(run), tmp_path / "b").train(until)
    assert weights(first.folder) == weights(second.folder)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    rows = [json.loads(x) for x in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    assert "loss/repeats" in rows[0]
    assert any("loss/assignment-1" in row for row in rows[5:])
    assert rows[-1]["loss"] < rows[0]["loss"]
    load(str(first.folder))
    assert (first.folder / "tokenizer.json").is_file()
