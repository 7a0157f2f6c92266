"""Loop parts: each against a few lines written out here, and every promise for all of them.

The references call the layers of a plain model one by one; ``block`` is its looped block.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from growloop.core.errors import InputError
from growloop.core.schedule import Schedule
from growloop.models import (
    EarlyExit,
    Injection,
    RandomLoops,
    Recurrence,
    build,
    cost,
    load,
    loop,
    register_part,
    save,
)
from growloop.models.looping.initial_state import initial_states
from growloop.models.looping.parts.registry import PARTS
from growloop.models.training.optim import optimizers
from growloop.models.training.runfile import Optimizer
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ...support import architectures
from ...support.unrolling import checkpoint, close, gradients, greedy, plain, same, tokens
from .test_recurrence import parts

SCHEDULE, LOOPS = "1-2x3-1", 3
Block = Callable[[Tensor], Tensor]
Named = dict[str, Tensor]


def rms(x: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    return weight * x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def softplus(x: Tensor) -> Tensor:
    return torch.log1p(x.exp())


# References: learned tensors by name, the block's first input, the block, its loops -> its output


def add_normalised(p: Named, e: Tensor, block: Block) -> Tensor:
    h = block(e)
    for _ in range(1, LOOPS):
        h = block(h + rms(e, p["injection.norm.weight"]))
    return h


def diagonal(p: Named, e: Tensor, block: Block) -> Tensor:
    return diagonal_system(p, e, rms(e, p["injection.norm.weight"]), block)


def diagonal_from_zero(p: Named, e: Tensor, block: Block) -> Tensor:
    return diagonal_system(p, torch.zeros_like(e), e, block)


def diagonal_system(p: Named, h: Tensor, e: Tensor, block: Block) -> Tensor:
    step = softplus(p["injection.dt_bias"])
    for _ in range(LOOPS):
        old = torch.exp(-step * p["injection.A_log"].exp()) * h
        h = block(old + step * (e @ p["injection.B"].T))
    return h


def hyper(p: Named, e: Tensor, block: Block) -> Tensor:
    streams = [e] * 3
    for i in range(LOOPS):
        z = rms(torch.cat(streams, -1))
        gates = torch.sigmoid(z @ p["carry.weight"][i].T + p["carry.bias"][i])
        before, old, new = gates[..., :3], gates[..., 3:6], 2 * gates[..., 6:]
        y = block(sum(before[..., n, None] * streams[n] for n in range(3)))  # type: ignore[arg-type]
        streams = [old[..., n, None] * streams[n] + new[..., n, None] * y for n in range(3)]
    return (streams[0] + streams[1] + streams[2]) / 3


def selective_gate(p: Named, e: Tensor, block: Block) -> Tensor:
    h = e
    for _ in range(LOOPS):
        y = block(h)
        low = (y - h) @ p["carry.down.weight"].T
        delta = softplus(low @ p["carry.up.weight"].T + p["carry.up.bias"])
        a = torch.exp(-delta * p["carry.A_log"].exp())
        h = a * y + (1 - a) * h
    return h


def loop_embedding(p: Named, e: Tensor, block: Block) -> Tensor:
    h = e
    for i in range(LOOPS):
        h = block(h + p["conditioning.loop_embedding.vectors"][i])
    return h


def loop_gate(p: Named, e: Tensor, block: Block) -> Tensor:
    h = e
    for i in range(LOOPS):
        h = h + p["conditioning.loop_gate.gates"][i] * (block(h) - h)
    return h


def time_step(p: Named, e: Tensor, block: Block) -> Tensor:
    def embedded(name: str, value: float) -> Tensor:
        angles = value * 10000 ** (-torch.arange(4) / 4)
        x = torch.cat([angles.cos(), angles.sin()]).to(e.dtype)
        for number in (0, 2):
            at = f"conditioning.time_step.{name}.{number}"
            x = p[f"{at}.weight"] @ x + p[f"{at}.bias"]
            x = nn.functional.silu(x) if number == 0 else x
        return x

    h = e
    for i in range(LOOPS):
        c = nn.functional.silu(embedded("time", i / LOOPS) + embedded("step", 1 / LOOPS))
        at = "conditioning.time_step.modulation"
        scale, gate = (p[f"{at}.weight"] @ c + p[f"{at}.bias"]).split(32)
        x = (1 + scale) * h
        h = h + (1 + gate) * (block(x) - x)
    return h


def norm_between(p: Named, e: Tensor, block: Block) -> Tensor:
    h = block(e)
    for _ in range(1, LOOPS):
        h = block(rms(h, p["between.norm.weight"]))
    return h


def random_start(p: Named, e: Tensor, block: Block) -> Tensor:
    noise = initial_states(torch.arange(e.shape[1]), e.shape[2], seed=5).to(e)
    h = 0.5 * noise.expand_as(e)
    for _ in range(LOOPS):
        h = block(torch.cat([h, e], -1) @ p["adapter.weight"].T)
    return rms(h, p["end.norm.weight"])


def linear_end(p: Named, e: Tensor, block: Block) -> Tensor:
    h = torch.zeros_like(e)
    for _ in range(LOOPS):
        h = block(h + e)
    return h @ p["end.C"].T


class Case(NamedTuple):
    """A recurrence, what it computes, and whether it starts as the plain loop."""

    settings: dict[str, Any]
    reference: Callable[..., Tensor] | None
    identity: bool
    within: float = 1e-5


CASES = {
    "add, normalised": Case({"injection": {"name": "add", "norm": True}}, add_normalised, False),
    "diagonal": Case({"injection": "diagonal"}, diagonal, False),
    "diagonal from zero": Case(
        {"injection": {"name": "diagonal", "start": "zero", "norm": False, "decay": 0.3}},
        diagonal_from_zero,
        False,
    ),
    "hyper": Case({"carry": {"name": "hyper", "streams": 3}}, hyper, True, 0.1),
    "selective_gate": Case({"carry": "selective_gate"}, selective_gate, False),
    "norm between": Case({"between": {"name": "norm", "weights": "own"}}, norm_between, False),
    "random start": Case(
        {
            "start": {"name": "random", "std": 0.5, "seed": 5},
            "injection": {"name": "concat", "first": True},
            "end": {"name": "end_norm", "weights": "own"},
        },
        random_start,
        False,
    ),
    "linear end": Case(
        {"start": "zero", "injection": {"name": "add", "first": True}, "end": "linear"},
        linear_end,
        False,
    ),
    "loop_embedding": Case({"conditioning": ["loop_embedding"]}, loop_embedding, True),
    "loop_gate": Case({"conditioning": ["loop_gate"]}, loop_gate, True),
    "loop_lora": Case({"conditioning": [{"name": "loop_lora", "rank": 2}]}, None, True),
    "time_step": Case(
        {"conditioning": [{"name": "time_step", "frequencies": 8, "hidden": 6}]}, time_step, True
    ),
    "all": Case(
        {
            "injection": "diagonal",
            "carry": {"name": "hyper", "streams": 2},
            "conditioning": ["loop_embedding", "loop_gate", "loop_lora", "time_step"],
        },
        None,
        False,
    ),
}
each = pytest.mark.parametrize("name", CASES)


def looped(name: str, moved: bool = True, base: Any = None, schedule: str = SCHEDULE) -> Any:
    """A looped model whose parts are away from their initial values."""
    model = loop(
        plain(4) if base is None else base, schedule, recurrence=Recurrence(**CASES[name].settings)
    )
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in model.runner.parameters() if moved else ():
            p.add_(0.2 * torch.randn(p.shape, generator=random).to(p))
    return model


def learned(model: Any) -> Named:
    return dict(model.runner.named_parameters())


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.reference])
def test_a_part_computes_what_its_formula_says(name: str) -> None:
    model, base, ids = looped(name), plain(4), tokens()
    state, run, finish = parts(base, ids)
    reference = CASES[name].reference
    assert reference is not None
    wanted = finish(run(reference(learned(model), run(state, 0), lambda h: run(run(h, 1), 2)), 3))
    close(model(ids).logits, wanted)
    wanted.square().mean().backward()  # both reach the parts: compare their gradients
    expected = {k: p.grad.clone() for k, p in learned(model).items() if p.grad is not None}
    model.zero_grad()
    model(ids).logits.square().mean().backward()
    assert expected
    close({k: p.grad for k, p in learned(model).items() if k in expected}, expected, 1e-4)
    close({k: g for k, g in gradients(model).items() if not k.startswith("runner")},
          gradients(base), 1e-4)  # fmt: skip


def test_lora_changes_the_weights_of_each_loop() -> None:
    model, ids = looped("loop_lora"), tokens()
    state, run, finish = parts(base := plain(4), ids)
    h = run(state, 0)
    for i in range(LOOPS):
        changed = copy.deepcopy(base)
        for layer in (1, 2):
            for path, linear in changed.model.layers[layer].named_modules():
                if isinstance(linear, nn.Linear):
                    key = f"conditioning.loop_lora.%s.{layer}/{path.replace('.', '/')}"
                    down, up = (learned(model)[key % side][i] for side in ("down", "up"))
                    linear.weight.data += (down @ up).T
        run_i = parts(changed, ids).run
        h = run_i(run_i(h, 1), 2)
    close(model(ids).logits, finish(run(h, 3)))


@each
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    model, ids = looped(name).double().train(), tokens()
    random = torch.Generator().manual_seed(5)
    own = learned(model)
    ways = {k: torch.randn(p.shape, generator=random, dtype=p.dtype) for k, p in own.items()}

    def loss() -> Tensor:
        model.runner.training_step = 3  # the same random start
        return nn.functional.cross_entropy(model(ids).logits.flatten(0, 1), ids.flatten())

    loss().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in own.values())
    slope = sum((p.grad * ways[k]).sum() for k, p in own.items())  # type: ignore[operator]
    values = []
    for step in (1e-3, -2e-3):
        with torch.no_grad():
            for k, p in own.items():
                p.add_(step * ways[k])
            values.append(loss())
    close(slope, (values[0] - values[1]) / 2e-3, 2e-3)  # norms are computed in float32


@each
@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputed_layers_give_the_same_gradients(name: str, reentrant: bool) -> None:
    found = []
    for checkpointed in (False, True):
        model = looped(name).train()
        if checkpointed:
            checkpoint(model, reentrant)
        ids = tokens()
        model(ids, labels=ids, use_cache=False).loss.backward()
        found.append(gradients(model))
    close(found[1], found[0])


@each
def test_a_part_starts_as_the_plain_loop_where_it_says_so(name: str) -> None:
    ids, case = tokens(), CASES[name]
    wanted = loop(plain(4), SCHEDULE)(ids).logits
    found = looped(name, moved=False)(ids).logits
    assert torch.allclose(found, wanted, atol=case.within) is case.identity


@each
def test_generation_with_a_cache_is_the_full_forward(name: str) -> None:
    model, ids = looped(name), tokens()
    with torch.no_grad():
        steps = greedy(model, ids, new=4)
        text = torch.cat([ids, steps.argmax(-1)], dim=1)
        full = model(text).logits[:, ids.shape[1] - 1 : -1]
    close(steps, full)
    padded = torch.cat([torch.zeros(2, 3, dtype=torch.long), ids], dim=1)
    mask = (padded != 0).long()
    mask[:, 3:] = 1
    close(greedy(model, padded, new=4, attention_mask=mask), steps, 1e-4)


@each
def test_a_checkpoint_holds_the_part(name: str, tmp_path: Path) -> None:
    model, ids = looped(name), tokens()
    save(model, None, tmp_path / "model")
    read: Any = load(str(tmp_path / "model"))
    assert read.recurrence == model.recurrence
    same(dict(read.runner.named_parameters()), learned(model))
    close(read(ids).logits, model(ids).logits)
    copied = copy.deepcopy(model)
    same(copied(ids).logits, model(ids).logits)
    loop(copied, recurrence=Recurrence())
    same(copied(ids).logits, loop(plain(4), SCHEDULE)(ids).logits)  # no hook is left behind


@each
def test_parameters_and_flops_are_counted(name: str) -> None:
    model, ids = looped(name), tokens(1, 16)
    base = loop(plain(4), SCHEDULE)
    counted, without = cost(model, seq_len=16), cost(base, seq_len=16)
    size = sum(p.numel() for p in learned(model).values())
    assert counted.unique_parameters == without.unique_parameters + size
    assert cost(model.config, seq_len=16) == counted
    measured = []
    for one in (model, base):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            one(ids, use_cache=False)
        measured.append(counter.get_total_flops())
    extra = measured[0] - measured[1]
    # once a loop, not once a token: the small maps of time_step
    slack = LOOPS * 2 * 2 * 1000 * ("time_step" in str(CASES[name].settings)) * 60
    assert extra == pytest.approx(16 * (counted.forward_flops - without.forward_flops), abs=slack)
    assert counted.training_flops == pytest.approx(3 * counted.forward_flops)


KINDS = ("gpt2", "gemma2", "bloom", "qwen3_moe", "falcon")


@pytest.mark.parametrize("kind", architectures.installed(KINDS))
def test_all_parts_work_with_other_architectures(kind: str, tmp_path: Path) -> None:
    base = architectures.plain(kind)
    model = looped("all", base=base, schedule="1-1x2")
    ids = architectures.tokens()
    assert learned(model)
    with torch.no_grad():
        steps = greedy(model, ids, new=3)
        full = model(torch.cat([ids, steps.argmax(-1)], dim=1)).logits[:, ids.shape[1] - 1 : -1]
    close(steps, full, 1e-4)
    save(model, None, tmp_path / "model")
    close(load(str(tmp_path / "model"))(ids).logits, model(ids).logits)


# Loops that differ


@pytest.mark.parametrize("name", ["diagonal", "hyper", "loop_embedding", "loop_lora", "time_step"])
def test_a_block_that_runs_once_keeps_its_parts(name: str) -> None:
    model, ids = looped(name), tokens()
    model.train()
    with torch.no_grad():
        once = model(ids, schedule="4").logits
        assert not torch.allclose(once, plain(4)(ids).logits, atol=1e-3)
    drawn = loop(model, recurrence=Recurrence(
        **CASES[name].settings, random_loops=RandomLoops(choices=(1,))))  # fmt: skip
    same(drawn(ids).logits, once)


@pytest.mark.parametrize("name", ["diagonal", "hyper", "loop_embedding"])
def test_a_checkpoint_of_a_block_that_runs_once_keeps_its_block(name: str, tmp_path: Path) -> None:
    model, ids = looped(name), tokens()
    thrice = model(ids).logits
    loop(model, "4")
    once = model(ids).logits
    save(model, None, tmp_path / "once")
    for read in (load(str(tmp_path / "once")), loop(load(str(tmp_path / "once")))):
        close(read(ids).logits, once)
        close(read(ids, schedule=SCHEDULE).logits, thrice)
    save(read, None, tmp_path / "again")
    close(load(str(tmp_path / "again"))(ids).logits, once)


@pytest.mark.parametrize("schedule", ["1x2-3", "2-1x3-1", "4", "1-2x5-1"])
def test_a_checkpoint_saved_under_another_schedule_keeps_its_block(
    schedule: str, tmp_path: Path
) -> None:
    model, ids = looped("diagonal"), tokens()
    model.schedule = schedule
    save(model, None, tmp_path / "model")
    read = load(str(tmp_path / "model"))
    close(read(ids).logits, model(ids).logits)
    close(read(ids, schedule=SCHEDULE).logits, model(ids, schedule=SCHEDULE).logits)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [([[9]], "layers up to 9, the model has 4"), ([[]], "steps"), ([1], "lists of layers")],
)
def test_looped_blocks_that_the_model_cannot_have_are_refused(
    blocks: list[Any], message: str, tmp_path: Path
) -> None:
    save(looped("diagonal"), None, tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"looped_blocks": blocks}))
    with pytest.raises(InputError, match=message):
        load(str(tmp_path / "model"))


def test_a_seed_of_noise_has_64_bits() -> None:
    with pytest.raises(InputError, match="seed of random"):
        Recurrence(start={"name": "random", "seed": 2**64}, injection="diagonal")


def test_loops_beyond_those_of_a_part_use_its_last_entry() -> None:
    model, ids = looped("loop_embedding"), tokens()
    vectors = learned(model)["conditioning.loop_embedding.vectors"]
    longer = loop(plain(4), "1-2x5-1", recurrence=Recurrence(conditioning="loop_embedding"))
    longer.runner.conditioning["loop_embedding"].vectors.data = vectors[[0, 1, 2, 2, 2]].clone()
    close(model(ids, schedule="1-2x5-1").logits, longer(ids).logits)


@pytest.mark.parametrize("backward", [None, 2])
@each
def test_each_sequence_leaves_after_its_own_loops(name: str, backward: int | None) -> None:
    """Outputs and gradients are those of each sequence alone, with its number of loops."""
    draws = RandomLoops(mean=3, seed=2, distribution="poisson", per="sequence")
    settings = CASES[name].settings | {"backward_loops": backward}
    together = looped(name).train()
    loop(together, recurrence=Recurrence(**settings, random_loops=draws))
    ids = tokens(4)
    together.runner.training_step, together.runner.first_row = 7, 8
    wanted_loops = draws.of_rows(7, 8, 4).tolist()
    assert len(set(wanted_loops)) > 1
    logits = together(ids).logits
    logits.square().sum().backward()
    assert together.runner.executed == 2 + 2 * max(wanted_loops)
    alone = looped(name).train()
    loop(alone, recurrence=Recurrence(**settings))
    rows = []
    for number, (row, count) in enumerate(zip(ids, wanted_loops, strict=True)):
        alone.runner.training_step, alone.runner.first_row = 7, 8 + number
        rows.append(alone(row[None], schedule=f"1-2x{count}-1" if count > 1 else "4").logits)
        rows[-1].square().sum().backward()
    close(logits, torch.cat(rows), 1e-4)
    for key, grad in gradients(alone).items():
        close(gradients(together)[key], grad, 2e-3)


def test_draws_per_sequence_depend_on_their_place_in_the_batch_alone() -> None:
    draws = RandomLoops(mean=4, seed=1, distribution="poisson", per="sequence")
    whole = draws.of_rows(3, 0, 8).tolist()
    assert [*draws.of_rows(3, 0, 3), *draws.of_rows(3, 3, 5)] == whole
    assert draws.of_rows(4, 0, 8).tolist() != whole
    many = torch.tensor([draws.of_rows(s, 0, 8).tolist() for s in range(400)]).double()
    assert abs(float(many.mean()) - 4.02) < 0.15  # max(1, Poisson(4))
    assert abs(float(many.var()) - 3.9) < 0.5
    assert {RandomLoops(choices=(2, 5)).at(s) for s in range(40)} == {2, 5}


# What is refused, what stays as it was


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"injection": "diagnal"}, "did you mean 'diagonal'"),
        ({"injection": {"decay": 0.5}}, "needs a name"),
        ({"injection": {"name": "diagonal", "decay": 1.5}}, "decay of diagonal is between 0 and 1"),
        ({"injection": {"name": "diagonal", "dekay": 0.5}}, "did you mean 'decay'"),
        ({"injection": {"name": "add", "norm": {"a": 1}}}, "norm of add"),
        ({"carry": "hyper", "damping": 0.5}, "give damping or carry hyper"),
        ({"carry": "hyper", "substeps": True}, "give substeps or carry hyper"),
        ({"carry": "substeps", "early_exit": EarlyExit("kl")}, "a part of the step undone"),
        ({"carry": {"name": "hyper", "streams": 1}}, "streams of hyper"),
        ({"conditioning": ["loop_gate", "loop_gate"]}, "names a part twice"),
        ({"conditioning": [{"name": "loop_lora", "rank": 0}]}, "rank of loop_lora"),
        ({"conditioning": [{"name": "time_step", "frequencies": 3}]}, "is even"),
        ({"objective": {"name": "exit_gate", "beta": -1}}, "beta of exit_gate"),
        (
            {"objective": "exit_gate", "random_loops": RandomLoops(2, per="sequence")},
            "different numbers of them",
        ),
    ],
)
def test_parts_that_contradict_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Recurrence(**settings)


def test_settings_of_before_are_written_and_read_as_before() -> None:
    fields = {
        "injection": "concat",
        "backward_loops": 2,
        "random_loops": {"mean": 4.0, "sigma": 0.5, "seed": 3},
        "kv_sharing": "last",
        "damping": 0.5,
    }
    assert Recurrence.from_dict(fields).to_dict() == fields
    assert Recurrence.from_dict(Recurrence.from_dict(fields).to_dict()).damping == 0.5
    assert (
        Recurrence(damping=0.5).part("carry")
        == Recurrence(carry={"name": "damped"}).resolved(Schedule.parse(SCHEDULE)).part("carry")
        or Recurrence(damping=0.5).applied_share(1, 2) == 0.5
    )
    model, ids = loop(plain(4), SCHEDULE, recurrence=Recurrence(damping=0.25)), tokens()
    named = Recurrence(carry={"name": "damped", "share": 0.25})
    same(loop(plain(4), SCHEDULE, recurrence=named)(ids).logits, model(ids).logits)


def test_weight_decay_leaves_out_what_the_papers_leave_out() -> None:
    model = loop(build("tiny", 4), SCHEDULE, recurrence=Recurrence(
        injection="diagonal", conditioning=["loop_lora", "loop_embedding"]))  # fmt: skip
    [adam] = optimizers.make(model, Optimizer(weight_decay=0.1))
    decay = {n: g["weight_decay"] for g in adam.param_groups for n in g["param_names"]}
    own = {name.removeprefix("runner."): d for name, d in decay.items() if "runner." in name}
    assert own.keys() == learned(model).keys()
    assert {own[f"injection.{name}"] for name in ("A_log", "dt_bias", "B")} == {0.0}
    assert own["conditioning.loop_embedding.vectors"] == 0.0
    assert own["conditioning.loop_lora.down.1/self_attn/q_proj"] == 0.1


def test_a_part_of_ones_own_is_used_saved_and_loaded(tmp_path: Path) -> None:
    @register_part("injection", "scaled_for_a_test")
    class Scaled(Injection):
        def __init__(self, shape: Any, share: float = 0.5) -> None:
            super().__init__(shape)
            self.share = nn.Parameter(torch.full((shape.width,), share))

        def forward(self, state: Tensor, block_input: Tensor, at: Any) -> Tensor:
            return state + self.share * block_input

    try:
        settings = {"name": "scaled_for_a_test", "share": 1.0}
        model = loop(plain(4), SCHEDULE, recurrence=Recurrence(injection=settings))
        ids = tokens()
        added = loop(plain(4), SCHEDULE, recurrence=Recurrence(injection="add"))
        close(model(ids).logits, added(ids).logits)
        save(model, None, tmp_path / "model")
        same(load(str(tmp_path / "model"))(ids).logits, model(ids).logits)
    finally:
        PARTS.forget(__name__)
    with pytest.raises(InputError, match="unknown injection 'scaled_for_a_test'"):
        load(str(tmp_path / "model"))
