"""Which records are of one model: content decides, names are labels."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from growloop.leaderboard import Model, Record
from growloop.leaderboard.entries import build_entries, latest_records
from growloop.leaderboard.model_identities import ModelIdentities

from .making import made


def content(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def model(weights: str | None = None, name: str = "run", **fields: Any) -> Model:
    return Model(name=name, digest=None if weights is None else content(weights), **fields)


def labels(*records: Record) -> dict[str, float]:
    return {entry.label: entry.value for entry in build_entries(records)}


def test_two_folders_of_one_name_are_two_lines_told_apart_by_their_parents() -> None:
    a, b = (model(of, "checkpoint-100", folder=("x", of, "checkpoint-100")) for of in ("a", "b"))
    assert labels(made(0.2, model=a), made(0.4, model=b)) == {
        "checkpoint-100 [a]": 0.2,
        "checkpoint-100 [b]": 0.4,
    }


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({"step": 100}, {"step": 200}, ("step 100", "step 200")),
        ({"changes": "peft a"}, {}, ("peft a", None)),
        ({"schedule": "4"}, {"schedule": "1-2x2-1"}, ("4", "1-2x2-1")),
        (
            {"folder": ("a", "s", "run")},
            {"folder": ("b", "s", "run")},
            ("a/s", "b/s"),
        ),
        ({}, {}, (content("a")[:8], content("b")[:8])),
    ],
)
def test_the_shortest_of_what_tells_models_apart_is_appended(
    one: dict[str, Any], other: dict[str, Any], told: tuple[str | None, str | None]
) -> None:
    found = labels(made(0.2, model=model("a", **one)), made(0.4, model=model("b", **other)))
    wanted = ["run" if text is None else f"run [{text}]" for text in told]
    assert found == dict(zip(wanted, (0.2, 0.4), strict=True))


def test_a_copy_under_another_name_is_the_same_model() -> None:
    here = made(0.2, model=model("a", size="1B"), time="2026-01-01T00:00:00Z")
    copy = made(0.3, model=model("a", "copy"), time="2026-01-02T00:00:00Z")
    assert latest_records([here, copy]) == [copy]
    assert labels(here, copy) == {"run 1B": 0.3}  # called as by the one that says most
    changed = made(0.4, model=model("a", "copy", changes="load_in_8bit"))
    assert len(labels(here, copy, changed)) == 2


def test_checkpoints_of_one_run_are_lines_of_their_own_with_all_seeds() -> None:
    def at(step: int, seed: int) -> Model:
        return model(f"{step} {seed}", seed=seed, step=step, training=f"until-{step}")

    records = [
        made(step / 1000 + seed / 100, model=at(step, seed))
        for step in (100, 200)
        for seed in range(3)
    ]
    found = {entry.label: (entry.seeds, round(entry.value, 3)) for entry in build_entries(records)}
    assert found == {"run [step 100]": (3, 0.11), "run [step 200]": (3, 0.21)}


def test_trainings_that_differ_in_more_than_their_seed_are_not_averaged() -> None:
    fast, slow = (
        [model(f"{lr} {seed}", seed=seed, training=lr) for seed in range(2)] for lr in ("a", "b")
    )
    found = build_entries(made(0.5, model=one) for one in (*fast, *slow))
    assert [entry.seeds for entry in found] == [2, 2]
    assert len({entry.label for entry in found}) == 2


def test_weights_of_one_seed_that_differ_are_never_averaged() -> None:
    records = [
        made(value, model=model(weights, seed=seed), seed=seed_of_data)
        for weights, seed, seed_of_data, value in (
            ("a", 0, 0, 0.2),
            ("b", 0, 1, 0.4),
            ("c", 1, 0, 0.6),
        )
    ]
    assert [entry.seeds for entry in build_entries(records)] == [1, 1, 1]


def test_records_without_a_digest_belong_to_the_model_of_their_description() -> None:
    old = made(0.2, model=model(), time="2025-01-01T00:00:00Z")
    new = made(0.3, model=model("a"), time="2026-01-01T00:00:00Z")
    assert labels(old, new) == {"run": 0.3}
    other_task = made(0.2, task="reversal", model=model())
    (first, second) = build_entries([other_task, new])
    assert first.key == second.key
    twice = made(0.4, model=model("b"))
    assert len(build_entries([old, new, twice])) == 3  # which of the two it was nobody knows
    assert labels(old)["run"] == 0.2


def test_commits_of_a_hub_model_are_models() -> None:
    def hub(revision: str | None) -> Model:
        return Model(name="o/m", source="o/m", revision=revision)

    found = labels(made(0.2, model=hub("a" * 40)), made(0.4, model=hub("b" * 40)))
    assert found == {"o/m [aaaaaaaaaaaa]": 0.2, "o/m [bbbbbbbbbbbb]": 0.4}


def test_the_paper_and_what_was_measured_are_never_one_model() -> None:
    found = ModelIdentities([made(0.2), made(0.2, kind="reported")])
    assert len({found.key(record) for record in (made(0.2), made(0.2, kind="reported"))}) == 2


def test_precisions_and_settings_are_lines_that_say_so() -> None:
    found = labels(
        made(0.2, dtype="float32"),
        made(0.3, dtype="bfloat16"),
        made(0.4, dtype="float32", settings={"softmax_dtype": "float64"}),
    )
    assert found == {
        "tiny, float32": 0.2,
        "tiny, bfloat16": 0.3,
        "tiny, float32, softmax_dtype float64": 0.4,
    }
    assert labels(made(0.2, dtype="float32")) == {"tiny": 0.2}
    assert labels(made(0.2, backend="hf", n=10), made(0.3, backend="growloop")) == {"tiny": 0.3}


def test_the_same_model_is_called_the_same_on_every_line() -> None:
    some = [
        made(0.5, task=task, model=model(weights, folder=("x", weights, "run")))
        for task in ("copying", "reversal")
        for weights in "ab"
    ]
    assert sorted(entry.label for entry in build_entries(some[:3])) == [
        "run [a]",
        "run [a]",
        "run [b]",
    ]
