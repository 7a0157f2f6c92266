"""Training of the tuned lens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.core.errors import InputError
from growloop.models import loop
from growloop.models.diagnostics import exits, fit_lens, lens_fitting, trace
from torch import Tensor, nn

from ...support.architectures import LOOPED, plain, tokens
from .inputs import silence, texts

NEAR: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-6}


def zeroed(keep: int) -> Any:
    """A model whose layers from ``keep`` on add nothing."""
    model = plain("llama")
    for layer in model.model.layers[keep:]:
        silence(layer)
    return model


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_lens_of_a_model_whose_later_layers_are_zeroed_is_the_identity(optimizer: str) -> None:
    model = zeroed(2)
    lens = fit_lens(model, texts(8), 8, optimizer=optimizer)
    # before that the gradient is rounding, which Adam magnifies to its learning rate
    small = 1e-4 if optimizer == "sgd" else 2e-2
    assert float(lens.matrices[2:].abs().max()) < small
    assert float(lens.matrices[:2].abs().max()) > 1e-3
    measured = exits(trace(model, tokens()), lens)
    assert float(measured["kl"][:, 2:].max()) < 1e-3
    assert float(measured["kl"][:, :2].min()) > 1e-3


@pytest.mark.parametrize("schedule", ["4", LOOPED])
@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", None), ("adam", 5e-3)])
def test_training_brings_a_lens_nearer_to_the_prediction(
    schedule: str, optimizer: str, lr: float | None
) -> None:
    model = loop(plain("llama"), schedule)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses: list[float] = []
    lens = fit_lens(
        model,
        texts(60),
        60,
        optimizer=optimizer,
        lr=lr,
        positions=24,
        watch=lambda update, loss: losses.append(loss),
    )
    assert lens.shifts.shape == (len(model.schedule), 32)
    found = trace(model, tokens())
    tuned, plain_lens = exits(found, lens)["kl"].mean(0), exits(found)["kl"].mean(0)
    assert tuned[:-1].sum() < 0.95 * plain_lens[:-1].sum()
    assert len(losses) == 60
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())


def package_recipe(model: Any, batches: list[Tensor], optimizer: str) -> list[nn.Linear]:
    """tuned-lens 0.2.0's training of its lens, written out: one optimizer over all translators."""
    lenses = nn.ModuleList([nn.Linear(32, 32) for _ in model.model.layers])
    for lens in lenses:
        nn.init.zeros_(lens.weight)
        nn.init.zeros_(lens.bias)
    if optimizer == "sgd":
        more = {"lr": 1.0 * (1 - 0.9), "momentum": 0.9, "nesterov": True}
        found: Any = torch.optim.SGD(lenses.parameters(), weight_decay=1e-3, **more)
    else:
        more = {"lr": 1e-3, "betas": (0.9, 0.999), "amsgrad": True}
        found = torch.optim.Adam(lenses.parameters(), weight_decay=1e-3, **more)
    fall = torch.optim.lr_scheduler.LambdaLR(found, lambda step: 1 - step / len(batches))
    for ids in batches:
        with torch.no_grad():
            out = model(ids, output_hidden_states=True)
        wanted = out.logits.log_softmax(-1)
        for lens, h in zip(lenses, out.hidden_states[:-1], strict=True):
            logits = model.lm_head(model.model.norm(h + lens(h)))
            loss = (wanted.exp() * (wanted - logits.log_softmax(-1))).sum(-1).mean()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(lenses.parameters(), 1.0)
        found.step()
        found.zero_grad()
        fall.step()
    model.zero_grad()
    return list(lenses)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_recipe_of_the_package_is_the_packages(optimizer: str) -> None:
    model = plain("llama")
    with torch.no_grad():
        model.lm_head.weight.mul_(20)  # gradients that are clipped
    batches = texts(12)
    wanted = package_recipe(model, batches, optimizer)
    found = fit_lens(model, batches, 12, optimizer=optimizer, recipe="tuned-lens")
    ours = fit_lens(model, batches, 12, optimizer=optimizer)
    for number, lens in enumerate(wanted):
        torch.testing.assert_close(found.matrices[number], lens.weight.detach(), **NEAR)
        torch.testing.assert_close(found.shifts[number], lens.bias.detach(), **NEAR)
    assert float((ours.matrices - found.matrices).abs().max()) > 1e-4


def test_a_step_learns_alone_by_our_recipe_and_together_by_the_packages() -> None:
    """Clipping all gradients together, a step with large ones slows the others down."""
    model = plain("llama")
    with torch.no_grad():
        model.lm_head.weight.mul_(20)
    batches = texts(1)
    norms = {}
    for recipe in ("ours", "tuned-lens"):
        lens = fit_lens(model, batches, 1, lr=1.0, recipe=recipe)
        moved = torch.cat([lens.matrices.flatten(1), lens.shifts], dim=1)
        norms[recipe] = moved.norm(dim=1) / (1 + 0.9)  # Nesterov's first step
    torch.testing.assert_close(norms["ours"], torch.ones(4))
    torch.testing.assert_close(norms["tuned-lens"].norm(), torch.tensor(1.0))


def until(update: int) -> Iterator[Tensor]:
    yield from texts(12)[:update]
    raise InterruptedError  # as if the process had ended there


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_killed_training_goes_on_to_the_same_lens(
    optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lens_fitting, "EVERY", 0.0)
    monkeypatch.setattr(lens_fitting, "SHARE", 0)
    model, kept = loop(plain("llama"), LOOPED), tmp_path / "lens.part"
    asked: dict[str, Any] = {"optimizer": optimizer, "positions": 9, "seed": 4}
    whole = fit_lens(model, texts(12), 12, **asked)
    with pytest.raises(InterruptedError):
        fit_lens(model, until(7), 12, state_file=kept, **asked)
    updates: list[int] = []
    again = fit_lens(
        model,
        texts(12),
        12,
        state_file=kept,
        watch=lambda update, _: updates.append(update),
        **asked,
    )
    assert updates == [7, 8, 9, 10, 11]
    assert torch.equal(again.matrices, whole.matrices)
    assert torch.equal(again.shifts, whole.shifts)
    assert [path.name for path in tmp_path.iterdir()] == ["lens.part"]


def test_a_state_of_another_training_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lens_fitting, "EVERY", 0.0)
    model, kept = plain("llama"), tmp_path / "lens.part"
    fit_lens(model, texts(3), 3, state_file=kept)
    with pytest.raises(
        InputError, match="is the state of a lens trained with seed 0, not 1: remove it"
    ):
        fit_lens(model, texts(3), 3, state_file=kept, seed=1)
    with pytest.raises(InputError, match="is the state of a lens for another model"):
        fit_lens(loop(model, LOOPED), texts(3), 3, state_file=kept)
    with pytest.raises(InputError, match="lens trained with recipe ours, not tuned-lens"):
        fit_lens(plain("llama"), texts(3), 3, state_file=kept, recipe="tuned-lens")
    old = torch.load(kept)
    del old["asked"]["recipe"]  # written before there was another
    torch.save(old, kept)
    fit_lens(plain("llama"), texts(3), 3, state_file=kept)
    for content in (b"", b"no state", b"PK"):
        kept.write_bytes(content)
        with pytest.raises(InputError, match="is not the training state of a lens"):
            fit_lens(model, texts(3), 3, state_file=kept)


def test_what_cannot_be_trained_is_refused() -> None:
    model = plain("llama")
    with pytest.raises(InputError, match="3 updates need as many batches of text, there are 2"):
        fit_lens(model, texts(2), 3)
    with pytest.raises(InputError, match="did you mean 'adam'"):
        fit_lens(model, texts(1), 1, optimizer="adamw")
    with pytest.raises(InputError, match="unknown recipe 'belrose'"):
        fit_lens(model, texts(1), 1, recipe="belrose")
    with pytest.raises(InputError, match="above 0"):
        fit_lens(model, texts(1), 1, lr=0.0)
    with pytest.raises(InputError, match="positions must be a whole number of 1 or more"):
        fit_lens(model, texts(1), 1, positions=0)
