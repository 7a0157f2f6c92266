"""Looped checkpoints with code: they load and compute the same where there is no growloop."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import growloop
import pytest
import torch
from growloop import InputError, Recurrence
from growloop.models import checkpoints
from growloop.models.looping import modeling_looped

from ...support.commands import run
from ...tasks import tiny

KINDS = ["llama", "gpt2", "mistral-window", "gemma2", "gpt_neox"]
IDS = torch.arange(60)[None] % 200
ALONE = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "growloop":
            raise ImportError("growloop is not importable here")

sys.meta_path.insert(0, Blocker())
try:
    import growloop
except ImportError:
    pass
else:
    raise SystemExit("growloop can be imported")
import torch
from transformers import AutoModelForCausalLM

def outputs(model, ids):
    model.eval()
    made = model.generate(ids, max_new_tokens=6, do_sample=False, pad_token_id=0)
    return model(ids).logits, made

results = {}
for folder in sys.argv[2:]:
    ids = torch.arange(60)[None] % 200
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    again = folder + "-again"
    model.save_pretrained(again)
    loaded = AutoModelForCausalLM.from_pretrained(again, trust_remote_code=True)
    model.eval()  # without dropout
    model(ids, labels=ids).loss.backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    results[folder] = outputs(model, ids), outputs(loaded, ids), gradients
assert "growloop" not in sys.modules
torch.save(results, sys.argv[1])
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Path]]:
    """Looped models by architecture, and their self-contained folders."""
    root = tmp_path_factory.mktemp("self-contained")
    found = {}
    for kind in KINDS:
        plain = tiny.save(kind, root / kind, layers=4)
        model = growloop.loop(growloop.load(str(plain)), "1-2x2-1")
        out = root / f"{kind}-looped"
        tokenizer = checkpoints.load_tokenizer(str(plain))
        found[kind] = model, growloop.save(model, tokenizer, out, self_contained=True)
    return found


@pytest.fixture(scope="module")
def alone(
    saved: dict[str, tuple[Any, Path]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What a process without growloop computes with each folder."""
    root = tmp_path_factory.mktemp("alone")
    folders = [str(folder) for _, folder in saved.values()]
    (root / "alone.py").write_text(ALONE)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "alone.py", "out.pt", *folders],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = torch.load(root / "out.pt")
    return results


@pytest.mark.parametrize("kind", KINDS)
def test_without_growloop_the_numbers_are_the_same(
    saved: dict[str, tuple[Any, Path]], alone: dict[str, Any], kind: str
) -> None:
    model, folder = saved[kind]
    model.eval()  # without dropout
    model(IDS, labels=IDS).loss.backward()
    once, again, gradients = alone[str(folder)]
    for expected, found in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(expected.grad, found)
    model.eval()
    with torch.no_grad():
        logits = model(IDS).logits
        made = model.generate(IDS, max_new_tokens=6, do_sample=False, pad_token_id=0)
    for found_logits, found_tokens in (once, again):
        assert torch.equal(found_logits, logits)
        assert torch.equal(found_tokens, made)


def test_growloop_loads_the_folder_without_trusting_it(saved: dict[str, tuple[Any, Path]]) -> None:
    model, folder = saved["llama"]
    loaded = growloop.load(str(folder))
    assert str(loaded.schedule) == "1-2x2-1"
    with torch.no_grad():
        assert torch.equal(loaded.eval()(IDS).logits, model.eval()(IDS).logits)
    out = folder.parent / "without-code"
    growloop.save(loaded, None, out)
    assert "auto_map" not in json.loads((out / "config.json").read_text())
    assert not (out / "modeling_looped.py").exists()


def test_the_folder_is_overwritten_by_force(saved: dict[str, tuple[Any, Path]]) -> None:
    model, folder = saved["llama"]
    out = folder.parent / "twice"
    for overwrite in (False, True):
        growloop.save(model, None, out, overwrite, self_contained=True)
    assert (out / "README.md").is_file()


def test_the_modelling_file_imports_torch_and_transformers_alone() -> None:
    text = Path(modeling_looped.__file__).read_text()
    assert "from ." not in text
    assert "import growloop" not in text
    assert len(text.splitlines()) < 260


def test_what_the_code_cannot_compute_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    model = growloop.build("tiny", 4)
    with pytest.raises(InputError, match="does not loop"):
        growloop.save(model, None, tmp_path / "plain", self_contained=True)
    growloop.loop(model, "1-2x2-1", recurrence=Recurrence(damping=0.5))
    with pytest.raises(InputError, match="schedule alone, and this model has damping"):
        growloop.save(model, None, tmp_path / "recurrent", self_contained=True)
    assert list(tmp_path.iterdir()) == []


def test_code_that_computes_other_logits_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = growloop.loop(growloop.build("tiny", 4), "1-2x2-1")
    monkeypatch.setattr(modeling_looped.Step, "__call__", lambda self, h, *_, **__: h)
    with pytest.raises(InputError, match="computes other logits"):
        growloop.save(model, None, tmp_path / "out", self_contained=True)
    assert list(tmp_path.iterdir()) == []


def test_the_card_names_schedule_growth_costs_results_and_command(tmp_path: Path) -> None:
    model = growloop.build("tiny", 4)
    growloop.grow(model, "lidas", block_size=2)
    growloop.loop(model, "2-2x2-2")
    records = [
        {"task": "copying|a", "metric": "acc", "value": 0.5, "n": 1000, "low": 0.4, "high": 0.6}
    ]
    card = {"command": "growloop loop grown --schedule 2-2x2-2", "records": records}
    growloop.save(model, None, tmp_path / "out", self_contained=True, card=card)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "# out" in text
    assert "`2-2x2-2`" in text
    assert "lidas: 4 to 6 layers" in text
    assert f"| unique parameters | {model.num_parameters():,} |" in text
    assert "| copying\\|a |  | acc | 0.5000 | 0.400 to 0.600 | 1,000 |" in text
    assert "```bash\ngrowloop loop grown --schedule 2-2x2-2\n```" in text
    assert "trust_remote_code=True" in text


def test_the_command_writes_card_and_code(saved: dict[str, tuple[Any, Path]]) -> None:
    root = saved["llama"][1].parent
    out, store = root / "published", root / "records"
    growloop.evaluate(
        root / "llama", "copying_real_words", schedule="1-2x2-1", items=4, shots=0,
        out=root / "results", leaderboard=store,
    )  # fmt: skip
    done = run(
        "loop", str(root / "llama"), "--schedule", "1-2x2-1", "--self-contained",
        "--leaderboard", str(store), "--out", str(out),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    text = (out / "README.md").read_text()
    assert "| copying_real_words | 0 | acc |" in text
    assert "growloop loop llama --schedule 1-2x2-1 --self-contained" in text
    assert str(root) not in text
    other = run(
        "loop", str(root / "llama"), "--schedule", "2-2x2", "--self-contained",
        "--leaderboard", str(store), "--out", str(root / "other"),
    )  # fmt: skip
    assert other.exit_code == 2
    assert "has no results of" in other.output
    assert not (root / "other").exists()
    alone = run("loop", str(root / "llama"), "--schedule", "4", "--leaderboard", "x", "--out", "y")
    assert alone.exit_code == 2
    assert "--self-contained" in alone.output


def test_push_to_hub_uploads_card_and_code(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    pushed: dict[str, Any] = {}

    class Api:
        def __init__(self, token: Any = None) -> None:
            pushed["token"] = token

        def create_repo(self, repo_id: str, **options: Any) -> Any:
            pushed["options"] = options
            return type("Url", (), {"repo_id": f"me/{repo_id}"})()

        def upload_folder(self, repo_id: str, folder_path: str, **options: Any) -> str:
            pushed["files"] = sorted(path.name for path in Path(folder_path).iterdir())
            pushed["card"] = (Path(folder_path) / "README.md").read_text()
            return f"https://hub/{repo_id}"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    model = growloop.loop(growloop.build("tiny", 4), "1-2x2-1")
    address = model.push_to_hub("tiny", self_contained=True, private=True, token="t", tags=["mine"])
    assert address == "https://hub/me/tiny"
    assert pushed["token"] == "t"
    assert pushed["options"]["private"] is True
    assert {"config.json", "model.safetensors", "modeling_looped.py", "README.md"} <= set(
        pushed["files"]
    )
    assert '- "mine"' in pushed["card"]
    assert 'from_pretrained("me/tiny"' in pushed["card"]
