"""The variants in ``Recurrence`` that train: injection, truncation, damping, random loops.

The reference is the layers of a plain model, called one by one here.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from growloop.core.caches import cache_of
from growloop.core.errors import InputError
from growloop.models import EarlyExit, RandomLoops, Recurrence, loop
from torch import Tensor, nn
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    PreTrainedModel,
)

from ...support.unrolling import (
    BLOCK,
    assert_trains_like,
    checkpoint,
    close,
    count_calls,
    gradients,
    plain,
    tokens,
    unique,
    unrolled,
)


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
    substeps: bool = False,
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
        h = before + (h - before) / loops if substeps else h
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


def test_substeps_apply_an_equal_part_of_every_loops_change() -> None:
    assert_trains_as_by_hand(Recurrence(substeps=True), substeps=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"substeps": True, "damping": 0.5}, "give damping or substeps"),
        ({"substeps": True, "early_exit": EarlyExit("kl")}, "a part of the step undone"),
        ({"substeps": 1}, "substeps must be true or false"),
    ],
)
def test_substeps_with_settings_that_contradict_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Recurrence(**settings)


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
    with pytest.raises(InputError, match=rf"{next(iter(given))} takes fields \("):
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
    cache = weakref.ref(cache_of(out))
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
        Recurrence(early_exit=EarlyExit.geiping("kl", 1e9)),
    ],
    ids=["none", "add", "concat", "random", "coda"],
)
def test_no_graph_and_no_cache_is_kept(recurrence: Recurrence, training: bool) -> None:
    assert_nothing_is_kept(loop(plain(), BLOCK, recurrence=recurrence).train(training), tokens(1))


def test_no_graph_is_kept_of_layers_that_return_tuples() -> None:
    config = BloomConfig(vocab_size=97, hidden_size=32, n_layer=3, n_head=4)
    model = BloomForCausalLM(config).eval()
    assert_nothing_is_kept(loop(model, BLOCK, recurrence=Recurrence(damping=0.5)), tokens(1))
