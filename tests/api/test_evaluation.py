"""``growloop.evaluate``: by name, on a loaded model, and what it leaves alone."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import growloop
import numpy as np
import pytest
import torch
from growloop import InputError
from growloop.models import checkpoints

TASKS = "copying_real_words,variable_assignment_code_d0"
FEW: dict[str, Any] = {"items": 6, "shots": 1}


@pytest.fixture
def loaded(plain: Path) -> tuple[Any, Any]:
    return growloop.load(str(plain)), checkpoints.load_tokenizer(str(plain))


def state(model: Any) -> dict[str, Any]:
    """All that an evaluation might change."""
    return {
        "class": type(model),
        "config": model.config.to_dict(),
        "training": [module.training for module in model.modules()],
        "modules": [id(module) for module in model.modules()],
        "parameters": [(name, id(p), p.dtype, p.device) for name, p in model.named_parameters()],
        "values": [p.detach().clone().sum().item() for p in model.parameters()],
        "schedule": str(getattr(model, "schedule", None)),
        "fields": sorted(vars(model)),
        "random": (random.random(), np.random.random(), torch.rand(1).item()),
    }


def seed() -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


def test_a_loaded_model_has_the_numbers_of_its_checkpoint(plain: Path, loaded: Any) -> None:
    model, tokenizer = loaded
    by_name = growloop.evaluate(plain, TASKS, **FEW)
    by_model = growloop.evaluate(model, TASKS, tokenizer=tokenizer, **FEW)
    assert by_model.to_rows() == by_name.to_rows()
    assert by_model.items.to_rows() == by_name.items.to_rows()


@pytest.mark.parametrize("schedule", [None, "1-2x2-1", [0, 1, 1, 2, 3]])
@pytest.mark.parametrize("backend", ["growloop", "hf"])
def test_a_loaded_model_stays_as_it_was(loaded: Any, schedule: Any, backend: str) -> None:
    model, tokenizer = loaded
    model.train()
    model.model.layers[1].eval()  # one module alone
    padding = tokenizer.pad_token
    tokenizer.pad_token = None
    seed()
    before = state(model)
    seed()
    result = growloop.evaluate(
        model, "copying_real_words", tokenizer=tokenizer, schedule=schedule, backend=backend, **FEW
    )
    assert state(model) == before
    assert tokenizer.pad_token is None
    assert padding is not None
    ran = result.results[0]["growloop"].get("schedule")
    assert ran == str(growloop.loop(model, schedule).schedule)


def test_a_schedule_scores_as_the_looped_checkpoint(loaded: Any, looped: Path) -> None:
    model, tokenizer = loaded
    here = growloop.evaluate(model, TASKS, tokenizer=tokenizer, schedule="1-2x2-1", **FEW)
    there = growloop.evaluate(looped, TASKS, **FEW)
    assert here.items.to_rows() == there.items.to_rows()
    plain = growloop.evaluate(model, TASKS, tokenizer=tokenizer, **FEW)
    assert plain.items.to_rows() != here.items.to_rows()


def test_a_loaded_looped_model_keeps_its_schedule(looped: Path) -> None:
    model, tokenizer = growloop.load(str(looped)), checkpoints.load_tokenizer(str(looped))
    seed()
    before = state(model)
    seed()
    result = growloop.evaluate(
        model, "copying_real_words", tokenizer=tokenizer, repeat=(1, 3), times=[0, 2], **FEW
    )
    assert state(model) == before
    assert [row["schedule"] for row in result.to_rows()] == ["1-2x2-1", "1-2x4-1"]
    assert [row["repeats"] for row in result.to_rows()] == [0, 2]


def test_no_repeats_are_the_schedule_itself(loaded: Any) -> None:
    model, tokenizer = loaded
    plain = growloop.evaluate(model, TASKS, tokenizer=tokenizer, **FEW)
    none = growloop.evaluate(model, TASKS, tokenizer=tokenizer, repeat=(1, 3), times=0, **FEW)
    assert none.items.to_rows() == plain.items.to_rows()


def with_lora(model: Any) -> Any:
    """A LoRA whose second matrix is not zero, so that it changes the scores."""
    peft = pytest.importorskip("peft")
    found = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj", "down_proj"]))
    for name, parameter in found.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return found.get_base_model()


def with_hooks(model: Any) -> Any:
    """Accelerate's hooks, which replace the forward function of each module."""
    from accelerate.hooks import ModelHook, add_hook_to_module

    class Halved(ModelHook):
        def post_forward(self, module: Any, output: Any) -> Any:
            return output / 2

    for layer in model.model.layers:
        add_hook_to_module(layer.mlp, Halved())
    return model


def with_a_closure(model: Any) -> Any:
    """A function put around the forward function of a layer, as nnsight does."""
    mlp = model.model.layers[2].mlp
    forward = mlp.forward
    mlp.forward = lambda *given, **named: forward(*given, **named) * 3
    return model


def with_a_forward_hook(model: Any) -> Any:
    model.model.layers[1].mlp.register_forward_hook(lambda module, given, output: output * 3)
    return model


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")
@pytest.mark.parametrize("schedule", [None, "1-2x2-1"])
@pytest.mark.parametrize("change", [with_lora, with_hooks, with_a_closure, with_a_forward_hook])
def test_what_others_put_into_a_loaded_model_takes_part(
    loaded: Any, change: Any, schedule: Any
) -> None:
    model, tokenizer = loaded
    plain = growloop.evaluate(model, TASKS, tokenizer=tokenizer, schedule=schedule, **FEW)
    changed = change(model)
    before = changed(torch.tensor([[5, 6, 7]])).logits
    own = growloop.evaluate(changed, TASKS, tokenizer=tokenizer, schedule=schedule, **FEW)
    hf = growloop.evaluate(
        changed, TASKS, tokenizer=tokenizer, schedule=schedule, backend="hf", **FEW
    )
    assert plain.items.to_rows() != own.items.to_rows()
    for mine, theirs in zip(own.items.to_rows(), hf.items.to_rows(), strict=True):
        assert mine["log_probabilities"] == pytest.approx(theirs["log_probabilities"], abs=1e-3)
    assert torch.equal(changed(torch.tensor([[5, 6, 7]])).logits, before)


def test_untied_weights_of_a_loaded_model_are_not_tied(loaded: Any) -> None:
    model, tokenizer = loaded
    model.config.tie_word_embeddings = True  # the weights are not tied
    before = growloop.evaluate(model, TASKS, tokenizer=tokenizer, **FEW)
    model.config.tie_word_embeddings = False
    after = growloop.evaluate(model, TASKS, tokenizer=tokenizer, **FEW)
    assert before.items.to_rows() == after.items.to_rows()


def test_items_have_answers_and_log_probabilities(loaded: Any) -> None:
    model, tokenizer = loaded
    result = growloop.evaluate(model, "copying_real_words", tokenizer=tokenizer, **FEW)
    assert len(result.items) == 6
    for item in result.items:
        best = int(np.argmax(item["log_probabilities"]))
        assert len(item["log_probabilities"]) == len(item["choices"]) == 10
        assert item["answer"] == item["choices"][best].strip()
        assert item["acc"] == (item["answer"] == item["target"])
        context, option = item["prompt"], item["choices"][best]
        ids = [tokenizer.encode(text) for text in (context, option)]
        with torch.inference_mode():
            logits = model.eval()(torch.tensor([ids[0] + ids[1]])).logits[0].log_softmax(-1)
        places = range(len(ids[0]) - 1, len(ids[0]) + len(ids[1]) - 1)
        expected = sum(float(logits[p, t]) for p, t in zip(places, ids[1], strict=True))
        assert item["log_probabilities"][best] == pytest.approx(expected, abs=1e-3)
    assert result["copying_real_words"].value == np.mean([item["acc"] for item in result.items])


def test_a_result_is_a_frame_a_dictionary_a_table_and_a_chart(loaded: Any) -> None:
    pandas = pytest.importorskip("pandas")
    model, tokenizer = loaded
    result = growloop.evaluate(model, TASKS, tokenizer=tokenizer, items=6, shots=[0, 1], name="<b>")
    frame = result.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == 4
    assert json.loads(json.dumps(result.to_dict()))["rows"] == result.to_rows()
    html = result._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert result.chart().to_dict()["concat"]
    single = growloop.evaluate(model, "copying_real_words", tokenizer=tokenizer, **FEW)
    assert single.chart().to_dict()["vconcat"]
    with pytest.raises(InputError, match="several times"):
        _ = result["copying_real_words"]
    with pytest.raises(InputError, match="did you mean 'copying_real_words'"):
        _ = result["copying_real_word"]


def test_files_and_records_are_those_of_the_command(plain: Path, tmp_path: Path) -> None:
    store = tmp_path / "records"
    result = growloop.evaluate(
        plain, TASKS, out=tmp_path / "out", leaderboard=store, name="tiny", **FEW
    )
    assert result.added == 2
    assert all(file.is_file() for file in result.files)
    board = growloop.leaderboard.load(store, paper=False)
    assert {row["model"] for row in board.to_rows()} == {"tiny"}
    assert "tiny" in board.select(tasks="copying*")._repr_html_()
    assert board.select(tasks="copying*").chart().to_dict()["concat"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "a loaded model needs its tokenizer"),
        ({"tokenizer": 3}, "a tokenizer is one of transformers, not 3"),
        ({"tokenizer": "own", "tasks": "copying:word=real"}, "unknown parameter"),
        ({"tokenizer": "own", "tasks": []}, "no tasks given"),
        ({"tokenizer": "own", "schedule": "4x"}, "schedule '4x', character"),
        ({"tokenizer": "own", "schedule": "9"}, "needs 9 layers, the model has 4"),
        ({"tokenizer": "own", "schedule": "2x2"}, "is of 2 layers, the model has 4"),
        ({"tokenizer": "own", "repeat": 3}, "repeat is a pair"),
        ({"tokenizer": "own", "times": 2}, "repeats are extra passes of a block"),
        (
            {"tokenizer": "own", "times": [1, 1], "repeat": (1, 2)},
            "times takes numbers that differ",
        ),
        ({"tokenizer": "own", "device": "cpu"}, "scored where and as it is: leave out device"),
        ({"tokenizer": "own", "dtype": "float16"}, "leave out dtype"),
        ({"tokenizer": "own", "revision": "main"}, "leave out revision"),
        ({"tokenizer": "own", "attn_implementation": "eager"}, "leave out attn_implementation"),
        ({"tokenizer": "own", "backend": "vllm"}, "unknown backend 'vllm'"),
        ({"tokenizer": "own", "items": 0}, "items must be a whole number"),
        ({"tokenizer": "own", "fewshot": 2}, "unknown option --fewshot"),
        ({"tokenizer": "own", "leaderboard": "records"}, "records identify a model by its files"),
    ],
)
def test_bad_input_is_one_sentence(loaded: Any, arguments: dict[str, Any], message: str) -> None:
    model, tokenizer = loaded
    if arguments.get("tokenizer") == "own":
        arguments = {**arguments, "tokenizer": tokenizer}
    tasks = arguments.pop("tasks", "copying_real_words") if "tasks" in arguments else TASKS
    with pytest.raises(InputError, match=message) as caught:
        growloop.evaluate(model, tasks, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (3, "a model is a hub id, a folder, a file or a loaded model of transformers, not 3"),
        (torch.nn.Linear(2, 2), "a loaded model of transformers, not Linear"),
        ("./nowhere", "nowhere"),
    ],
)
def test_what_is_no_model_is_refused(model: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        growloop.evaluate(model, TASKS)


def test_a_model_without_weights_is_refused(plain: Path) -> None:
    model = checkpoints.empty(checkpoints.load_config(str(plain)))
    tokenizer = checkpoints.load_tokenizer(str(plain))
    with pytest.raises(InputError, match="no weights"):
        growloop.evaluate(model, TASKS, tokenizer=tokenizer)


def test_a_tokenizer_beside_a_name_is_refused(plain: Path, loaded: Any) -> None:
    with pytest.raises(InputError, match="loaded by name"):
        growloop.evaluate(plain, TASKS, tokenizer=loaded[1])
