"""Exit rules of Geiping et al. 2025 in generation, derived from what their public code computes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from growloop.core.errors import InputError
from growloop.models import EarlyExit, Recurrence, loop
from torch import Tensor
from transformers import (
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from ...support.unrolling import (
    BLOCK,
    BLOCK_LAYERS,
    SIZES,
    close,
    greedy,
    plain,
    same,
    tokens,
    unrolled,
)
from .simulation import CACHES, simulated


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
    stacks = [[0, *[1] * loops] for loops in range(6)]  # up to so many loops of the block
    before_coda = [unrolled(plain(), layers) for layers in stacks]
    whole = [unrolled(plain(), [*layers, 2]) for layers in stacks]
    threshold, counts = PUBLISHED[criterion], []
    for seed in range(8):
        ids = tokens(1, 5, seed=seed)
        rule = Published(criterion, threshold)
        with torch.no_grad():
            rule.init(_before_norm(before_coda[0], ids))
            for loops in range(1, 6):
                state = _before_norm(before_coda[loops], ids)
                if rule.check(state, whole[loops](ids).logits):
                    break
            model(ids)
        assert model.runner.loops.tolist() == [loops]
        counts.append(loops)
    assert len(set(counts)) > 1


def _before_norm(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """The state after the last layer, before the final norm."""
    found: list[Tensor] = []
    handle = model.model.norm.register_forward_pre_hook(lambda _, given: found.append(given[0]))
    model(ids)
    handle.remove()
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
