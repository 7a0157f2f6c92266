"""A looped model is the same model with the layers of its schedule physically unrolled.

The reference is an ordinary Hugging Face model, built deeper by its own config and filled with
copies of the layers (``architectures.unrolled``). It does the same arithmetic in the same order, so
numbers are equal bit for bit; only gradients are compared within rounding, because those of the
copies are added up here and by autograd there.
"""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.core.caches import cache_name, cache_of
from growloop.core.errors import InputError
from growloop.models import Schedule, loop
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache, StaticCache
from transformers.utils import logging

from ...support.architectures import (
    ARCHITECTURES,
    DEPTH,
    IRREGULAR,
    KEPT,
    LOOPED,
    OTHERS,
    REFUSED,
    SCHEDULES,
    architecture,
    copied,
    installed,
    layer_of,
    left_padded,
    plain,
    tokens,
    unrolled,
)
from ...support.selection import slow_but

NEW = 4  # tokens to generate
GREEDY: dict[str, Any] = {"do_sample": False}
WAYS: dict[str, dict[str, Any]] = {
    "greedy": GREEDY,
    "sampled": {"do_sample": True, "temperature": 1.3},
    "beams": {"do_sample": False, "num_beams": 3},
}

every_architecture = pytest.mark.parametrize("kind", installed(ARCHITECTURES))
FOUR = ("llama", "gpt2", "gemma3", "gpt_oss")
"""Plain; layers of other names; a config in a config; experts, and layers of several kinds."""
four_architectures = pytest.mark.parametrize("kind", slow_but(FOUR, installed(ARCHITECTURES)))
"""All of them, four in the default run: what is the schedule's more than the architecture's."""
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    yield
    logging.set_verbosity(before)
    logging.enable_progress_bar()


def looped(kind: str, schedule: str = LOOPED) -> Any:
    return loop(plain(kind), schedule)


def reference(kind: str, schedule: str = LOOPED) -> Any:
    return unrolled(kind, SCHEDULES[schedule])


def same(found: Any, wanted: Any) -> None:
    """Equal bit for bit."""
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def same_once_loaded(found: Tensor, wanted: Tensor) -> None:
    """Equal up to rounding: experts are multiplied by other sums where a file is not aligned."""
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def logits(model: Any, ids: Tensor | None = None, **more: Any) -> Tensor:
    found: Tensor = model(tokens() if ids is None else ids, **more).logits
    return found


def logits_with(cache: Any, model: Any, ids: Tensor | None = None) -> Tensor:
    return logits(model, ids, **{cache_name(model.forward): cache})


def generated(model: Any, inputs: dict[str, Tensor] | None = None, **more: Any) -> Any:
    """New tokens, with the scores they were chosen by."""
    torch.manual_seed(5)
    inputs = left_padded(tokens()) if inputs is None else inputs
    lengths = {"max_new_tokens": NEW, "min_new_tokens": NEW}
    given = {**lengths, **GREEDY, **inputs, **more}
    out = model.generate(return_dict_in_generate=True, output_logits=True, **given)
    return out.sequences, torch.stack(out.logits)


# The numbers


@every_schedule
@every_architecture
def test_logits_loss_and_hidden_states_are_those_of_the_unrolled_model(
    kind: str, schedule: str
) -> None:
    ids, before = tokens(), logits(plain(kind))
    with torch.no_grad():
        found, wanted = (
            model(ids, labels=ids, output_hidden_states=True)
            for model in (looped(kind, schedule), reference(kind, schedule))
        )
    assert wanted.logits.isfinite().all()
    same(found.logits, wanted.logits)
    same(found.loss, wanted.loss)
    assert len(found.hidden_states) == len(SCHEDULES[schedule]) + 1
    same(found.hidden_states, wanted.hidden_states)
    # else equal logits would show nothing
    assert (found.logits - before).abs().max() > 0.2 * before.std()


@every_schedule
@every_architecture
def test_a_unique_layer_gets_the_gradients_of_all_its_copies(kind: str, schedule: str) -> None:
    model, unrolled = looped(kind, schedule).train(), reference(kind, schedule).train()
    ids = tokens()
    for each in (model, unrolled):
        each(ids, labels=ids).loss.backward()
    wanted: dict[str, Tensor] = {}
    for name, weight in unrolled.named_parameters():
        if weight.grad is None:
            continue
        if place := layer_of(kind, name):
            step, rest = place
            name = f"{architecture(kind).path}.{SCHEDULES[schedule][step]}.{rest}"
        wanted[name] = wanted.get(name, torch.zeros(())) + weight.grad
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == wanted.keys()
    assert any(layer_of(kind, name) for name in found)
    for name, gradient in found.items():  # a sum in another order: equal up to rounding
        scale = float(wanted[name].abs().max())
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-4, atol=1e-5 * max(scale, 1e-2))


# Generation


@pytest.mark.parametrize("way", WAYS)
@every_architecture
def test_generates_from_a_left_padded_batch_like_the_unrolled_model(kind: str, way: str) -> None:
    schedule = IRREGULAR if way == "sampled" else LOOPED
    found = generated(looped(kind, schedule), **WAYS[way])
    same(found, generated(reference(kind, schedule), **WAYS[way]))


@four_architectures
def test_padding_on_the_left_is_not_seen(kind: str) -> None:
    model, ids = looped(kind), tokens()
    alone = generated(model, {"input_ids": ids[:1, 3:]})[1][:, 0]
    padded = generated(model, left_padded(ids))[1][:, 0]
    # other sizes, so other sums; experts may not see the same tokens grouped together
    torch.testing.assert_close(padded, alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "kind", [kind for kind in installed(ARCHITECTURES) if ARCHITECTURES[kind].static]
)
def test_generates_with_a_static_cache_like_the_unrolled_model(kind: str) -> None:
    how = {"cache_implementation": "static", "disable_compile": True}
    model = looped(kind)
    same(generated(model, **how), generated(reference(kind), **how))
    given = model.generate(tokens(), return_dict_in_generate=True, max_new_tokens=2, **how)
    assert isinstance(cache_of(given), StaticCache)
    assert len(cache_of(given).layers) == len(SCHEDULES[LOOPED])


@every_architecture
def test_a_given_dynamic_cache_has_a_slot_for_each_step(kind: str) -> None:
    ids = tokens()
    filled = []
    for model in (looped(kind), reference(kind)):
        cache = DynamicCache(config=model.config)
        found = [logits_with(cache, model, part) for part in (ids[:, :5], ids[:, 5:])]
        filled.append((found, [(slot.keys, slot.values) for slot in cache.layers]))
    assert len(filled[0][1]) == len(SCHEDULES[LOOPED])
    same(filled[0], filled[1])


@four_architectures
def test_a_cache_that_grows_by_itself_can_be_given(kind: str) -> None:
    cache, other = DynamicCache(), DynamicCache()
    found = logits_with(cache, looped(kind))
    same(found, logits_with(other, reference(kind)))
    assert len(cache.layers) == len(SCHEDULES[LOOPED])


# The model stays what it is


@four_architectures
def test_a_model_that_runs_each_layer_once_is_untouched(kind: str) -> None:
    before = plain(kind)
    for model in (loop(plain(kind)), looped(kind, f"{DEPTH}"), looped(kind, "1-2x1-1")):
        same(logits(model), logits(before))
    same(generated(model), generated(before))


@every_architecture
def test_weights_are_the_same_objects_under_the_same_names(kind: str) -> None:
    model = plain(kind)
    weights, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    names = list(model.state_dict())
    loop(model, LOOPED)
    assert list(model.state_dict()) == names
    assert {name: id(w) for name, w in model.named_parameters()} == {
        name: id(w) for name, w in weights.items()
    }
    assert dict(model.named_buffers()).keys() == buffers.keys()
    assert model.num_parameters() == sum(weight.numel() for weight in weights.values())


@four_architectures
def test_one_call_can_have_another_schedule(kind: str) -> None:
    model, ids = looped(kind), tokens()
    config = copy.deepcopy(vars(model.config))
    other = reference(kind, IRREGULAR)
    same(logits(model, schedule=IRREGULAR), logits(other))
    same(generated(model, schedule=IRREGULAR), generated(other))
    with pytest.raises((RuntimeError, IndexError, ValueError, TypeError)):
        model(ids.float() + 0.5, schedule=IRREGULAR)  # no token ids
    assert str(model.schedule) == LOOPED
    assert vars(model.config) == config
    same(logits(model), logits(reference(kind)))


def fail() -> None:
    raise KeyError("stop")


@four_architectures
def test_a_with_block_restores_the_schedule_whatever_happens(kind: str) -> None:
    model = looped(kind)
    config = copy.deepcopy(vars(model.config))
    with model.scheduled(IRREGULAR):
        same(logits(model), logits(reference(kind, IRREGULAR)))
    with pytest.raises(KeyError), model.scheduled(Schedule.parse(IRREGULAR)):
        fail()
    assert str(model.schedule) == LOOPED
    assert vars(model.config) == config
    same(logits(model), logits(reference(kind)))


# Copies


def files(folder: Path) -> set[str]:
    """The names of the weights in a checkpoint."""
    names: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as weights:
            names |= set(weights.keys())
    return names


@four_architectures  # importing growloop.models is what lets transformers read it
def test_survives_a_checkpoint(kind: str, tmp_path: Path) -> None:
    model, unrolled = looped(kind), reference(kind)
    model.save_pretrained(tmp_path / "looped")
    unrolled.save_pretrained(tmp_path / "unrolled")
    written = json.loads((tmp_path / "looped" / "config.json").read_text())
    assert (written["num_unique_layers"], written["effective_depth"]) == (DEPTH, 6)
    for dtype in (torch.float32, torch.bfloat16):
        found, wanted = (
            AutoModelForCausalLM.from_pretrained(tmp_path / name, dtype=dtype)
            for name in ("looped", "unrolled")
        )
        assert found.dtype is dtype
        for part in ("experts", "attn"):
            chosen = getattr(wanted.config, f"_{part}_implementation")
            assert getattr(found.config, f"_{part}_implementation") == chosen
        assert list(found.state_dict()) == list(model.state_dict())
        same(logits(found), logits(wanted))
        if dtype is torch.float32:
            same_once_loaded(logits(found), logits(model))
    same(generated(found), generated(wanted))


@four_architectures
def test_a_checkpoint_names_its_weights_like_that_of_the_plain_model(
    kind: str, tmp_path: Path
) -> None:
    looped(kind).save_pretrained(tmp_path / "looped")
    plain(kind).save_pretrained(tmp_path / "plain")
    assert files(tmp_path / "looped") == files(tmp_path / "plain")


@pytest.mark.parametrize(
    "copier",
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=["deep", "pickle"],
)
@four_architectures
def test_a_copy_is_a_looped_model_of_its_own(kind: str, copier: Callable[[Any], Any]) -> None:
    model = looped(kind)
    logits(model)  # the views exist
    again = copier(model)
    same(logits(again), logits(model))
    again.schedule = IRREGULAR
    assert str(model.schedule) == LOOPED
    with torch.no_grad():
        for weight in again.parameters():
            weight.zero_()
    same(logits(model), logits(reference(kind)))
    assert type(again) is type(model)


@pytest.mark.parametrize(
    "kind",
    installed(
        [
            "bert",
            "deepseek_v4",
            "emu3",
            "mamba2",
            "nemotron_h",
            "granitemoehybrid",
            "falcon_h1",
        ]
    ),
)
def test_what_is_no_weight_survives_a_checkpoint(kind: str, tmp_path: Path) -> None:
    model = looped(kind)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    same(dict(again.named_buffers()), dict(model.named_buffers()))
    same_once_loaded(logits(again), logits(model))


# All the others


SOME = ("bart", "bert", "deepseek_v4", "falcon_h1", "lfm2", "llama4", "mamba2", "nemotron_h")


@pytest.mark.parametrize("kind", slow_but(SOME, installed(OTHERS)))
def test_any_other_architecture_follows_its_schedule(kind: str) -> None:
    before = logits(plain(kind))
    for schedule in SCHEDULES:
        model, unrolled = looped(kind, schedule), reference(kind, schedule)
        found = logits(model)
        same(found, logits(unrolled))
        assert (found - before).abs().max() > 0.2 * before.std()
    unpadded = {"input_ids": tokens()}
    same(generated(model, unpadded), generated(unrolled, unpadded))
    same(logits(model, schedule=f"{DEPTH}"), before)


@pytest.mark.parametrize("kind", installed(KEPT))
def test_a_layer_keeps_what_it_has_from_its_own_place(kind: str) -> None:
    for schedule, layers in SCHEDULES.items():
        model = looped(kind, schedule)
        found = logits(model, use_cache=False)
        same(found, logits(copied(kind, layers), use_cache=False))
        same(logits(model), found)
    same(generated(model)[0], generated(model, use_cache=False)[0])


@pytest.mark.parametrize("kind", [kind for kind in installed(KEPT) if kind != "ernie4_5_moe"])
def test_a_model_built_deeper_would_differ_there(kind: str) -> None:
    assert (logits(looped(kind)) - logits(reference(kind))).abs().max() > 1e-3


# Those that cannot loop


@pytest.mark.parametrize(
    "kind",
    installed(REFUSED),
)
def test_what_cannot_loop_is_refused_and_left_as_it_was(kind: str) -> None:
    model = plain(kind)
    before, kept, text = type(model), copy.deepcopy(vars(model.config)), str(model)
    with pytest.raises(InputError, match=r"not supported|only decoders|loops by itself") as caught:
        loop(model, IRREGULAR)
    message = str(caught.value)
    assert model.config.model_type.split("_")[0] in message.lower()
    assert len(message) > 60  # says why
    assert type(model) is before
    assert vars(model.config) == kept
    assert str(model) == text
