"""Nothing is scored that is not the checkpoint, and no score is NaN."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from click.testing import CliRunner  # noqa: E402
from growloop.cli import main  # noqa: E402
from growloop.core.errors import InputError  # noqa: E402
from growloop.tasks.benchmarks.holdout import Text, likelihood  # noqa: E402
from growloop.tasks.loading import BACKENDS, load_model, model_arguments  # noqa: E402
from lm_eval.api.instance import Instance  # noqa: E402
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast  # noqa: E402

from ..support.damage import LOST, changed, put, scaled, sharded, write_gguf  # noqa: E402

Checkpoint = Callable[[str], Path]
PROMPT = "What comes after a, b, c and d?"


def opened(model: str | Path, backend: str = "growloop", **more: Any) -> Any:
    given = {"dtype": "float32", "device": "cpu", "batch_size": 1, **more}
    return load_model(str(model), backend, model_arguments(str(model)) | given)


def score(lm: Any, *options: str) -> list[float]:
    requests = [
        Instance("loglikelihood", {}, (PROMPT, option), number)
        for number, option in enumerate(options or (" e", " fg"))
    ]
    return [value for value, _ in lm.loglikelihood(requests, disable_tqdm=True)]


def generate(lm: Any, **kwargs: Any) -> list[str]:
    given = {"until": ["."], "max_gen_toks": 4, **kwargs}
    requests = [
        Instance("generate_until", {}, (f"{PROMPT * 6}{end}", given), number)
        for number, end in enumerate(("", " And", " Then"))
    ]
    found: list[str] = lm.generate_until(requests, disable_tqdm=True)
    return found


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lost", LOST)
def test_a_checkpoint_that_is_not_all_there_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, lost: str, backend: str
) -> None:
    change, message = LOST[lost]
    with pytest.raises(InputError) as caught:
        opened(changed(checkpoint("llama"), tmp_path / "m", change), backend)
    assert message in str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_start_at_random_is_refused(checkpoint: Checkpoint, backend: str) -> None:
    def disguise(model: Any) -> None:
        model.config.model_type = "huginn_raven"

    arguments = {"dtype": "float32", "device": "cpu", "batch_size": 1}
    folder = str(checkpoint("llama"))
    with pytest.raises(InputError, match="at random in each forward pass"):
        load_model(folder, backend, model_arguments(folder) | arguments, disguise)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_folder_without_a_tokenizer_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, backend: str
) -> None:
    """Some versions of transformers make a tokenizer that knows no word."""
    folder = tmp_path / "m"
    folder.mkdir()
    for path in checkpoint("llama").iterdir():
        if "token" not in path.name:
            (folder / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="it has no tokenizer"):
        opened(folder, backend)
    assert opened(folder, backend, tokenizer=str(checkpoint("llama"))) is not None


def test_eval_exits_2_and_records_nothing(checkpoint: Checkpoint, tmp_path: Path) -> None:
    model = changed(checkpoint("llama"), tmp_path / "m", LOST["all"][0])
    command = ["eval", "--model", str(model), "--limit", "40", "--shots", "0"]
    command += ["-t", "variable_assignment_basic_d0", "--device", "cpu"]
    command += ["-o", str(tmp_path / "out"), "--leaderboard", str(tmp_path / "r")]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2, done.output
    assert "has not all weights of its config: 30 are missing" in done.output
    assert not list(tmp_path.glob("out/**/*.json"))
    assert not list(tmp_path.glob("r/**/*.json*"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_shards_are_all_read_or_none(checkpoint: Checkpoint, tmp_path: Path, backend: str) -> None:
    model = sharded(checkpoint("llama"), tmp_path / "m")
    assert score(opened(model, backend)) == score(opened(checkpoint("llama"), backend))
    (model / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match=r"model-00002-of-00002\.safetensors is missing, which"):
        opened(model, backend)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_checkpoint_that_changed_on_the_disk_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, name: str
) -> None:
    model = changed(checkpoint("llama"), tmp_path / "m", lambda weights: None)
    sums = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in model.iterdir()}
    (model / "manifest.json").write_text(json.dumps({"step": 3, "sha256": sums}))
    opened(model)
    content = (model / name).read_bytes()
    weights = name == "model.safetensors"
    (model / name).write_bytes(content[:-1] + b"\0" if weights else content + b"\n")
    with pytest.raises(InputError, match=f"{name} does not have its checksum"):
        opened(model)
    (model / "manifest.json").unlink()  # as the message says
    opened(model)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_an_adapter_is_all_read_or_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    from safetensors.torch import load_file, save_file

    base = AutoModelForCausalLM.from_pretrained(checkpoint("llama"))
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    peft.get_peft_model(base, config).save_pretrained(tmp_path / "lora")
    plain = score(opened(checkpoint("llama")))
    assert score(opened(checkpoint("llama"), peft=str(tmp_path / "lora"))) != plain
    file = tmp_path / "lora" / "adapter_model.safetensors"
    weights = load_file(file)
    some = dict(list(weights.items())[1:])
    save_file(some, file)
    with (
        pytest.warns(UserWarning, match="missing adapter keys"),
        pytest.raises(InputError, match=r"the adapter .*lora has not all weights .* 1 is missing"),
    ):
        opened(checkpoint("llama"), peft=str(tmp_path / "lora"))
    save_file(weights | {"base_model.model.x.lora_A.weight": torch.zeros(2, 2)}, file)
    with pytest.raises(InputError, match=r"the adapter .* does not have: .*x\.lora_A"):
        opened(checkpoint("llama"), peft=str(tmp_path / "lora"))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_an_adapter_in_the_folder_of_a_model_is_refused(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    model = changed(checkpoint("llama"), tmp_path / "m", lambda weights: None)
    base = AutoModelForCausalLM.from_pretrained(model)
    config = peft.LoraConfig(r=2, target_modules=["q_proj"])
    peft.get_peft_model(base, config).save_pretrained(model)
    with pytest.raises(InputError, match="holds an adapter: merge it into its base"):
        opened(model)


def test_delta_weights_are_checked_too(checkpoint: Checkpoint, tmp_path: Path) -> None:
    delta = changed(checkpoint("llama"), tmp_path / "delta", LOST["the norm"][0])
    with pytest.raises(InputError, match=r"delta has not all weights .* model\.norm\.weight"):
        opened(checkpoint("llama"), delta=str(delta))


@pytest.mark.parametrize("option", ["autogptq", "gptqmodel"])
def test_loaders_that_tell_nothing_are_refused(checkpoint: Checkpoint, option: str) -> None:
    with pytest.raises(InputError, match=f"{option} loads weights without telling"):
        opened(checkpoint("llama"), **{option: True})


def gguf_model(file: Path) -> Any:
    """The weights of a GGUF file, as eval reads them; the tests' file has no tokenizer."""
    from growloop.tasks.scoring.backend import CheckedHF

    made = object.__new__(CheckedHF)
    made.AUTO_MODEL_CLASS = AutoModelForCausalLM
    made._device = torch.device("cpu")
    made._create_model(str(file.parent), dtype="float32", gguf_file=file.name)
    return made._model


def test_a_gguf_file_is_all_read_or_refused(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    whole = gguf_model(write_gguf(tmp_path / "m.gguf"))
    assert len(whole.model.layers) == 2
    with pytest.raises(InputError, match=r"missing, model\.layers\.1\.mlp\.up_proj\.weight"):
        gguf_model(write_gguf(tmp_path / "less.gguf", without="blk.1.ffn_up.weight"))
    for extra in ("blk.2.ffn_up.weight", "blk.1.attn_q.bias"):
        with pytest.raises(InputError, match="does not have: 32 numbers are left over"):
            gguf_model(write_gguf(tmp_path / "more.gguf", extra=extra))
    gguf_model(write_gguf(tmp_path / "rope.gguf", extra="rope_freqs.weight"))


def test_a_gguf_file_of_the_same_name_in_the_working_directory_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gguf")
    (tmp_path / "there").mkdir()
    file = write_gguf(tmp_path / "there" / "m.gguf")
    wanted = gguf_model(file).model.norm.weight
    write_gguf(tmp_path / "m.gguf", seed=1)
    monkeypatch.chdir(tmp_path)
    assert torch.equal(gguf_model(file).model.norm.weight, wanted)


NOT_FINITE = {
    "the norm": (put("model.norm.weight", math.nan), "model.norm gives NaN"),
    "one in an MLP": (
        put("model.layers.1.mlp.down_proj.weight", math.nan),
        "model.layers.1.mlp.down_proj gives NaN (its weights hold NaN or infinity)",
    ),
    "the embedding": (
        put("model.embed_tokens.weight", math.inf, row=77),  # W
        "model.embed_tokens gives infinity",
    ),
    "the head": (put("lm_head.weight", math.nan, row=200), "lm_head gives NaN"),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("what", NOT_FINITE)
def test_numbers_that_are_none_are_refused_naming_the_layer(
    checkpoint: Checkpoint, tmp_path: Path, what: str, backend: str
) -> None:
    change, message = NOT_FINITE[what]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(checkpoint("llama"))
    assert tokenizer(PROMPT).input_ids[0] == tokenizer.convert_tokens_to_ids("W")
    rows = {"the embedding": tokenizer.convert_tokens_to_ids("W")}
    if what in rows:
        change = put("model.embed_tokens.weight", math.inf, row=rows[what])
    lm = opened(changed(checkpoint("llama"), tmp_path / "m", change), backend)
    for ask in (score, generate, lambda lm: likelihood(lm, Text([PROMPT], "text"))):
        with pytest.raises(InputError) as caught:
            ask(lm)
        assert f"the model's output is not finite: {message}" in str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_overflow_of_half_precision_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, backend: str
) -> None:
    change = scaled("model.layers.2.mlp.down_proj.weight", 1e4)
    model = changed(checkpoint("llama"), tmp_path / "m", change)
    assert all(map(math.isfinite, score(opened(model, backend))))
    lm = opened(model, backend, dtype="float16")
    for ask in (score, generate):
        with pytest.raises(InputError, match=r"model\.layers\.2\.mlp\.down_proj gives .*float16"):
            ask(lm)


def test_sampling_from_what_is_no_number_is_one_sentence(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    model = changed(checkpoint("llama"), tmp_path / "m", NOT_FINITE["the norm"][0])
    with pytest.raises(InputError, match=r"model\.norm gives NaN"):
        generate(opened(model), do_sample=True, temperature=0.7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_options_that_a_model_masks_have_no_probability(
    checkpoint: Checkpoint, backend: str
) -> None:
    lm = opened(checkpoint("llama"), backend)
    before = score(lm, " e", " fg")
    [masked] = lm.tok_encode("g")

    def mask(module: Any, args: Any, output: Any) -> Any:
        output.logits[..., masked] = -math.inf
        return output

    lm.model.register_forward_hook(mask)
    found = score(lm, " e", " fg")
    assert found[1] == -math.inf
    assert before[0] < found[0] < 0
    with pytest.raises(InputError, match="no probability at all"):
        likelihood(lm, Text(["a g"], "text"))


def test_each_schedule_is_looked_at(checkpoint: Checkpoint) -> None:
    from growloop.models import Schedule, loop

    lm = opened(checkpoint("llama"))
    loop(lm.model)
    pairs = [(lm.tok_encode(PROMPT), lm.tok_encode(" e"))]
    with torch.no_grad():
        lm.model.model.layers._modules["2"].mlp.up_proj.weight[0, 0] = math.nan
    schedules = [Schedule.parse("0,1"), Schedule.parse("0,1,2")]
    with pytest.raises(InputError, match=r"layers\.2\.mlp\.up_proj gives NaN"):
        lm.score_schedules(pairs, schedules)
    assert math.isfinite(lm.score_schedules(pairs, schedules[:1])[0][0][0])
