"""Sequences that leave their block early, against the definition written out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from growloop.core.caches import cache_name
from growloop.core.errors import InputError
from growloop.models import EarlyExit, Recurrence, loop
from torch import Tensor
from transformers import (
    DynamicCache,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    StaticCache,
)

from ...support.unrolling import (
    BLOCK,
    BLOCK_LAYERS,
    SIZES,
    close,
    count_calls,
    gradients,
    greedy,
    plain,
    same,
    tokens,
    unique,
    unrolled,
)
from .simulation import CACHES, simulated

CRITERIA = {"entropy": 0.1, "latent": 0.45, "kl": 0.1, "argmax": 3, "gate": 0.2}
CHOSEN = pytest.mark.parametrize("criterion", list(CRITERIA))


def leaving(criterion: str, sharing: str | int = "full", **more: Any) -> LlamaForCausalLM:
    """A model that leaves its block early, by a gate that says something."""
    exits = EarlyExit(criterion, **{"threshold": CRITERIA[criterion]} | more)
    recurrence = Recurrence(kv_sharing=sharing, early_exit=exits)
    return with_gate(loop(plain(), BLOCK, recurrence=recurrence))


def with_gate(model: LlamaForCausalLM) -> LlamaForCausalLM:
    if model.runner.gate is not None:
        random = torch.Generator().manual_seed(2)
        model.runner.gate.weight.data.copy_(torch.randn(1, 32, generator=random) / 16)
    return model


def judge(model: PreTrainedModel, criterion: str, least: int = 1) -> Callable[..., bool]:
    """The criterion for all tokens of one sequence, written out; for :func:`simulated`."""
    threshold = CRITERIA[criterion]
    gate = with_gate(leaving(criterion)).runner.gate
    tops: list[Tensor] = []
    stays: list[Tensor] = []
    loops = [0]

    def settled(after: Tensor, before: Tensor | None) -> bool:
        if before is None:
            tops.clear()
            stays.clear()
            loops[0] = 0
        loops[0] += 1
        if criterion == "gate":
            stays.append(1 - gate(after).sigmoid())
            found = 1 - torch.stack(stays).prod(0) >= threshold
        elif criterion == "argmax":
            tops.append(model.lm_head(model.model.norm(after)).argmax(-1))
            last = torch.stack(tops[-int(threshold) :])
            found = (last == last[0]).all(0) & torch.tensor(len(last) >= threshold)
        elif before is None:
            return False
        elif criterion == "latent":
            found = (after - before).norm(dim=-1) / after.norm(dim=-1) < threshold
        else:
            p, q = (model.lm_head(model.model.norm(h)).softmax(-1) for h in (after, before))
            if criterion == "kl":
                found = (p * (p / q).log()).sum(-1) < threshold
            else:
                entropies = [-(x * x.log()).sum(-1) for x in (p, q)]
                found = (entropies[0] - entropies[1]).abs() < threshold
        return bool(found.all()) and loops[0] >= least

    return settled


@CHOSEN
@CACHES
def test_generation_with_early_exit_is_as_defined(criterion: str, cache: str) -> None:
    model, reference, ids = leaving(criterion), plain(), tokens(1, 4)
    with torch.no_grad():
        wanted, ran = simulated(
            reference, ids, BLOCK_LAYERS, 9, block=(1, 1, 5), settled=judge(reference, criterion)
        )
    assert 7 * 9 > ran > 3 * 9  # some loops are left out, some are not
    close(greedy(model, ids, new=9, cache_implementation=cache), wanted)
    assert model.runner.total_executed == ran
    assert model.runner.total_planned == 7 * 9


@pytest.mark.parametrize(
    ("sharing", "slots"),
    [
        ("last", 1),
        (2, 2),
        (3, 3),
    ],
)
def test_early_exit_with_shared_slots_is_as_defined(sharing: str | int, slots: int) -> None:
    for criterion in ("argmax", "latent"):
        model, reference, ids = leaving(criterion, sharing), plain(), tokens(1, 4)
        with torch.no_grad():
            wanted, _ = simulated(
                reference,
                ids,
                BLOCK_LAYERS,
                9,
                slots=slots,
                block=(1, 1, 5),
                settled=judge(reference, criterion),
            )
        close(greedy(model, ids, new=9), wanted)


def test_a_slot_that_was_skipped_can_be_used_by_a_later_step() -> None:
    exits = EarlyExit("argmax", 1)  # out after the first loop
    model = loop(plain(), "0,0,1,0,2,0", recurrence=Recurrence(kv_sharing=2, early_exit=exits))
    reference, ids = plain(), tokens(1)
    with torch.no_grad():
        wanted, _ = simulated(
            reference,
            ids,
            [0, 0, 1, 0, 2, 0],
            slots=2,
            block=(0, 1, 2),
            settled=lambda after, before: True,
        )
    close(greedy(model, ids), wanted)


@CHOSEN
def test_loops_that_are_left_out_do_not_run(criterion: str) -> None:
    model = leaving(criterion)
    runs, total = count_calls(model), 0
    for seed in range(12):
        runs.clear()
        model(tokens(1, 3, seed=seed))
        loops = int(model.runner.loops)
        assert runs == {0: 1, 1: loops, 2: 1}
        assert model.runner.executed == runs.total()
        total += runs.total()
    assert model.runner.total_executed == total < model.runner.total_planned == 12 * 7


def test_a_batch_runs_until_its_last_sequence_has_left() -> None:
    model = leaving("latent")
    ids = tokens(6, 3)
    alone = []
    for row in ids:
        model(row[None])
        alone += model.runner.loops.tolist()
    runs = count_calls(model)
    model(ids)
    assert model.runner.loops.tolist() == alone
    assert len(set(alone)) > 1
    assert runs[1] == max(alone)


def test_as_many_loops_run_as_are_asked_for() -> None:
    for least in (1, 3, 5):
        model = leaving("latent", threshold=1e9, min_loops=least)
        model(tokens())
        assert model.runner.loops.tolist() == [max(2, least)] * 2  # a change needs two


def test_nothing_leaves_in_training() -> None:
    model = leaving("latent", threshold=1e9).train()
    runs = count_calls(model)
    model(tokens())
    assert runs == {0: 1, 1: 5, 2: 1}
    assert model.runner.loops is None


def assert_no_sequence_depends_on_its_batch(model: PreTrainedModel, cached: bool = True) -> None:
    ids = tokens(5, 6)
    mask = torch.ones_like(ids)
    for row, left in enumerate([0, 2, 4, 0, 1]):
        mask[row, :left] = 0
    together = greedy(model, ids, new=5, attention_mask=mask, use_cache=cached)
    for row, left in enumerate(mask.argmax(1).tolist()):
        alone = greedy(model, ids[row : row + 1, left:], new=5, use_cache=cached)
        close(together[row : row + 1], alone, 1e-4)


@CHOSEN
@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("sharing", ["full", "last"])
def test_a_sequence_does_not_depend_on_its_batch(
    criterion: str, cached: bool, sharing: str | int
) -> None:
    assert_no_sequence_depends_on_its_batch(leaving(criterion, sharing), cached)


@pytest.mark.parametrize("criterion", ["latent", "argmax"])
def test_a_sequence_does_not_depend_on_its_batch_with_shared_slots(criterion: str) -> None:
    assert_no_sequence_depends_on_its_batch(leaving(criterion, 2))


@CHOSEN
def test_one_forward_is_the_same_with_and_without_a_cache(criterion: str) -> None:
    model, ids = leaving(criterion), tokens(5, 3)
    with torch.no_grad():
        close(model(ids, use_cache=True).logits, model(ids, use_cache=False).logits)


@CACHES
@pytest.mark.parametrize("sharing", ["full", "last"])
def test_skipped_loops_leave_the_entries_of_the_last_one(cache: str, sharing: str) -> None:
    model, ids = leaving("latent", sharing), tokens(5, 3)
    kept = (
        DynamicCache(config=model.config)
        if cache == "dynamic"
        else StaticCache(model.config, max_cache_len=8)
    )
    with torch.no_grad():
        model(ids, **{cache_name(model.forward): kept})
    loops = model.runner.loops.tolist()
    assert len(set(loops)) > 1
    assert max(loops) < 5
    used = kept.layers if sharing == "full" else [kept.layers[i] for i in (0, 1, 6)]
    assert [int(slot.get_seq_length()) for slot in used] == [3] * len(used)
    for row, count in enumerate(loops if sharing == "full" else []):
        last = kept.layers[count]  # slot 1 is the first loop
        for later in kept.layers[count + 1 : 6]:
            same(later.keys[row], last.keys[row])
            same(later.values[row], last.values[row])


@pytest.mark.parametrize("length", [3, 7])
def test_early_exit_works_in_a_sliding_window(length: int) -> None:
    torch.manual_seed(0)
    reference = MistralForCausalLM(
        MistralConfig(num_hidden_layers=3, sliding_window=5, **SIZES)
    ).eval()
    recurrence = Recurrence(early_exit=EarlyExit("latent", CRITERIA["latent"]))
    model, ids = loop(copy.deepcopy(reference), BLOCK, recurrence=recurrence), tokens(1, length)
    with torch.no_grad():
        wanted, ran = simulated(
            reference,
            ids,
            BLOCK_LAYERS,
            8,
            block=(1, 1, 5),
            settled=judge(reference, "latent"),
            window=5,
        )
    close(greedy(model, ids, new=8), wanted)
    assert model.runner.total_executed == ran < 7 * 8


def test_padding_does_not_count() -> None:
    model, ids = leaving("latent"), tokens(5, 6)
    mask = torch.ones_like(ids)
    mask[:, :5] = 0
    model(ids, attention_mask=mask)
    loops = model.runner.loops.tolist()
    model(ids)
    assert loops != model.runner.loops.tolist()
    for row, count in zip(ids, loops, strict=True):
        model(row[None, 5:])
        assert model.runner.loops.tolist() == [count]


def test_padding_does_not_count_however_the_mask_is_given() -> None:
    model, ids = leaving("latent"), tokens(5, 6)
    mask = torch.ones_like(ids)
    mask[:, :5] = 0
    model(input_ids=ids, attention_mask=mask)
    loops = model.runner.loops.tolist()
    model(ids, mask)
    assert model.runner.loops.tolist() == loops


def test_the_decoder_alone_does_not_use_the_mask_of_an_earlier_call() -> None:
    model, ids = leaving("latent"), tokens(5, 6)
    model(ids, attention_mask=torch.ones_like(ids).tril(-1))
    assert model.model(tokens(3, 4)).last_hidden_state.shape == (3, 4, 32)


def test_gradients_flow_in_evaluation_although_sequences_leave() -> None:
    model, ids = leaving("latent"), tokens(6, 3)
    model(ids, labels=ids).loss.backward()
    assert model.runner.loops.unique().numel() > 1
    with_cache = {name: grad.clone() for name, grad in gradients(model).items()}
    model.zero_grad()
    model(ids, labels=ids, use_cache=False).loss.backward()
    close(with_cache, gradients(model))


def test_after_an_error_the_next_forward_is_right() -> None:
    model, ids = leaving("latent"), tokens()
    wanted = greedy(model, ids)

    def fail(*_: Any) -> None:
        raise RuntimeError("stop")

    handle = unique(model)[1].register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="stop"):
        model(tokens(3, 4))
    with pytest.raises(RuntimeError, match="stop"):
        model(ids, schedule="3")
    handle.remove()
    assert str(model.schedule) == BLOCK
    same(greedy(model, ids), wanted)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"direction": "both"}, "direction"),
        ({"count": "steps"}, "count"),
        ({"judged": "first"}, "judged"),
        ({"through_coda": 1}, "through_coda is true or false, not 1"),
    ],
)
def test_bad_exit_rules_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        EarlyExit("kl", **given)
    with pytest.raises(InputError, match="no mean over tokens"):
        EarlyExit("argmax", judged="mean")
    with pytest.raises(InputError, match="gate is Ouro's"):
        EarlyExit.geiping("gate")


def test_a_rule_in_an_old_checkpoint_means_what_it_meant() -> None:
    old = {"criterion": "kl", "threshold": 0.02, "min_loops": 2}
    rule = Recurrence.from_dict({"early_exit": old}).early_exit
    assert rule == EarlyExit("kl", 0.02, 2, "new-old", "loops", "all", False, False)
    new = Recurrence(early_exit=EarlyExit.geiping("argmax"))
    assert Recurrence.from_dict(new.to_dict()) == new


def test_a_recurrence_can_be_taken_back() -> None:
    model, ids = leaving("latent", "last"), tokens()
    reference = unrolled(plain(), BLOCK_LAYERS)
    loop(model, recurrence=Recurrence())
    assert not any("runner" in name for name in model.state_dict())
    same(greedy(model, ids), greedy(reference, ids))
