"""Two processes train a looped model as one process does on the joined batch.

The one process trains a physically unrolled model: the gradients of a layer's copies are added up.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from growloop.models import loop
from torch import Tensor
from transformers import LlamaForCausalLM

from . import distributed_worker as worker

pytestmark = pytest.mark.slow

SECONDS = 150
Results = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What each process left of a scenario; the processes run once, for all tests."""
    folder = tmp_path_factory.mktemp("distributed")
    ranks = range(worker.PROCESSES)
    started = []
    for rank in ranks:
        known = {"LOCAL_RANK": rank, "RANK": rank, "WORLD_SIZE": worker.PROCESSES}
        known |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0, "OMP_NUM_THREADS": 1}
        known |= {"CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
        environment = os.environ | {name: str(value) for name, value in known.items()}
        command = [sys.executable, worker.__file__, str(folder), str(rank)]
        with open(folder / f"output-{rank}.txt", "w") as output:
            started.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output))
    try:
        for process in started:
            process.wait(timeout=SECONDS)
    finally:
        for process in started:
            process.kill()
            process.wait()

    def load(scenario: str) -> list[dict[str, Any]]:
        found = []
        for rank in ranks:
            path = folder / f"{scenario}-{rank}.pt"
            if not path.exists():
                files = [path.with_suffix(".txt"), folder / f"output-{rank}.txt"]
                pytest.fail("\n".join(file.read_text() for file in files if file.exists()))
            found.append(torch.load(path))
        return found

    return load


def close(found: Any, wanted: Any) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def unrolled(model: LlamaForCausalLM, layers: Sequence[int]) -> LlamaForCausalLM:
    """A model with a copy of a layer of ``model`` for each step."""
    made = copy.deepcopy(model)
    made.config.num_hidden_layers = len(layers)
    made.model.layers = torch.nn.ModuleList(copy.deepcopy(model.model.layers[i]) for i in layers)
    for step, layer in enumerate(made.model.layers):
        layer.self_attn.layer_idx = step
    return made.train()


def trained(schedules: Sequence[Sequence[int]]) -> tuple[LlamaForCausalLM, list[float]]:
    """A plain model, trained through a fresh unrolled one at each step; and the losses."""
    model = worker.plain()
    steps, losses = worker.optimizer(model.parameters()), []
    weights = dict(model.named_parameters())
    for ids, layers in zip(worker.batches(), schedules, strict=True):
        copies = unrolled(model, layers)
        loss = copies(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        steps.zero_grad()
        for name, parameter in copies.named_parameters():
            before, mark, after = name.partition(".layers.")
            if mark:
                step, rest = after.split(".", 1)
                name = f"{before}{mark}{layers[int(step)]}.{rest}"
            assert parameter.grad is not None
            total = weights[name].grad
            weights[name].grad = parameter.grad if total is None else total + parameter.grad
        steps.step()
        losses.append(float(loss.detach()))
    return model, losses


def assert_trained_as_one(
    found: list[dict[str, Any]], weights: dict[str, Tensor], losses: list[float]
) -> None:
    mean = torch.tensor([each["losses"] for each in found]).mean(0)
    close(mean, torch.tensor(losses))
    assert found[0]["losses"] != found[1]["losses"]  # the data differ
    close(dict(found[0]["weights"]), dict(weights))
    if found[1]["weights"]:  # gathering gives them to the first process
        close(found[1]["weights"], found[0]["weights"])


@pytest.mark.parametrize(
    "scenario", ["ddp", "accelerator", "fsdp", "fsdp_then_loop", "fsdp_with_checkpointing"]
)
def test_two_processes_train_as_one(scenario: str, results: Results) -> None:
    model, losses = trained([worker.LAYERS] * worker.STEPS)
    assert_trained_as_one(results(scenario), model.state_dict(), losses)


def test_processes_draw_the_same_number_of_loops(results: Results) -> None:
    drawn = [worker.RANDOM.at(step) for step in range(worker.STEPS)]
    assert len(set(drawn)) > 1
    model, losses = trained([[0, *[1] * loops, 2] for loops in drawn])
    found = results("ddp_with_random_loops")
    assert_trained_as_one(found, model.state_dict(), losses)
    assert [each["ran"] for each in found] == [sum(drawn) + 2 * worker.STEPS] * 2


def test_a_sharded_map_of_concat_trains(results: Results) -> None:
    model = worker.looped(worker.CONCAT)
    losses = worker.train(model)
    assert model.runner.adapter.weight.grad is None  # set to none after each step
    moved = model.runner.adapter.weight - worker.looped(worker.CONCAT).runner.adapter.weight
    assert moved.abs().max() > 1e-3
    assert_trained_as_one(results("fsdp_with_concat"), model.state_dict(), losses)


def test_each_process_holds_half_of_each_layer_once(results: Results) -> None:
    whole = sum(p.numel() for p in worker.plain().parameters())
    local = [each["local"] for each in results("fsdp")]
    assert sum(local) == whole
    assert max(local) < 0.6 * whole


def test_a_sharded_model_generates_as_a_whole_one(results: Results) -> None:
    model, _ = trained([worker.LAYERS] * worker.STEPS)
    whole = unrolled(model, worker.LAYERS).eval()
    for rank, each in enumerate(results("fsdp")):
        ids = worker.tokens(2, seed=5 + rank)
        wanted = whole.generate(ids, max_new_tokens=5, do_sample=False)
        assert each["made"].tolist() == wanted.tolist()


def test_a_gathered_state_dict_loads_into_a_plain_model(results: Results) -> None:
    weights = results("fsdp")[0]["weights"]
    model = worker.plain()
    model.load_state_dict(weights)
    assert loop(model, worker.SCHEDULE).state_dict().keys() == weights.keys()


def test_sharded_processes_may_leave_at_different_loops(results: Results) -> None:
    found = results("fsdp_with_exit")
    assert found[0]["loops"] != found[1]["loops"]
    for each in found:
        close(each["found"], each["wanted"])
