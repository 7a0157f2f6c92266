"""Muon, matrices of equal shape at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from growloop.models.training.optim import muon
from growloop.models.training.optim.muon import Muon, orthogonal
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

SHAPES = [(16, 16), (48, 16), (16, 16), (16, 40), (48, 16), (16, 16)]


def matrices(shapes: list[tuple[int, int]] = SHAPES) -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in shapes]


def train(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], steps: int = 5) -> None:
    torch.manual_seed(1)
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter) * 1e-3
        optimizer.step()


class Products(TorchDispatchMode):
    """Counts matrix products."""

    count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.count += "mm" in str(function)
        return function(*args, **kwargs or {})


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has it from 2.9 on")
@pytest.mark.parametrize("elements", [muon.ELEMENTS, 600, 1])
def test_it_is_the_muon_of_torch(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "ELEMENTS", elements)
    ours, theirs = matrices(), matrices()
    options: dict[str, float] = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.9}
    first, second = Muon(ours, **options), torch.optim.Muon(theirs, **options)
    train(first, ours)
    train(second, theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-3)  # bfloat16 of five steps of about 0.02
        torch.testing.assert_close(
            first.state[a]["momentum_buffer"], second.state[b]["momentum_buffer"]
        )


def test_more_layers_take_no_more_products() -> None:
    counts = []
    for layers in (1, 8):
        parameters = matrices(SHAPES * layers)
        with Products() as products:
            train(Muon(parameters), parameters, steps=1)
        counts.append(products.count)
    assert counts[0] == counts[1] == 3 * 3 * muon.ITERATIONS  # three shapes


def test_a_matrix_without_a_gradient_stays_as_it_is() -> None:
    parameters = matrices()
    optimizer = Muon(parameters, weight_decay=0.1)
    before = [parameter.clone() for parameter in parameters]
    train(optimizer, parameters[1:], steps=1)
    assert torch.equal(parameters[0], before[0])
    assert parameters[0] not in optimizer.state
    assert not any(torch.equal(a, b) for a, b in zip(parameters[1:], before[1:], strict=True))


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 48, 16), (2, 16, 48)])
def test_what_is_made_orthogonal_keeps_its_singular_vectors(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    given = torch.randn(shape) * torch.tensor([1e-4, 1.0, 1e4])[: shape[0], None, None]
    found = orthogonal(given).float()
    u, values, v = torch.linalg.svd(given, full_matrices=False)
    inside = u.mT @ found @ v.mT
    well = values > 0.05 * values[:, :1]  # a singular value near 0 stays below 1
    diagonal = inside.diagonal(dim1=1, dim2=2)
    assert ((diagonal[well] > 0.5) & (diagonal[well] < 1.4)).all()
    assert (inside - torch.diag_embed(diagonal)).abs().max() < 0.05
