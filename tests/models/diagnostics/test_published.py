"""Effects against the published protocol: Csordás et al. 2025, at the defaults of their code.

A second derivation that shares nothing with ours or with :mod:`brute`: one text at a time, without
padding, a whole forward pass of an ordinary model for every layer and cut, hooks on its physical
layers. A contribution is taken away at tokens ``1 .. t - 1`` and effects are looked at from t on;
without a cut it is taken away from token 1 on and effects are looked at at all tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from growloop.core.errors import InputError
from growloop.models import grow, loop
from growloop.models.diagnostics import (
    depth_score,
    local_effects,
    prediction_effects,
    propagated_effects,
    trace,
)
from torch import Tensor

from ...support.architectures import LOOPED, SCHEDULES, left_padded, plain, tokens, unrolled

FRONT = 1
CUTS: list[tuple[int, ...] | None] = [None, (4,), (3, 6)]
Change = Callable[[int, Tensor, Tensor], Tensor]


def spliced(changed: Tensor, usual: Tensor, t: int | None) -> Tensor:
    """The changed state at tokens ``FRONT .. t - 1``, the usual one elsewhere."""
    stop = usual.shape[1] if t is None else t
    return torch.cat([usual[:, :FRONT], changed[:, FRONT:stop], usual[:, stop:]], dim=1)


def run(model: Any, ids: Tensor, change: Change = lambda i, before, after: after) -> Any:
    """What each layer adds and puts out, and the predictions; ``change`` edits what it puts out."""
    adds: list[Tensor] = []
    outs: list[Tensor] = []
    handles = []
    for i, layer in enumerate(model.model.layers):

        def hook(_: Any, args: Any, output: Any, i: int = i) -> Any:
            after = output[0] if isinstance(output, tuple) else output
            adds.append(after - args[0])  # before the edit: what the layer itself computed
            outs.append(after)
            new = change(i, args[0], after)
            return (new, *output[1:]) if isinstance(output, tuple) else new

        handles.append(layer.register_forward_hook(hook))
    with torch.no_grad():
        predicted = model(ids, use_cache=False).logits.softmax(-1)
    for handle in handles:
        handle.remove()
    return torch.cat(adds), torch.cat(outs), predicted


def later(values: Tensor, t: int | None) -> Tensor:
    return values if t is None else values[:, t:]


def published(model: Any, ids: Tensor, cuts: Sequence[int] | None) -> tuple[Tensor, Tensor, Tensor]:
    """Local and propagated effects, (layers, layers) each, and those on predictions, (layers,)."""
    adds, outs, usual = run(model, ids)
    layers = len(adds)
    local, propagated = torch.zeros(2, layers, layers, dtype=adds.dtype)
    predictions = torch.zeros(layers, dtype=adds.dtype)

    def relative(found: Tensor, t: int | None) -> Tensor:
        norm = later(adds, t).norm(dim=-1).clamp_min(1e-6)
        return ((later(adds, t) - later(found, t)).norm(dim=-1) / norm).amax(1)

    for t in [None] if cuts is None else cuts:
        for source in range(layers):

            def without(i: int, before: Tensor, after: Tensor, s: int = source, t: Any = t) -> Any:
                """Each later layer reads the usual stream less what the source added."""
                return (
                    spliced(outs[i : i + 1] - adds[s : s + 1], outs[i : i + 1], t)
                    if i >= s
                    else after
                )

            def skipped(i: int, before: Tensor, after: Tensor, s: int = source, t: Any = t) -> Any:
                return spliced(before, after, t) if i == s else after

            found, _, _ = run(model, ids, without)
            local[source] = torch.maximum(local[source], relative(found, t))
            found, _, predicted = run(model, ids, skipped)
            propagated[source] = torch.maximum(propagated[source], relative(found, t))
            apart = (later(usual, t) - later(predicted, t)).norm(dim=-1).amax()
            predictions[source] = torch.maximum(predictions[source], apart)
    after_source = torch.ones(layers, layers).triu(1)
    return local * after_source, propagated * after_source, predictions


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted.float(), rtol=1e-4, atol=1e-5)


def models(name: str) -> tuple[Any, Any]:
    """A model, and an ordinary one with a layer of its own for each of its steps."""
    if name == "grown":
        return grow(plain("llama"), "lidas", block_size=2).double(), None
    if name == "looped":
        return loop(plain("llama").double(), LOOPED), unrolled("llama", SCHEDULES[LOOPED]).double()
    return plain("llama").double(), None


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("name", ["plain", "looped", "grown"])
def test_effects_are_the_published_ones(name: str, cuts: Any) -> None:
    model, physical = models(name)
    ids = tokens()
    found = trace(model, ids)
    ours = local_effects(found, cuts), propagated_effects(found, cuts)
    scores = prediction_effects(found, cuts)
    for text in range(len(ids)):
        local, propagated, predictions = published(physical or model, ids[text : text + 1], cuts)
        close(ours[0][text], local)
        close(ours[1][text], propagated)
        close(scores[text], predictions)
        assert depth_score(scores[text : text + 1]) == pytest.approx(
            float((predictions * torch.arange(len(predictions))).sum() / predictions.sum())
        )


@pytest.mark.parametrize("cuts", [None, (5,), (5, 7)])
@pytest.mark.parametrize("name", ["plain", "looped"])
def test_the_first_real_token_of_a_padded_text_is_left_alone(name: str, cuts: Any) -> None:
    model, physical = models(name)
    given = left_padded(tokens())
    mask = given["attention_mask"]
    found = trace(model, given["input_ids"], mask)
    ours = local_effects(found, cuts), propagated_effects(found, cuts)
    scores = prediction_effects(found, cuts)
    assert mask.sum(1).tolist() != [mask.shape[1]] * len(mask)
    for text, pad in enumerate((mask == 0).sum(1).tolist()):
        own = None if cuts is None else [cut - pad for cut in cuts]
        ids = given["input_ids"][text : text + 1, pad:]
        local, propagated, predictions = published(physical or model, ids, own)
        close(ours[0][text], local)
        close(ours[1][text], propagated)
        close(scores[text], predictions)


def test_the_first_token_counts_where_it_is_said_to() -> None:
    found = trace(plain("llama").double(), tokens())
    for measure in (local_effects, propagated_effects, prediction_effects):
        for cuts in ((4,), None):
            taken, left = measure(found, cuts, skip_front=0), measure(found, cuts)
            assert not torch.allclose(taken, left, rtol=1e-3)
            assert torch.equal(left, measure(found, cuts, skip_front=1))


def test_the_mean_leaves_out_the_tokens_that_nothing_was_taken_from() -> None:
    """Nothing can have changed there: a zero would be counted as a token without effect."""
    model, ids = plain("llama").double(), tokens()
    found = trace(model, ids)
    mean = local_effects(found, reduce="mean")
    source, target = 0, 2
    adds, _, _ = run(model, ids[:1])

    def edit(i: int, before: Tensor, after: Tensor) -> Tensor:
        return spliced(after - adds[:1], after, None) if i == target - 1 else after

    changed, _, _ = run(model, ids[:1], edit)
    change = (changed[target] - adds[target]).norm(dim=-1) / adds[target].norm(dim=-1)
    assert change[0] == 0
    assert mean[0, source, target] == pytest.approx(float(change[1:].mean()), rel=1e-5)


def test_a_text_with_nothing_to_take_away_is_refused_not_called_without_effect() -> None:
    model, given = plain("llama"), left_padded(tokens())  # three tokens of padding in text 0
    found = trace(model, given["input_ids"], given["attention_mask"])
    for measure in (local_effects, propagated_effects, prediction_effects):
        for cut in (2, 3, 4):  # before the text, at its first token, after that one alone
            with pytest.raises(InputError, match="prompt 0 of the batch has 6 real tokens: with "):
                measure(found, (cut,))
        assert (measure(found, (5,)).flatten(1).amax(1) > 0).all()
        with pytest.raises(InputError, match="it has no token to ablate"):
            measure(found, skip_front=6)
    # a cut that takes nothing away from a text is left out of its mean
    both = local_effects(found, (4, 6), reduce="mean")
    assert torch.equal(both[0], local_effects(found, (6,), reduce="mean")[0])
    assert not torch.equal(both[1], local_effects(found, (6,), reduce="mean")[1])
