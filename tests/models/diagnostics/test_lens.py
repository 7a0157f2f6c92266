"""The logit lens and the tuned lens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from growloop.models import ModelError, loop
from growloop.models.diagnostics import Lens, exit_logits, exits, fit_lens, trace
from torch import Tensor

from ..architectures import LOOPED, left_padded, plain, tokens
from .test_effects import silence


def texts(count: int, length: int = 12) -> list[Tensor]:
    random = torch.Generator().manual_seed(3)
    return [torch.randint(5, 90, (4, length), generator=random) for _ in range(count)]


def zeroed(keep: int) -> Any:
    """A model whose layers from ``keep`` on add nothing."""
    model = plain("llama")
    for layer in model.model.layers[keep:]:
        silence(layer)
    return model


def test_the_logit_lens_reads_states_through_norm_and_head() -> None:
    model, ids = plain("llama"), tokens()
    found = trace(model, ids)
    measured = exits(found)
    final = found.logits.log_softmax(-1)
    for step in range(5):
        state = (*found.inputs, found.outputs[-1])[step]
        logits = model.lm_head(model.model.norm(state))
        torch.testing.assert_close(exit_logits(found, step, state), logits)
        early = logits.log_softmax(-1)
        kl = (final.exp() * (final - early)).sum(-1).mean(1)
        torch.testing.assert_close(measured["kl"][:, step], kl, rtol=1e-5, atol=1e-5)
        common = [
            [len(set(a.topk(5).indices.tolist()) & set(b.topk(5).indices.tolist())) / 5
             for a, b in zip(row, other, strict=True)]
            for row, other in zip(early, final, strict=True)
        ]  # fmt: skip
        overlap = torch.tensor(common).mean(1)
        torch.testing.assert_close(measured["overlap"][:, step], overlap)
    assert (measured["overlap"][:, -1] == 1).all()
    assert (measured["agreement"][:, -1] == 1).all()


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


def test_a_lens_comes_back_from_its_file(tmp_path: Path) -> None:
    model = loop(plain("llama"), LOOPED)
    lens = fit_lens(model, texts(3), 3)
    lens.save(tmp_path / "lens.safetensors")
    again = Lens.load(tmp_path / "lens.safetensors")
    assert again.schedule == model.schedule
    assert torch.equal(again.matrices, lens.matrices)
    assert torch.equal(again.shifts, lens.shifts)
    assert [path.name for path in tmp_path.iterdir()] == ["lens.safetensors"]
    with pytest.raises(ModelError, match="the lens was trained on schedule 1-2x2-1"):
        exits(trace(plain("llama"), tokens()), again)


def test_files_that_hold_no_lens_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no lens"):
        Lens.load(tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="holds no tuned lens"):
        Lens.load(tmp_path / "bad")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(ModelError, match="holds no tuned lens"):
        Lens.load(tmp_path / "other")


def test_padding_is_not_counted() -> None:
    given = left_padded(tokens())
    model = plain("llama").double()
    both = exits(trace(model, given["input_ids"], given["attention_mask"]))
    alone = exits(trace(model, given["input_ids"][:1, 3:]))
    for name, values in alone.items():
        torch.testing.assert_close(both[name][:1], values, rtol=1e-5, atol=1e-5)


def test_what_cannot_be_trained_is_refused() -> None:
    model = plain("llama")
    with pytest.raises(ModelError, match="3 updates need as many batches of text, there are 2"):
        fit_lens(model, texts(2), 3)
    with pytest.raises(ModelError, match="did you mean 'adam'"):
        fit_lens(model, texts(1), 1, optimizer="adamw")
    with pytest.raises(ModelError, match="above 0"):
        fit_lens(model, texts(1), 1, lr=0.0)
    with pytest.raises(ModelError, match="positions must be a whole number of 1 or more"):
        fit_lens(model, texts(1), 1, positions=0)
    found = trace(model, tokens())
    for top in (0, 10**6):
        with pytest.raises(ModelError, match="top must be a whole number from 1 to"):
            exits(found, top=top)
    model.lm_head.register_forward_hook(lambda _, args, output: output + 1)
    with pytest.raises(ModelError, match="no place for a lens"):
        exits(found)
