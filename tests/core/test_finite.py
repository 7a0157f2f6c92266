"""Where a forward pass stops being finite."""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from growloop.core.finite import first_not_finite  # noqa: E402
from torch import nn  # noqa: E402

INPUT = torch.ones(1, 4)


class Net(nn.Module):
    """Two layers and a head; ``mask`` is added to its output."""

    def __init__(self, mask: float = 0.0, bias: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.norm, self.head, self.mask = nn.LayerNorm(4), nn.Linear(4, 3), mask
        with torch.no_grad():
            self.head.bias[0] += bias

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, states: Any) -> Any:
        for layer in self.layers:
            states = layer(states)
        logits = self.head(self.norm(states))
        return {"logits": logits + torch.tensor([self.mask, 0, 0]), "cache": object()}


def where(net: Net) -> str | None:
    return first_not_finite(net, lambda: net(INPUT))


def test_a_finite_pass_has_no_such_place_and_no_hooks_are_left() -> None:
    net = Net()
    assert where(net) is None
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("name", ["layers.0", "layers.1", "norm", "head"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_first_module_that_puts_it_out_is_named(name: str, value: float) -> None:
    net = Net()
    with torch.no_grad():
        net.get_submodule(name).bias[1] = value
    what = "NaN" if math.isnan(value) else "infinity"
    assert where(net) == f"{name} gives {what} (its weights hold NaN or infinity)"


def test_an_overflow_says_so() -> None:
    net = Net().half()
    with torch.no_grad():
        net.layers[1].weight.fill_(6e4)
    found = first_not_finite(net, lambda: net(INPUT.half() * 100))
    assert found is not None
    assert found.startswith("layers.1 gives ")
    assert found.endswith("(an overflow of float16: try bfloat16 or float32)")


@pytest.mark.parametrize("masked", [{"mask": -math.inf}, {"bias": -math.inf}])
def test_a_masked_vocabulary_is_no_fault(masked: dict[str, float]) -> None:
    assert where(Net(**masked)) is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_no_numbers_after_the_head_are_a_fault(value: float) -> None:
    assert where(Net(mask=value)) in ("the head gives NaN", "the head gives infinity")
