"""The logit lens and the tuned lens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from growloop.core.errors import InputError
from growloop.models import loop
from growloop.models.diagnostics import Lens, exit_logits, exits, fit_lens, trace

from ...support.architectures import LOOPED, left_padded, plain, tokens
from .inputs import texts


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


def test_a_lens_comes_back_from_its_file(tmp_path: Path) -> None:
    model = loop(plain("llama"), LOOPED)
    lens = fit_lens(model, texts(3), 3)
    lens.save(tmp_path / "lens.safetensors")
    again = Lens.load(tmp_path / "lens.safetensors")
    assert again.schedule == model.schedule
    assert torch.equal(again.matrices, lens.matrices)
    assert torch.equal(again.shifts, lens.shifts)
    assert [path.name for path in tmp_path.iterdir()] == ["lens.safetensors"]
    with pytest.raises(InputError, match="the lens was trained on schedule 1-2x2-1"):
        exits(trace(plain("llama"), tokens()), again)


def test_files_that_hold_no_lens_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no lens"):
        Lens.load(tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="holds no tuned lens"):
        Lens.load(tmp_path / "bad")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(InputError, match="holds no tuned lens"):
        Lens.load(tmp_path / "other")


def test_padding_is_not_counted() -> None:
    given = left_padded(tokens())
    model = plain("llama").double()
    both = exits(trace(model, given["input_ids"], given["attention_mask"]))
    alone = exits(trace(model, given["input_ids"][:1, 3:]))
    for name, values in alone.items():
        torch.testing.assert_close(both[name][:1], values, rtol=1e-5, atol=1e-5)


def test_what_cannot_be_read_is_refused() -> None:
    model = plain("llama")
    found = trace(model, tokens())
    for top in (0, 10**6):
        with pytest.raises(InputError, match="top must be a whole number from 1 to"):
            exits(found, top=top)
    model.lm_head.register_forward_hook(lambda _, args, output: output + 1)
    with pytest.raises(InputError, match="no lens or early exit can read"):
        exits(found)
