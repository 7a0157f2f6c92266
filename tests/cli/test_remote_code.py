"""Code that comes with a model runs where ``--trust-remote-code`` is given, and never else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from growloop.cli.main import COMMANDS, main
from growloop.core.errors import InputError
from growloop.core.remote_code import trusted
from growloop.models import checkpoints, load, save
from growloop.tasks.evaluate import evaluate

from ..support.commands import refused, run
from ..tasks import tiny

CODE = """
from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

Path(__file__).touch()


class TinyConfig(LlamaConfig):
    model_type = "tiny_of_its_own"


class TinyForCausalLM(LlamaForCausalLM):
    config_class = TinyConfig


class TinyTokenizer(PreTrainedTokenizerFast):
    pass
"""
NEEDS = "comes with code of its own: read it, then give --trust-remote-code to run it"
TASK = "variable_assignment_code_d0"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("llama", tmp_path_factory.mktemp("llama"), layers=4)


@pytest.fixture
def remote(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder whose config, model and tokenizer are classes of its own code."""
    monkeypatch.chdir(tmp_path)
    modules = tmp_path / "modules"
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(modules))
    monkeypatch.syspath_prepend(str(modules))
    folder = tmp_path / "remote"
    shutil.copytree(made, folder)
    (folder / "code_of_tiny.py").write_text(CODE)
    config = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "TinyConfig", "AutoModelForCausalLM": "TinyForCausalLM"}
    config |= {
        "model_type": "tiny_of_its_own",
        "architectures": ["TinyForCausalLM"],
        "auto_map": {auto: f"code_of_tiny.{name}" for auto, name in classes.items()},
    }
    (folder / "config.json").write_text(json.dumps(config))
    own_tokenizer(folder)
    (tmp_path / "train.jsonl").write_text(
        "".join(json.dumps({"prompt": f"{i}+1=", "target": str(i + 1)}) + "\n" for i in range(6))
    )
    tune = {
        "name": "tune",
        "steps": 2,
        "precision": "fp32",
        "model": {"path": "remote"},
        "data": {"examples": "train.jsonl", "batch_size": 2, "seq_len": 32},
        "optimizer": {"warmup": 1},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tune))
    return "remote"


def own_tokenizer(folder: Path) -> None:
    file = folder / "tokenizer_config.json"
    tokenizer = json.loads(file.read_text())
    tokenizer |= {
        "tokenizer_class": "TinyTokenizer",
        "auto_map": {"AutoTokenizer": [None, "code_of_tiny.TinyTokenizer"]},
    }
    file.write_text(json.dumps(tokenizer))


SCORED = f"--tasks {TASK} --limit 2 --shots 0"
COMMANDS_THAT_LOAD = {
    "inspect": "inspect remote",
    "inspect, config alone": "inspect remote --config-only",
    "loop and untie": "export remote --block 1:3 --out out",
    "export": "export remote --out out",
    "grow": "grow remote --operator lidas --out out",
    "eval": f"eval --model remote {SCORED}",
    "eval by lm-eval": f"eval --model remote {SCORED} --backend hf",
    "eval into records": f"eval --model remote {SCORED} --leaderboard records",
    "eval of schedules": f"eval --model remote {SCORED} --block 1:3 --repeats 0,1",
    "sft": "sft --model remote --data train.jsonl --seq-len 32 --min-steps 2 --epochs 1 -o out",
    "sft, adapters": "sft -m remote -d train.jsonl --seq-len 32 --min-steps 2 --epochs 1 -o out "
    "--lora 2",
    "train": "train run.yaml --out out",
    "train, dry run": "train run.yaml --plan",
    "study": f"study inference-scaling -m remote --tasks {TASK} --items 8 --shots 0 --block 2 "
    "--repeats 1 --leaderboard records",
    "study that trains": "study sample-efficiency -m remote --sizes 2 --seeds 1 --held-out 2 "
    "--depths 0 --items 8 --min-steps 2 --epochs 1 --batch-size 2",
}


@pytest.mark.parametrize("words", COMMANDS_THAT_LOAD.values(), ids=COMMANDS_THAT_LOAD)
def test_a_model_with_code_of_its_own_needs_the_option(remote: str, words: str) -> None:
    before = sorted(path.name for path in Path().iterdir())
    assert refused(*words.split()) == f"Error: {remote} {NEEDS}"
    there = {path.name for path in Path().iterdir()} - {"results", "studies", "out"}
    assert there == set(before)
    assert not list(Path("out").rglob("*.safetensors"))
    result = run(*words.split(), "--trust-remote-code")
    assert result.exit_code == 0, result.output
    assert Path("modules").is_dir()
    assert not trusted()  # the permission ends with the command


def test_every_command_that_takes_a_model_has_the_option() -> None:
    for name in COMMANDS:
        command: Any = main.get_command(None, name)  # type: ignore[arg-type]
        names = {option for param in command.params for option in param.opts}
        takes = {"--model", "model", "run_file"} & names
        assert ("--trust-remote-code" in names) == bool(takes), name
    [add] = [main.get_command(None, "leaderboard").commands["add"]]  # type: ignore[arg-type,union-attr]
    assert "--trust-remote-code" in {option for param in add.params for option in param.opts}


def test_what_cannot_be_saved_looped_says_so(remote: str) -> None:
    words = f"loop {remote} --block 1:3 --out out".split()
    assert refused(*words) == f"Error: {remote} {NEEDS}"
    assert "a looped TinyForCausalLM cannot be saved" in refused(*words, "--trust-remote-code")


def test_the_name_of_lm_eval_is_taken_too(remote: str) -> None:
    words = f"eval --model {remote} {SCORED} --leaderboard records".split()
    for option in ("--trust_remote_code", "--model_args", "--trust_remote_code=false"):
        value = ["trust_remote_code=true"] if option == "--model_args" else []
        if option.endswith("false"):
            assert NEEDS in refused(*words, option)
        else:
            assert run(*words, option, *value).exit_code == 0


def test_a_suite_and_results_of_others_need_it_too(remote: str, tmp_path: Path) -> None:
    (tmp_path / "held_out.txt").write_text("a = 1\n" * 20)
    words = f"eval --model {remote} --suite paper --holdout held_out.txt --limit 1".split()
    assert NEEDS in refused(*words)
    result = run(*words, "--trust-remote-code", "--leaderboard", "records")
    assert result.exit_code == 0, result.output
    done = run(*f"eval --model {remote} {SCORED} --trust-remote-code --out r".split())
    assert done.exit_code == 0
    [file] = Path("r").rglob("results*.json")
    words = f"leaderboard add {file} --model {remote} --to others".split()
    assert NEEDS in refused(*words)
    assert run(*words, "--trust-remote-code").exit_code == 0


def test_code_of_a_tokenizer_alone_is_refused_too(remote: str, made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    shutil.copytree(made, folder)
    shutil.copy(Path(remote) / "code_of_tiny.py", folder)
    own_tokenizer(folder)
    assert NEEDS in refused("export", "plain", "--out", "out")
    assert NEEDS in refused("eval", "--model", "plain", *SCORED.split())
    assert run("export", "plain", "--out", "out", "--trust-remote-code").exit_code == 0
    assert (tmp_path / "out" / "code_of_tiny.py").is_file()


def test_functions_take_it_as_an_argument(remote: str) -> None:
    for function in (load, checkpoints.load_config, checkpoints.load_tokenizer):
        with pytest.raises(InputError, match="--trust-remote-code"):
            function(remote)
        assert type(function(remote, trust_remote_code=True)).__name__.startswith("Tiny")
    given = {"trust_remote_code": True}
    assert evaluate(remote, [TASK], limit=2, shots=0, forwarded=given) is not None


def test_a_checkpoint_with_other_code_is_another_model(remote: str) -> None:
    from growloop.core.model_files import model_digest

    before = model_digest(Path(remote))
    (Path(remote) / "code_of_tiny.py").write_text(CODE + "\n# otherwise\n")
    assert model_digest(Path(remote)) != before
    model = load(remote, trust_remote_code=True)
    folder = save(model, checkpoints.load_tokenizer(remote, trust_remote_code=True), "again")
    assert (folder / "code_of_tiny.py").read_text().endswith("# otherwise\n")
