"""The variants in ``Recurrence``: injection, truncation, damping, shared caches, early exit.

The reference is the layers of a plain model, called one by one here.
"""

from __future__ import annotations

import copy
import gc
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
import torch
from growloop.models import EarlyExit, ModelError, RandomLoops, Recurrence, Schedule, loop
from torch import Tensor, nn
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    DynamicCache,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
    StaticCache,
)

from .unrolling import (
    BLOCK,
    BLOCK_LAYERS,
    SIZES,
    assert_trains_like,
    checkpoint,
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

# The variants in Recurrence, against the layers of a plain model called one by one


class Parts(NamedTuple):
    """A plain model taken apart."""

    state: Tensor
    run: Callable[[Tensor, int], Tensor]
    finish: Callable[[Tensor], Tensor]


def parts(model: PreTrainedModel, ids: Tensor) -> Parts:
    inner = model.model
    state = inner.embed_tokens(ids)
    places = torch.arange(ids.shape[1])[None]
    rope = inner.rotary_emb(state, position_ids=places)
    mask = torch.full((ids.shape[1],) * 2, float("-inf")).triu(1)[None, None]

    def run(h: Tensor, layer: int) -> Tensor:
        out: Tensor = inner.layers[layer](
            h, attention_mask=mask, position_ids=places, position_embeddings=rope
        )
        return out

    return Parts(state, run, lambda h: model.lm_head(inner.norm(h)))


def by_hand(
    model: PreTrainedModel,
    ids: Tensor,
    loops: int,
    inject: Callable[[Tensor, Tensor], Tensor] = lambda h, e: h,
    damping: float = 1.0,
    backward: int | None = None,
) -> Tensor:
    """Logits of ``1-2x loops-1``: layer 0, layers 1 and 2 ``loops`` times, layer 3."""
    h, run, finish = parts(model, ids)
    h = run(h, 0)
    e = h
    for i in range(loops):
        before = h
        h = inject(h, e) if i else h
        h = run(run(h, 1), 2)
        h = before + damping * (h - before) if i else h
        if backward is not None and i < loops - backward:
            h = h.detach()
    return finish(run(h, 3))


def test_the_hand_written_loop_is_the_unrolled_model() -> None:
    model = plain(4)
    reference = unrolled(model, [0, 1, 2, 1, 2, 1, 2, 3])
    close(by_hand(model, tokens(), 3), reference(tokens()).logits)


def assert_trains_as_by_hand(
    recurrence: Recurrence, loops: int = 3, skip: str = "runner", **how: Any
) -> None:
    reference, ids = plain(4).train(), tokens()
    model = loop(plain(4).train(), f"1-2x{loops}-1", recurrence=recurrence)
    found, wanted = model(ids).logits, by_hand(reference, ids, loops, **how)
    close(found, wanted)
    for logits in (found, wanted):
        nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten()).backward()
    grads = {k: v for k, v in gradients(model).items() if not k.startswith(skip)}
    close(grads, gradients(reference))


def test_concat_starts_as_none() -> None:
    assert_trains_as_by_hand(Recurrence(injection="concat"))


def test_add_gives_each_repeat_the_input_of_the_block() -> None:
    assert_trains_as_by_hand(Recurrence(injection="add"), inject=torch.add)


def test_concat_maps_the_state_and_the_input_of_the_block() -> None:
    model = loop(plain(4), "1-2x3-1", recurrence=Recurrence(injection="concat"))
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(0)) / 8
    model.runner.adapter.weight.data.copy_(weight)
    ids = tokens()
    model(ids, labels=ids).loss.backward()
    reference = plain(4)
    weight.requires_grad_()
    logits = by_hand(reference, ids, 3, lambda h, e: torch.cat([h, e], -1) @ weight.T)
    close(model(ids).logits, logits)
    reference.loss_function(logits, ids, vocab_size=97).backward()
    assert weight.grad is not None
    close(model.runner.adapter.weight.grad, weight.grad)


@pytest.mark.parametrize("damping", [0.25, 0.5])
def test_damping_keeps_a_part_of_each_repeats_change(damping: float) -> None:
    assert_trains_as_by_hand(Recurrence(damping=damping), damping=damping)


@pytest.mark.parametrize("backward", [1, 2, 3, 9])
def test_gradients_flow_through_the_last_loops_alone(backward: int) -> None:
    assert_trains_as_by_hand(Recurrence(backward_loops=backward), backward=backward)


@pytest.mark.parametrize("injection", ["add", "concat"])
@pytest.mark.parametrize("damping", [1.0, 0.5])
def test_truncated_gradients_still_reach_the_input_that_is_injected(
    injection: str, damping: float
) -> None:
    recurrence = Recurrence(injection, backward_loops=1, damping=damping)
    inject = torch.add if injection == "add" else lambda h, e: h + 0 * e
    assert_trains_as_by_hand(recurrence, inject=inject, damping=damping, backward=1)


def test_truncated_loops_record_nothing() -> None:
    model = loop(plain(4).train(), "1-2x3-1", recurrence=Recurrence(backward_loops=1))
    recorded = []
    unique(model)[1].register_forward_hook(lambda *call: recorded.append(call[2].requires_grad))
    model(tokens())
    assert recorded == [False, False, True]
    model.eval()(tokens())
    assert recorded[3:] == [True, True, True]


# Random loops


@pytest.mark.parametrize("given", [{"random_loops": 4}, {"early_exit": "latent"}])
def test_a_part_of_a_recurrence_takes_fields(given: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=rf"{next(iter(given))} takes fields \("):
        Recurrence.from_dict(given)


def test_random_loops_have_the_mean_they_are_named_after_plus_one() -> None:
    drawn = torch.tensor([RandomLoops(4, seed=7).at(step) for step in range(4000)]).double()
    assert abs(float(drawn.mean()) - 5) < 0.2
    assert drawn.min() == 1
    spread = 4 + 16 * (torch.tensor(0.25).exp() - 1)  # of a Poisson with a log-normal rate
    assert abs(float(drawn.var() / spread) - 1) < 0.25


def test_random_loops_depend_on_seed_and_step_alone() -> None:
    torch.manual_seed(0)
    first = [RandomLoops(4, seed=1).at(step) for step in range(50)]
    torch.manual_seed(1)
    assert [RandomLoops(4, seed=1).at(step) for step in reversed(range(50))] == first[::-1]
    assert [RandomLoops(4, seed=2).at(step) for step in range(50)] != first


def test_random_loops_are_drawn_in_training_alone() -> None:
    loops = RandomLoops(3, seed=5)
    model = loop(plain(), "1-1x2-1", recurrence=Recurrence(random_loops=loops))
    runs, ids, wanted = count_calls(model), tokens(), []
    model.train()
    for step in range(5):
        runs.clear()
        model(ids)
        wanted.append(loops.at(step))
        assert runs == {0: 1, 1: wanted[-1], 2: 1}
        assert model.runner.executed == wanted[-1] + 2
        assert str(model.schedule) == "1-1x2-1"
        assert model.config.num_hidden_layers == 4
    assert len(set(wanted)) > 1
    runs.clear()
    model.eval()(ids)
    assert runs == {0: 1, 1: 2, 2: 1}
    runs.clear()
    model.train()(ids, schedule="1-1x4-1")  # what a call asks for is what it gets
    assert runs == {0: 1, 1: 4, 2: 1}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_random_loops_train_as_the_drawn_schedule(checkpointing: bool) -> None:
    model = plain().train()
    loops = next(RandomLoops(4, seed=s) for s in range(99) if RandomLoops(4, seed=s).at(0) == 4)
    layers = [0, 1, 1, 1, 1, 2]
    reference = unrolled(model, layers)
    loop(model, "1-1x2-1", recurrence=Recurrence(random_loops=loops))
    if checkpointing:
        checkpoint(model, False)
    assert_trains_like(model, reference, layers, use_cache=False)


# Caches that loops share, and early exit: the definition, written out


def simulated(
    model: PreTrainedModel,
    ids: Tensor,
    layers: Sequence[int],
    new: int = 6,
    slots: int | None = None,
    block: tuple[int, int, int] | None = None,
    settled: Callable[[Tensor, Tensor | None], bool] = lambda after, before: False,
    window: int | None = None,
) -> tuple[Tensor, int]:
    """Greedy generation for one sequence, with nothing but a plain model's layers.

    A slot is a (layer, loop modulo slots). Within a forward each loop attends to what its slot
    held before the forward and to its own entries; the last loop to use a slot leaves its entries
    in it. Once ``settled``, the rest of the ``block`` (start, size, times) is left out and its
    slots get the entries of the layer's last loop.

    Returns:
        Logits ``(1, new, vocabulary)``, and how many layers ran.
    """
    past: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    logits, ran, inner = [], 0, model.model
    start, size, times = block or (0, 0, 0)
    for _ in range(new):
        count = ids.shape[1]
        held = next(iter(past.values()))[0].shape[2] if past else 0
        h = inner.embed_tokens(ids)
        places = torch.arange(held, held + count)[None]
        rope = inner.rotary_emb(h, position_ids=places)
        back = places.T - torch.arange(held + count)[None]  # how far back a key is
        hidden = (back < 0) | (back >= (window or 10**6))
        mask = torch.zeros(back.shape).masked_fill(hidden, float("-inf"))[None, None]
        seen: Counter[int] = Counter()
        fresh, newest = {}, {}
        gone, before = False, None
        for step, layer in enumerate(layers):
            slot = (layer, seen[layer] % (slots or 10**6))
            seen[layer] += 1
            inside = start <= step < start + size * times
            if not inside or (step - start) == 0:
                gone, before = False, None
            old = past.get(slot)
            if gone:
                entries = newest[layer]
                fresh[slot] = entries if old is None else joined(old, entries)
                continue
            cache = DynamicCache()
            if old is not None:
                cache.update(*old, layer)
            h = inner.layers[layer](
                h,
                attention_mask=mask,
                position_ids=places,
                position_embeddings=rope,
                past_key_values=cache,
            )
            ran += 1
            fresh[slot] = (cache.layers[layer].keys, cache.layers[layer].values)
            newest[layer] = tuple(part[:, :, -count:] for part in fresh[slot])
            if inside and (step - start) % size == size - 1:
                gone, before = settled(h, before), h
        past = fresh
        logits.append(model.lm_head(inner.norm(h))[:, -1])
        ids = logits[-1].argmax(-1, keepdim=True)
    return torch.stack(logits, 1), ran


def joined(old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.cat([old[0], new[0]], 2), torch.cat([old[1], new[1]], 2)


def test_the_simulation_is_the_unrolled_model() -> None:
    model = plain()
    reference = unrolled(model, BLOCK_LAYERS)
    with torch.no_grad():
        found, ran = simulated(model, tokens(1), BLOCK_LAYERS)
    close(found, greedy(reference, tokens(1)))
    assert ran == 7 * 6


SHARED = pytest.mark.parametrize(
    ("sharing", "slots"), [("full", None), ("last", 1), (2, 2), (3, 3)]
)
CACHES = pytest.mark.parametrize("cache", ["dynamic", "static"])


@SHARED
@CACHES
@pytest.mark.parametrize("schedule", ["1-1x5-1", "1-2x3", "0,1,1,0,2,1,0"])
def test_loops_that_share_a_slot_see_earlier_forwards_and_themselves(
    sharing: str | int, slots: int | None, cache: str, schedule: str
) -> None:
    reference, ids = plain(), tokens(1)
    model = loop(plain(), schedule, recurrence=Recurrence(kv_sharing=sharing))
    with torch.no_grad():
        wanted, _ = simulated(reference, ids, Schedule.parse(schedule).layers, slots=slots)
    close(greedy(model, ids, cache_implementation=cache), wanted)


@pytest.mark.parametrize(("sharing", "slots"), [("last", 1), (2, 2)])
@pytest.mark.parametrize("length", [3, 7])
def test_loops_share_a_sliding_window(sharing: str | int, slots: int, length: int) -> None:
    torch.manual_seed(0)
    config = MistralConfig(num_hidden_layers=3, sliding_window=5, **SIZES)
    reference = MistralForCausalLM(config).eval()
    model = loop(copy.deepcopy(reference), BLOCK, recurrence=Recurrence(kv_sharing=sharing))
    with torch.no_grad():
        wanted, _ = simulated(
            reference, tokens(1, length), BLOCK_LAYERS, slots=slots, window=5, new=8
        )
    close(greedy(model, tokens(1, length), new=8), wanted)


def test_shared_slots_hold_each_token_once_and_the_rest_stay_empty() -> None:
    model = loop(plain(), BLOCK, recurrence=Recurrence(kv_sharing=2))
    cache = model.generate(
        tokens(), max_new_tokens=4, do_sample=False, return_dict_in_generate=True
    ).past_key_values
    assert [slot.get_seq_length() for slot in cache.layers] == [10, 10, 10, 0, 0, 0, 10]


@pytest.mark.parametrize("sharing", ["last", 2])
def test_shared_slots_follow_beams_and_left_padding(sharing: str | int) -> None:
    model = loop(plain(), BLOCK, recurrence=Recurrence(kv_sharing=sharing))
    ids = tokens(2, 7)
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    both = model.generate(ids * mask, attention_mask=mask, max_new_tokens=5, num_beams=3)
    alone = model.generate(ids[1:, 3:], max_new_tokens=5, num_beams=3)
    assert both[1, 7:].tolist() == alone[0, 4:].tolist()


@pytest.mark.parametrize(
    "recurrence",
    [Recurrence(kv_sharing="last"), Recurrence(early_exit=EarlyExit("argmax", 1))],
    ids=["last", "exit"],
)
def test_slots_that_hold_no_keys_are_refused(recurrence: Recurrence) -> None:
    config = Qwen3NextConfig(
        head_dim=8,
        linear_num_value_heads=2,
        linear_num_key_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        num_experts=2,
        num_experts_per_tok=1,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
        layer_types=["linear_attention", "full_attention"],
        num_hidden_layers=2,
        **SIZES,
    )
    model = Qwen3NextForCausalLM(config).eval()
    with pytest.raises(ModelError):
        greedy(loop(model, "2x3", recurrence=recurrence), tokens())


# Early exit

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
        model(ids, past_key_values=kept)
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


# What is left behind


def assert_nothing_is_kept(model: PreTrainedModel, ids: Tensor) -> None:
    kept: list[weakref.ref[Any]] = []

    class Packed:
        def __init__(self, value: Tensor) -> None:
            self.value = value.detach()  # with its graph it would keep itself

    def pack(value: Tensor) -> Packed:
        packed = Packed(value)
        kept.append(weakref.ref(packed))
        return packed

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda packed: packed.value):
        out = model(ids, labels=ids)
    cache = weakref.ref(out.past_key_values)
    assert cache() is not None
    assert kept
    del out
    gc.collect()
    assert cache() is None
    assert not any(packed() is not None for packed in kept)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "recurrence",
    [
        Recurrence(),
        Recurrence("add", backward_loops=2, damping=0.5, kv_sharing="last"),
        Recurrence("concat", early_exit=EarlyExit("kl", 0.5)),
        Recurrence(random_loops=RandomLoops(2), early_exit=EarlyExit("latent", 1e9)),
    ],
    ids=["none", "add", "concat", "random"],
)
def test_no_graph_and_no_cache_is_kept(recurrence: Recurrence, training: bool) -> None:
    assert_nothing_is_kept(loop(plain(), BLOCK, recurrence=recurrence).train(training), tokens(1))


def test_no_graph_is_kept_of_layers_that_return_tuples() -> None:
    config = BloomConfig(vocab_size=97, hidden_size=32, n_layer=3, n_head=4)
    model = BloomForCausalLM(config).eval()
    assert_nothing_is_kept(loop(model, BLOCK, recurrence=Recurrence(damping=0.5)), tokens(1))


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


def test_a_recurrence_can_be_taken_back() -> None:
    model, ids = leaving("latent", "last"), tokens()
    reference = unrolled(plain(), BLOCK_LAYERS)
    loop(model, recurrence=Recurrence())
    assert not any("runner" in name for name in model.state_dict())
    same(greedy(model, ids), greedy(reference, ids))
