"""Models that loop by themselves are read as looped, run at any number of loops, not looped again.

The reference is the architecture's own code: transformers' for HRM-Text, and a checkout of the
authors' for Ouro and Huginn (:mod:`...support.published`), skipped where there is none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from growloop.cli import main
from growloop.core.errors import InputError
from growloop.core.remote_code import trusting
from growloop.core.schedule import Schedule
from growloop.models import Recurrence, checkpoints, cost, layer_similarity, loop
from growloop.models.diagnostics import dynamics, loop_chains, trace
from growloop.models.looping.config import current_schedule
from growloop.models.looping.native import (
    native_loops,
    native_schedule,
    set_native_loops,
)
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ...support.published import (
    FIELDS,
    KINDS,
    original,
    own_module_cache,
    published,
    start_of,
)
from ...support.unrolling import close, tokens

STEPS = {
    "hrm_text": (0, 1, 0, 1, 0, 1, 2, 3) * 2,
    "ouro": (0, 1) * 3,
    "huginn": (0, *(1, 2) * 3, 3),
}


@pytest.fixture(scope="module", params=KINDS)
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    patch = pytest.MonkeyPatch()
    own_module_cache(patch, tmp_path_factory.mktemp("modules"))
    yield published(request.param, tmp_path_factory.mktemp(request.param))
    patch.undo()


@pytest.fixture
def kind(folder: Path) -> str:
    return next(kind for kind in KINDS if folder.name.startswith(kind))


def loaded(folder: Path) -> Any:
    with trusting(True):
        return checkpoints.load(str(folder), dtype="float32").eval()


@pytest.mark.parametrize("loops", [1, 2, 3, 5])
def test_logits_are_the_originals_at_every_number_of_loops(
    folder: Path, kind: str, loops: int
) -> None:
    theirs, ours, ids = original(folder, **{FIELDS[kind]: loops}), loaded(folder), tokens()
    expected = theirs(ids, **start_of(theirs, ids)).logits
    with ours.scheduled(native_schedule(theirs.config)):
        close(ours(ids).logits, expected)
    assert str(ours.schedule) == str(Schedule(STEPS[kind]))
    set_native_loops(ours, loops)
    close(ours(ids).logits, expected)


def test_both_cycles_of_hrm_follow_a_schedule(folder: Path, kind: str) -> None:
    if kind != "hrm_text":
        pytest.skip("one number of loops")
    theirs, ours, ids = original(folder, H_cycles=3, L_cycles=1), loaded(folder), tokens()
    loop(ours, Schedule((0, 1, 2, 3) * 3))
    close(ours(ids).logits, theirs(ids).logits)
    assert ours.config.num_hidden_layers == theirs.config.num_hidden_layers == 12


def test_the_schedule_names_the_layers_that_run(folder: Path, kind: str) -> None:
    model, ran = loaded(folder), []
    native = native_loops(model)
    assert native is not None
    for number, layer in enumerate(native.unique):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    model(tokens())
    assert tuple(ran) == native.schedule.layers == STEPS[kind]
    assert current_schedule(model) == current_schedule(model.config) == native.schedule
    assert layer_similarity(model).shape == (len(native.unique),) * 2


@pytest.mark.parametrize("loops", [2, 4])
def test_its_costs_are_those_of_torch(folder: Path, kind: str, loops: int) -> None:
    model, ids = loaded(folder), torch.zeros(1, 16, dtype=torch.long)
    if kind != "huginn":  # which calls torch's attention itself
        model.set_attn_implementation("eager")
    set_native_loops(model, loops)
    math = sdpa_kernel(SDPBackend.MATH)  # torch counts no fused attention of a CPU
    with FlopCounterMode(display=False) as counter, torch.no_grad(), math:
        model(ids, use_cache=False)
    counted = cost(model, seq_len=16)
    assert counted.forward_flops == pytest.approx(counter.get_total_flops() / 16, rel=0.01)
    assert counted.unique_parameters == sum(p.numel() for p in model.parameters())
    assert cost(loaded(folder), counted.schedule, seq_len=16) == counted
    with trusting(True):
        assert cost(model.config, seq_len=16) == counted


def test_generation_under_another_schedule_is_the_originals(folder: Path, kind: str) -> None:
    theirs, ours = original(folder, **{FIELDS[kind]: 2}), loaded(folder)
    ids, schedule = tokens(rows=1), native_schedule(theirs.config)
    made = ours.generate(ids, schedule=schedule, max_new_tokens=3, do_sample=False)
    for length in range(ids.shape[1], ids.shape[1] + 3):  # without a cache, token by token
        before = made[:, :length]
        logits = theirs(before, use_cache=False, **start_of(theirs, before)).logits
        assert made[0, length] == logits[0, -1].argmax()


def test_it_is_not_looped_again(folder: Path) -> None:
    model = loaded(folder)
    before, name = model(tokens()).logits, model.config.model_type
    with pytest.raises(InputError, match=f"{name} loops by itself, and must not be looped again"):
        loop(model, [0, 0])
    with pytest.raises(InputError, match=f"{name} loops by itself"):
        loop(model, recurrence=Recurrence(injection="add"))
    close(model(tokens()).logits, before)


def test_a_trace_reads_every_step(folder: Path, kind: str) -> None:
    model, ids = loaded(folder), tokens()
    traced = trace(model, ids)
    assert traced.schedule.layers == STEPS[kind]
    close(traced.logits, model(ids).logits)
    traced.check_readout()
    chains = loop_chains(traced.schedule)
    measured = dynamics(traced, chains)["change"]
    chain = chains[-1]
    last, before = (traced.outputs[step] for step in (chain[-1], chain[-2]))
    last, before = (torch.nn.functional.normalize(x, dim=-1) for x in (last, before))
    close(measured[:, chain[-1]], (last - before).norm(dim=-1).mean(1))
    if kind != "hrm_text":
        with pytest.raises(InputError, match="changes nothing between its steps"):
            traced.check_flow()


def test_padding_before_a_text_is_refused_where_masks_are_ignored(folder: Path, kind: str) -> None:
    model, ids = loaded(folder), tokens()
    mask = torch.ones_like(ids)
    mask[0, 0] = 0
    if kind != "huginn":
        close(model(ids[1:]).logits, model(ids, attention_mask=mask).logits[1:])
        return
    for run in (lambda: model(ids, attention_mask=mask), lambda: trace(model, ids, mask)):
        with pytest.raises(InputError, match="ignores attention masks"):
            run()


def test_inspect_shows_its_loops(folder: Path, kind: str) -> None:
    arguments = ["inspect", str(folder), "--json", "--trust-remote-code"]
    for more in ([], ["--config-only"]):
        result = CliRunner().invoke(main, [*arguments, *more])
        assert result.exit_code == 0, result.output
        facts = json.loads(result.stdout)
        loops = 2 if kind == "hrm_text" else 3
        assert facts["loops_by_itself"] == f"{FIELDS[kind]} {loops}"
        assert facts["unique_layers"] == len(set(STEPS[kind]))
        assert facts["effective_depth"] == len(STEPS[kind])
