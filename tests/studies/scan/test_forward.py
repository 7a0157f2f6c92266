"""Candidates compute what physical copies of their layers compute, bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from growloop.core.errors import InputError
from growloop.models import Recurrence, Schedule, load, loop, untie
from growloop.models.checkpoints import load_tokenizer
from growloop.studies.scan.candidates import Candidate, candidates, combination, own
from growloop.studies.scan.forward import ProgramScan
from growloop.studies.scan.items import Item, ProbeItems
from growloop.studies.scan.measure import Meter
from growloop.studies.scan.program import ProgramTrie, program
from growloop.tasks.questions import scorer
from growloop.tasks.scoring.trie import build

from ...tasks import tiny

PLAIN = Schedule.plain(4)
EVERY = candidates(PLAIN, ("repeat", "skip", "swap"), None, (1, 2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("llama", tmp_path_factory.mktemp("scan") / "model", layers=4)


def scores(model: Any, some: list[Candidate], base: Schedule = PLAIN, pack: int = 64) -> Any:
    scan = ProgramScan(model, program(base), pack)
    return scan.run(build(tiny.PAIRS), [program(c.schedule, c.recurrence) for c in some])[0]


def test_every_candidate_scores_as_physical_copies_bit_by_bit(folder: Path) -> None:
    together = scores(load(str(folder)), EVERY)
    for candidate, found in zip(EVERY, together, strict=True):
        copies = untie(loop(load(str(folder)), candidate.schedule))
        depth = len(candidate.schedule)
        alone = scores(copies, [own(Schedule.plain(depth))], Schedule.plain(depth))
        assert np.array_equal(found, alone[0]), candidate.name


@pytest.mark.parametrize("applied", ["damped:0.5", "substeps"])
def test_damped_repeats_and_substeps_score_as_the_looped_model(folder: Path, applied: str) -> None:
    some = candidates(PLAIN, ("repeat",), None, (1, 2), (applied,))[1:]
    some.append(combination(PLAIN, [(0, 1, 2), (2, 4, 1)], applied))
    together = scores(load(str(folder)), some, pack=4096)
    for candidate, found in zip(some, together, strict=True):
        model = loop(load(str(folder)), candidate.schedule, recurrence=candidate.recurrence)
        lm = scorer(model, load_tokenizer(str(folder)))
        [alone] = lm._cached(tiny.PAIRS, True)  # each context by itself, with a KV cache
        np.testing.assert_allclose(found, [total for total, _ in alone], atol=2e-4)


def test_substeps_of_one_loop_change_nothing_and_of_two_apply_half() -> None:
    assert program(Schedule.parse("3"), Recurrence(substeps=True)) == (0, 1, 2)
    shares = [s.share for s in program(Schedule.parse("1-1x2-1"), Recurrence(substeps=True))
              if not isinstance(s, int)]  # fmt: skip
    assert shares == [0.5, 0.5]


@pytest.mark.parametrize("kind", ["gpt2", "gemma2", "mistral-window", "gpt_neox"])
def test_other_architectures_score_as_lm_eval(kind: str, tmp_path: Path) -> None:
    path = str(tiny.save(kind, tmp_path / kind, layers=3))
    lm = scorer(load(path), load_tokenizer(path))
    meter = Meter(lm)
    some = candidates(Schedule.plain(3), ("repeat", "skip", "swap"), None)
    found, _ = meter.scan.run(build(tiny.PAIRS), [program(c.schedule) for c in some])
    expected = lm.score_schedules(tiny.PAIRS, [c.schedule for c in some])
    totals = [[total for total, _ in row] for row in expected]
    np.testing.assert_allclose(found, totals, atol=1e-3)


def test_an_architecture_whose_positions_cannot_be_set_is_refused(tmp_path: Path) -> None:
    path = str(tiny.save("bloom", tmp_path / "bloom", layers=3))
    meter = Meter(scorer(load(path), load_tokenizer(path)))
    items = ProbeItems("probe", "test", None, (Item(tiny.CONTEXT, tiny.OPTIONS, 0),))
    with pytest.raises(InputError, match=r"cannot be run apart|cannot be scanned"):
        meter.measure([own(meter.base)], [items])


@pytest.mark.parametrize("error", [StopIteration(), AttributeError("no such mask"), IndexError(7)])
def test_layers_that_fail_apart_in_any_way_are_refused_in_a_sentence(
    error: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = Meter(scorer(load(str(folder)), load_tokenizer(str(folder))))

    def fails(*args: Any) -> None:
        raise error

    monkeypatch.setattr(meter.scan, "run", fails)
    items = ProbeItems("probe", "test", None, (Item(tiny.CONTEXT, tiny.OPTIONS, 0),))
    with pytest.raises(InputError, match="cannot be run apart, so this architecture cannot be"):
        meter.measure([own(meter.base)], [items])


def test_a_looped_model_scores_as_under_its_own_schedules(folder: Path) -> None:
    base = Schedule.parse("1-2x2-1")
    some = candidates(base, ("repeat", "skip", "swap"), None)
    lm = scorer(loop(load(str(folder)), base), load_tokenizer(str(folder)))
    found = scores(lm.model, some, base)
    lm.pack = 64
    expected = lm.score_schedules(tiny.PAIRS, [c.schedule for c in some])
    assert np.array_equal(found, [[total for total, _ in row] for row in expected])


def test_layers_run_once_for_all_candidates_that_share_them(folder: Path) -> None:
    model = load(str(folder))
    scan, trie = ProgramScan(model, program(PLAIN), 4096), build(tiny.PAIRS)
    some = candidates(PLAIN, ("repeat",), None)
    scan.run(trie, [program(c.schedule) for c in some])
    steps = ProgramTrie.build(program(PLAIN), [program(c.schedule) for c in some]).layer_steps
    assert scan.layer_tokens == steps * len(trie)
    # a repeat of i:j shares layers 0 to j-1 with the model as it is
    assert steps == 4 + sum(4 - c.blocks[0][0] for c in some[1:])


def test_a_damped_repeat_shares_the_repeated_pass_with_the_plain_one() -> None:
    plain = program(PLAIN.repeat(1, 3))
    damped = program(PLAIN.repeat(1, 3), Recurrence(damping=0.5))
    together = ProgramTrie.build(program(PLAIN), [plain, damped])
    assert together.layer_steps == 4 + 3 + 1


def test_a_model_with_settings_of_its_own_between_loops_is_refused(folder: Path) -> None:
    model = loop(load(str(folder)), "1-2x2-1", recurrence=Recurrence(damping=0.5))
    with pytest.raises(InputError, match="loops have settings"):
        Meter(scorer(model, load_tokenizer(str(folder))))
