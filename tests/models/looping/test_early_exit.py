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
    Qwen2Config,
    Qwen2ForCausalLM,
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


# Geiping et al. 2025, in generation: derived from what their public code computes


class Published:
    """Their rule for one sequence: what was seen before the first loop, then a check a loop."""

    def __init__(self, criterion: str, threshold: float) -> None:
        self.criterion, self.threshold = criterion, threshold

    def init(self, state: Tensor) -> None:
        self.state, self.entropy, self.stable, self.top = state, 100.0, 0, -1
        self.probs = torch.full((97,), 1 / 97)

    def check(self, state: Tensor, logits: Tensor) -> bool:
        probs = logits[0, -1].softmax(-1)
        if self.criterion == "latent":
            moved = (state - self.state).norm(dim=-1) / state.norm(dim=-1)
            self.state = state
            return bool(moved.mean() < self.threshold)
        if self.criterion == "entropy":
            entropy = float(-(probs * probs.log()).sum())
            before, self.entropy = self.entropy, entropy
            return abs(entropy - before) < self.threshold
        if self.criterion == "kl":
            before, self.probs = self.probs, probs
            return bool((before * (before / probs).log()).sum() < self.threshold)
        top = int(probs.argmax())
        self.stable = self.stable + 1 if top == self.top else 0
        self.top = top
        return self.stable >= self.threshold


PUBLISHED = {"entropy": 0.05, "latent": 0.45, "kl": 0.02, "argmax": 2}


def published(criterion: str, **more: Any) -> LlamaForCausalLM:
    exits = EarlyExit.geiping(criterion, PUBLISHED[criterion])
    return loop(plain(), BLOCK, recurrence=Recurrence(early_exit=exits, **more))


@pytest.mark.parametrize("criterion", list(PUBLISHED))
@CACHES
def test_the_published_rule_is_applied_as_published(criterion: str, cache: str) -> None:
    model, reference, ids = published(criterion), plain(), tokens(1, 4)
    with torch.no_grad():
        rule = Published(criterion, PUBLISHED[criterion])
        wanted, ran = simulated(reference, ids, BLOCK_LAYERS, 9, block=(1, 1, 5), rule=rule)
    close(greedy(model, ids, new=9, cache_implementation=cache), wanted)
    if criterion == "latent":  # compares states: the coda is not run for it
        assert model.runner.total_executed < 7 * 9
    else:
        assert model.runner.total_executed == ran


@pytest.mark.parametrize("criterion", list(PUBLISHED))
def test_the_published_rule_looks_at_what_the_model_would_say_if_it_left(criterion: str) -> None:
    """The logits after a loop are those of the model with so many loops in all."""
    model, ids = published(criterion), tokens(1, 5)
    threshold, counts = PUBLISHED[criterion], []
    for seed in range(8):
        ids = tokens(1, 5, seed=seed)
        rule, states = Published(criterion, threshold), []
        with torch.no_grad():
            rule.init(_before_norm(plain(), [0], ids))
            for loops in range(1, 6):
                layers = [0, *[1] * loops]
                states.append(_before_norm(plain(), layers, ids))
                if rule.check(states[-1], unrolled(plain(), [*layers, 2])(ids).logits):
                    break
            model(ids)
        assert model.runner.loops.tolist() == [loops]
        counts.append(loops)
    assert len(set(counts)) > 1


def _before_norm(model: PreTrainedModel, layers: list[int], ids: Tensor) -> Tensor:
    """The state after some layers, before the final norm."""
    made, found = unrolled(model, layers), []
    made.model.norm.register_forward_pre_hook(lambda _, given: found.append(given[0]))
    made(ids)
    return found[0]


def test_argmax_stable_for_five_steps_needs_six_loops() -> None:
    for exits, loops in ((EarlyExit("argmax"), 5), (EarlyExit.geiping("argmax"), 6)):
        schedule = "1-1x9-1"
        model = loop(plain(), schedule, recurrence=Recurrence(early_exit=exits))
        with torch.no_grad():
            for weight in model.model.layers[1].parameters():
                weight.zero_()  # the block changes nothing
            model(tokens())
        assert model.runner.loops.tolist() == [loops] * 2
        looks = 0 if not exits.through_coda else loops
        assert model.runner.executed == 2 + loops + looks


def test_a_look_through_the_coda_leaves_nothing_in_the_cache() -> None:
    model, ids = published("kl"), tokens(3, 6)
    never = loop(plain(), BLOCK)
    loop(model, recurrence=Recurrence(early_exit=EarlyExit.geiping("kl", 0)))  # looks, stays
    for name in ("dynamic", "static", None):
        more = {"use_cache": False} if name is None else {"cache_implementation": name}
        same(greedy(model, ids, **more), greedy(never, ids, **more))
    assert model.runner.executed > 7


def test_a_padded_sequence_is_judged_by_its_last_real_token() -> None:
    model, ids = published("kl"), tokens(5, 6)
    mask = torch.ones_like(ids)
    for row in range(5):
        mask[row, : row % 3] = 0
    together = greedy(model, ids, new=4, attention_mask=mask)
    for row, left in enumerate(mask.argmax(1).tolist()):
        close(together[row : row + 1], greedy(model, ids[row : row + 1, left:], new=4), 1e-4)
    right = torch.ones_like(ids)
    right[:, 4:] = 0
    model(ids, attention_mask=right)
    loops = model.runner.loops.tolist()
    model(ids[:, :4])
    assert model.runner.loops.tolist() == loops


def test_a_look_through_the_coda_works_in_a_sliding_window_and_in_another_kind_of_layer() -> None:
    config = Qwen2Config(
        num_hidden_layers=4,
        use_sliding_window=True,
        sliding_window=4,
        layer_types=["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
        **SIZES,
    )
    torch.manual_seed(0)
    reference = Qwen2ForCausalLM(config).eval()
    exits = EarlyExit.geiping("kl", 0.02)
    model = loop(copy.deepcopy(reference), "1-1x5-2", recurrence=Recurrence(early_exit=exits))
    for seed in range(4):
        ids, rule = tokens(1, 7, seed=seed), Published("kl", 0.02)
        rule.init(torch.zeros(1))
        with torch.no_grad():
            for loops in range(1, 6):
                shallow = loop(copy.deepcopy(reference), f"1-1x{loops}-2")
                if rule.check(torch.zeros(1), shallow(ids).logits):
                    break
            close(model(ids).logits, shallow(ids).logits)
        assert model.runner.loops.tolist() == [loops]


def test_a_kind_of_layer_that_has_not_run_cannot_be_looked_through() -> None:
    kinds = ["full_attention", "full_attention", "sliding_attention"]
    config = Qwen2Config(
        num_hidden_layers=3, use_sliding_window=True, sliding_window=4, layer_types=kinds, **SIZES
    )
    exits = EarlyExit.geiping("kl")
    model = loop(Qwen2ForCausalLM(config).eval(), BLOCK, recurrence=Recurrence(early_exit=exits))
    with pytest.raises(InputError, match=r"no layer of the kind of step 6 \(sliding_attention\)"):
        model(tokens())


def test_looking_through_the_coda_needs_one_looped_block() -> None:
    exits = Recurrence(early_exit=EarlyExit.geiping("kl"))
    message = "schedule 1x2-1x2-1 has 2 looped blocks: an exit that looks through"
    with pytest.raises(InputError, match=message):
        loop(plain(), "1x2-1x2-1", recurrence=exits)
    model = loop(plain(), BLOCK, recurrence=exits)
    with pytest.raises(InputError, match=message):
        model(tokens(), schedule="1x2-1x2-1")
    assert str(model.schedule) == BLOCK
    model(tokens(), schedule="3")  # nothing loops: nothing leaves


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
