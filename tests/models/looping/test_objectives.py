"""What the loss sees of the loops: objectives against a few lines written out here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from growloop.core.errors import InputError
from growloop.models import EarlyExit, Recurrence, cost, loop
from growloop.models.looping.parts.exit_gate import exit_log_probabilities
from growloop.models.training.data.batches import IGNORED, Batch
from growloop.models.training.optim.objective import training_losses
from torch import Tensor, nn

from ...support.unrolling import checkpoint, close, gradients, plain, same, tokens
from .test_recurrence import parts

SCHEDULE, LOOPS = "1-2x4-1", 4
STEP = 5
CPU = torch.device("cpu")


def batch(sparse: bool) -> Batch:
    ids = tokens(3, 9).numpy()
    targets = np.roll(ids, -1, axis=1)
    if sparse:  # few columns with targets, and not in every row
        targets[:, [0, 1, 2, 4, 5, 6, 8]] = IGNORED
        targets[1, 3] = IGNORED
    return Batch(ids, targets, int((targets != IGNORED).sum()))


def looped(objective: Any, **more: Any) -> Any:
    model = loop(plain(4), SCHEDULE, recurrence=Recurrence(objective=objective, **more)).train()
    if (runner := runner_of(model)) is not None:
        with torch.no_grad():
            random = torch.Generator().manual_seed(2)
            for p in runner.parameters():
                p.add_(0.03 * torch.randn(p.shape, generator=random))
        runner.training_step = STEP
    return model


def runner_of(model: Any) -> Any:
    return model._modules.get("runner")


class ByHand:
    """States after each loop of a plain model, and the losses read off them."""

    def __init__(self, data: Batch) -> None:
        self.model = plain(4)
        ids = torch.from_numpy(data.tokens)
        self.targets = torch.from_numpy(data.targets)
        self.counted = self.targets != IGNORED
        h, self.run, self.finish = parts(self.model, ids)
        self.e = h = self.run(h, 0)
        self.states, self.changes = [], []
        for _ in range(LOOPS):
            before, h = h, self.run(self.run(h, 1), 2)
            self.states.append(h)
            self.changes.append(h - before)

    def logits(self, state: Tensor) -> Tensor:
        return self.finish(self.run(state, 3))[self.counted]

    def loss(self, state: Tensor) -> Tensor:
        targets = self.targets[self.counted]
        return nn.functional.cross_entropy(self.logits(state), targets, reduction="none")

    @property
    def losses(self) -> Tensor:
        return torch.stack([self.loss(h) for h in self.states])


def last(hand: ByHand, model: Any) -> Tensor:
    return hand.losses[-1]


def all_loops(hand: ByHand, model: Any) -> Tensor:
    return hand.losses.mean(0)


def exit_gate(hand: ByHand, model: Any) -> Tensor:
    gate = model.runner.gate
    left, p = torch.ones(int(hand.counted.sum())), []
    for h in hand.states[:-1]:
        share = torch.sigmoid(h[hand.counted] @ gate.weight[0] + gate.bias)
        p.append(left * share)
        left = left * (1 - share)
    q = torch.stack([*p, left])
    return (q * hand.losses).sum(0) + 0.2 * (q * q.log()).sum(0)


def fixed_point(hand: ByHand, model: Any) -> Tensor:
    a, b = hand.states[-1][hand.counted], hand.states[-2][hand.counted]
    return hand.losses[-1] + 0.5 * ((a - b) ** 2).sum(-1) / (a**2).sum(-1)


def shortcut(hand: ByHand, model: Any) -> Tensor:
    loops = int(np.random.default_rng((0, STEP)).integers(1, LOOPS))
    short = hand.states[loops - 1]  # without parts that know the number of loops, a prefix
    far = (hand.states[-1].detach() - short)[hand.counted].square().mean(-1)
    return hand.losses[-1] + 0.1 * hand.loss(short) + 0.1 * far


def confidence(hand: ByHand, model: Any) -> Tensor:
    i = int(np.random.default_rng((0, STEP)).integers(1, LOOPS))
    losses = hand.losses
    first = losses[i] if i == LOOPS - 1 else (losses[i] + losses[-1]) / 2
    gain = losses[i] - losses[i - 1].detach()
    norm, linear = model.runner.confidence
    x = hand.changes[i][hand.counted]
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    logit = (x * norm.weight + norm.bias) @ linear.weight[0] + linear.bias
    right = hand.logits(hand.states[i]).argmax(-1) == hand.targets[hand.counted]
    q = torch.sigmoid(logit)
    entropy = -torch.where(right, q, 1 - q).log()
    return first + 0.1 * gain * torch.sigmoid(gain) + entropy


CASES: dict[str, tuple[Any, Callable[[ByHand, Any], Tensor]]] = {
    "last": ("last", last),
    "deep_supervision": ({"name": "deep_supervision", "count": 9}, all_loops),
    "exit_gate": ({"name": "exit_gate", "beta": 0.2}, exit_gate),
    "fixed_point": ({"name": "fixed_point", "weight": 0.5}, fixed_point),
    "shortcut": ("shortcut", shortcut),
    "confidence": ("confidence", confidence),
}
each = pytest.mark.parametrize("name", CASES)


@each
@pytest.mark.parametrize("sparse", [False, True])
def test_an_objective_is_its_formula_and_so_are_its_gradients(name: str, sparse: bool) -> None:
    settings, reference = CASES[name]
    data = batch(sparse)
    model, hand = looped(settings), ByHand(data)
    found = training_losses(model, data, CPU, runner_of(model))
    wanted = reference(hand, model)
    close(found.last, hand.losses[-1])
    close(found.trained, wanted)
    assert (found.trained is found.last) is (name == "last")
    wanted.sum().backward()
    own = [] if name == "last" else model.runner.named_parameters()
    heads = {k: p.grad.clone() for k, p in own if p.grad is not None}
    model.zero_grad()
    found.trained.sum().backward()
    grads = gradients(model)
    close({k: grads[f"runner.{k}"] for k in heads}, heads, 1e-4)
    close({k: g for k, g in grads.items() if not k.startswith("runner")},
          gradients(hand.model), 1e-4)  # fmt: skip
    assert bool(heads) is (name in ("exit_gate", "confidence"))


@pytest.mark.parametrize("name", [name for name in CASES if name != "last"])
def test_an_objective_holds_nothing_after_its_forward(name: str) -> None:
    model = looped(CASES[name][0])
    training_losses(model, batch(False), CPU, model.runner)
    runner = model.runner
    assert not runner.records
    assert runner.supervision is None
    assert (runner.around, runner.recorded, runner.arguments.stored) == (None, [], {})
    ids = tokens()
    assert "loop_losses" not in model(ids)  # no targets, no objective
    same(model.eval()(ids).logits, loop(plain(4), SCHEDULE)(ids).logits)


@each
def test_recomputed_layers_give_an_objective_the_same_gradients(name: str) -> None:
    found = []
    for recomputed in (False, True):
        model = looped(CASES[name][0], conditioning=["loop_lora", "time_step"])
        if recomputed:
            checkpoint(model, False)
        training_losses(model, batch(True), CPU, model.runner).trained.sum().backward()
        found.append(gradients(model))
    close(found[1], found[0], 1e-4)


def test_deep_supervision_draws_its_loops_by_step() -> None:
    model, data = looped({"name": "deep_supervision", "count": 1}), batch(False)
    losses, drawn = ByHand(data).losses.detach(), set()
    for step in range(20):
        model.runner.training_step = step
        found = training_losses(model, data, CPU, model.runner).trained.detach()
        means = [(losses[-1] + losses[i]) / 2 for i in range(LOOPS - 1)]
        [loop_drawn] = [i for i, mean in enumerate(means) if torch.allclose(found, mean, atol=1e-5)]
        drawn.add(loop_drawn)
    assert drawn == {0, 1, 2}


def test_a_shortcut_knows_its_own_step_size() -> None:
    model, data = looped("shortcut", conditioning="time_step"), batch(False)
    loops = int(np.random.default_rng((0, STEP)).integers(1, LOOPS))
    found = training_losses(model, data, CPU, model.runner)
    shorter = loop(model, recurrence=Recurrence(conditioning="time_step"))
    schedule = f"1-2x{loops}-1" if loops > 1 else "4"
    with torch.no_grad():
        logits = shorter(torch.from_numpy(data.tokens), schedule=schedule).logits
    hand = ByHand(data)
    targets = hand.targets[hand.counted]
    short = nn.functional.cross_entropy(logits[hand.counted], targets, reduction="none")
    rest = (found.trained - found.last - 0.1 * short) / 0.1  # the distance of the states
    assert (rest > 0).all()


def test_the_exit_distribution_sums_to_one_and_ends_with_what_is_left() -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    p = exit_log_probabilities(logits).exp()
    close(p.sum(0), torch.ones(3))
    close(p[0], torch.sigmoid(logits[0]))
    close(p[-1], torch.prod(1 - torch.sigmoid(logits[:-1]), dim=0))
    sure = torch.tensor([200.0, -200.0, 200.0], requires_grad=True)
    log_p = exit_log_probabilities(sure)
    (log_p.exp() * log_p).sum().backward()
    assert sure.grad is not None
    assert sure.grad.isfinite().all()


def test_a_gate_that_was_trained_is_used_by_the_exit_rule() -> None:
    model = looped("exit_gate")
    weight = model.runner.gate.weight
    loop(model, recurrence=Recurrence(early_exit=EarlyExit("gate", 0.3)))
    assert model.runner.gate.weight is weight


def test_confidence_ends_a_sequence_whose_head_is_sure() -> None:
    model = loop(plain(4).eval(), SCHEDULE, recurrence=Recurrence(
        early_exit=EarlyExit("confidence", 0.5, judged="last")))  # fmt: skip
    ids = tokens()
    model(ids)
    assert model.runner.loops.tolist() == [LOOPS, LOOPS]  # starts unsure
    hand = ByHand(Batch(ids.numpy(), ids.numpy(), ids.numel()))
    norm, linear = model.runner.confidence
    with torch.no_grad():
        linear.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(1))
        sure = torch.stack([linear(norm(c))[:, -1, 0] for c in hand.changes])  # (loops, rows)
        linear.bias.sub_(float(sure.max(0).values.mean()))
        wanted = []
        for row in range(2):
            over = [i for i in range(LOOPS) if linear(norm(hand.changes[i]))[row, -1, 0] >= 0]
            wanted.append(1 + over[0] if over else LOOPS)
    model(ids)
    assert model.runner.loops.tolist() == wanted
    assert min(wanted) < LOOPS


def test_flops_of_an_objective_are_counted_in_training_alone() -> None:
    base = cost(loop(plain(4), SCHEDULE), seq_len=16)
    layer = (base.forward_flops - 2 * 32 * 97) / (2 + 2 * LOOPS)
    readout = layer + 2 * 32 * 97  # layer 3 and the head
    for name, extra in (
        ("last", 0.0),
        ("exit_gate", 3 * readout),
        ("deep_supervision", readout),
        ("shortcut", readout + 2 * 2 * layer),
    ):
        found = cost(loop(plain(4), SCHEDULE, recurrence=Recurrence(objective=name)), seq_len=16)
        assert found.forward_flops == base.forward_flops
        assert found.training_flops == pytest.approx(base.training_flops + 3 * extra)


def test_an_objective_needs_one_looped_block() -> None:
    with pytest.raises(InputError, match="the objective exit_gate needs one"):
        loop(plain(4), "1x2-1-1x2-1", recurrence=Recurrence(objective="exit_gate"))
    model = looped("exit_gate")
    model.schedule = "4"
    with pytest.raises(InputError, match="needs a looped block"):
        training_losses(model, batch(False), CPU, model.runner)
