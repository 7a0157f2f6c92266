"""The cross-entropy of large vocabularies, against torch's in float64."""

from __future__ import annotations

import pytest
import torch
from growloop.models.training.optim import loss
from growloop.models.training.optim.loss import cross_entropy
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

TYPES = [torch.float32, torch.bfloat16]


@pytest.fixture(autouse=True)
def _chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks, the last one not full, although the logits are few."""
    monkeypatch.setattr(loss, "SMALL", 0)
    monkeypatch.setattr(loss, "CHUNK", 64)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@settings(max_examples=60)
@given(
    rows=st.integers(1, 40),
    vocabulary=st.integers(1, 90),
    scale=st.sampled_from([0.1, 1.0, 30.0, 1000.0]),
    ignored=st.sampled_from([0.0, 0.3, 1.0]),
    leaf=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_values_and_gradients_are_those_of_float64(
    dtype: torch.dtype,
    rows: int,
    vocabulary: int,
    scale: float,
    ignored: float,
    leaf: bool,
    seed: int,
) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = (torch.randn(rows, vocabulary, generator=random) * scale).to(dtype)
    targets = torch.randint(0, vocabulary, (rows,), generator=random)
    targets[torch.rand(rows, generator=random) < ignored] = -100
    exact = logits.double().requires_grad_()
    expected = functional.cross_entropy(exact, targets, reduction="sum")
    (expected / 7).backward()
    start = logits.requires_grad_()
    given_logits = start if leaf else (start.float() if dtype == torch.bfloat16 else start * 1)
    found = cross_entropy(given_logits, targets).sum()
    (found / 7).backward()
    torch.testing.assert_close(found.double(), expected, rtol=2e-6, atol=2e-5)
    assert start.grad is not None
    assert exact.grad is not None
    half = dtype == torch.bfloat16
    torch.testing.assert_close(
        start.grad.double(), exact.grad, rtol=1e-2 if half else 1e-5, atol=1e-4 if half else 2e-6
    )


@pytest.mark.parametrize("softcap", [False, True])
def test_logits_that_another_gradient_needs_are_left_alone(softcap: bool) -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(50, 8), torch.randn(2, 10, 8)
    targets = torch.randint(0, 50, (20,))
    found = []
    for function in (cross_entropy, lambda a, b: functional.cross_entropy(a, b, reduction="none")):
        head = weight.clone().requires_grad_()
        logits = functional.linear(x, head)
        logits = torch.tanh(logits) if softcap else logits
        before = logits.detach().clone()
        function(logits.flatten(0, 1), targets).sum().backward()
        assert torch.equal(before, logits)
        found.append(head.grad)
    torch.testing.assert_close(found[0], found[1])


def test_nothing_is_written_without_a_backward_pass_and_the_bits_are_the_same() -> None:
    logits = torch.randn(20, 50)
    before, targets = logits.clone(), torch.randint(0, 50, (20,))
    assert torch.equal(cross_entropy(logits, targets), cross_entropy(logits, targets))
    assert torch.equal(logits, before)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_overwritten_logits_give_the_same_bits(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(50, 8, dtype=dtype), torch.randn(2, 10, 8, dtype=dtype)
    targets = torch.randint(0, 50, (20,))
    gradients = []
    for overwrite in (False, True):
        head = weight.clone().requires_grad_()
        logits = functional.linear(x, head)
        before = logits.detach().clone()
        cross_entropy(logits.flatten(0, 1), targets, overwrite).sum().backward()
        assert torch.equal(before, logits) is not overwrite
        gradients.append(head.grad)
    assert gradients[0] is not None
    assert gradients[1] is not None
    assert torch.equal(gradients[0], gradients[1])


def test_logits_that_another_backward_pass_needs_are_not_overwritten_in_silence() -> None:
    x = torch.randn(20, 50, requires_grad=True)
    losses = cross_entropy(torch.tanh(x), torch.randint(0, 50, (20,)), overwrite=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        losses.sum().backward()


def test_it_compiles() -> None:
    logits, targets = torch.randn(20, 50), torch.randint(0, 50, (20,))
    compiled = torch.compile(cross_entropy, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(logits, targets), cross_entropy(logits, targets))
