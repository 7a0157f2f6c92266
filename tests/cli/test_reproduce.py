"""``growloop reproduce``: plans, and the laptop's protocol in its smallest form, killed midway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from growloop.core.errors import InputError
from growloop.core.locks import InUseError
from growloop.leaderboard import Store
from growloop.studies.reproduce.parallel import Subprocess, run_parallel
from growloop.studies.reproduce.plan import plan_cells, select_cells
from growloop.studies.reproduce.scales import find_scale
from growloop.studies.reproduce.training_job import TrainingJob, last_step
from growloop.studies.work_folder import locked, use_folder

from ..support.commands import refused, run
from ..support.killed_commands import kept, until

ROWS = ["standard", "standard-3", "standard-4", "loop-3x2", "loop-1-2x2-1", "midas", "lidas"]
STUDIES = [
    "trade-offs",
    "inference-scaling",
    "in-context-scaling",
    "swaps",
    "depth",
    "contributions",
    "local-effects",
    "loops-against-depth",
    "weight-similarity",
    "adaptive-exit",
    "cooldown",
    "retrofit",
    "sample-efficiency",
]
FAST = ["reproduce", "laptop", "--fast", "--seeds", "1", "--out", "r", "--device", "cpu"]


def plan(*arguments: str) -> dict[str, Any]:
    result = run("reproduce", *arguments, "--plan", "--format", "json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_cells_of_the_laptop_keep_their_names_and_places() -> None:
    found = plan("laptop", "--seeds", "2", "--device", "cpu")
    rows = dict.fromkeys(["train", "score", *STUDIES], ROWS)
    rows |= {kind: ["standard", "lidas"] for kind in ("cooldown", "retrofit") if kind in rows}
    rows |= {"sample-efficiency-untied": [row for row in ROWS if row.startswith("loop")]}
    wanted = [f"{kind}/{row}/{seed}" for kind in rows for row in rows[kind] for seed in (0, 1)]
    wanted += ["records", "page"]
    assert [cell["id"] for cell in found["cells"]] == wanted
    assert [cell["number"] for cell in found["cells"]] == list(range(len(wanted)))
    by_id = {cell["id"]: cell for cell in found["cells"]}
    assert by_id["swaps/midas/1"]["needs"] == ["train/midas/1"]
    standard, grown = by_id["train/standard/0"], by_id["train/lidas/0"]
    assert standard["steps"] == grown["steps"] == 3500
    assert grown["flops"] < 0.85 * standard["flops"]
    assert found["total"]["hours"] == pytest.approx(sum(c["hours"] for c in found["cells"]))
    assert 0 < found["total"]["hours_left"] == found["total"]["hours"]
    assert found["data"] == []
    assert not Path("reproduce-laptop").exists()


@pytest.mark.parametrize(
    ("name", "branches", "flops"),
    [("360m", ["finemath", "nemotron"], 4.762e20), ("1.7b", ["retrofit-8-11"], 3.737e21)],
)
def test_large_scales_are_planned_in_gpu_hours(
    name: str, branches: list[str], flops: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    given = [name, "--seeds", "1", "--only", "train/lidas*", "--device", "cpu"]
    found = plan(*given, "--mfu", "0.5", "--peak", "1e15")
    first, *others = found["cells"]
    assert {f"train/lidas-{branch}/0" for branch in branches} <= {cell["id"] for cell in others}
    assert found["hours_are"] == "GPU-hours"
    assert first["flops"] == pytest.approx(flops, rel=0.01)
    for cell in found["cells"]:
        assert cell["hours"] == pytest.approx(cell["flops"] / 5e14 / 3600)
        assert cell["command"].startswith("accelerate launch -m growloop.cli train ")
        # what goes on from another row has steps of its own alone
        assert cell["steps"] == (200_000 if cell is first else 30_000)
        assert cell["needs"] == ([] if cell is first else ["train/lidas/0"])
    assert {need["name"]: need["found"] for need in found["data"]}["fineweb-edu"] == "missing"
    text = run("reproduce", *given, "--plan").stdout
    assert f"--array={first['number']} " in text
    assert "--dependency=afterok:$id" in text


@pytest.mark.parametrize(("name", "rows"), [("360m", 9 + 6), ("1.7b", 8 + 8)])
def test_every_row_of_the_tables_is_trained(name: str, rows: int) -> None:
    planned = plan_cells(find_scale(name), 2)
    trained = select_cells(planned, "train")
    assert len(trained) == 2 * rows
    assert len({cell.id for cell in planned}) == len(planned)
    places = {cell.id: cell.number for cell in planned}
    assert all(places[need] < cell.number for cell in planned for need in cell.needs)


def test_what_is_missing_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = refused("reproduce", "360m", "--cell", "0", "--device", "cpu")
    assert "cell 0 (train/baseline/0): no token shards of fineweb-edu: growloop tokenize" in said
    said = refused("reproduce", "360m", "--cell", "50", "--device", "cpu")
    assert "needs cell" in said
    assert "which is not done yet" in said


def test_wrong_arguments_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "did you mean 'laptop'" in refused("reproduce", "labtop")
    assert "did you mean '360m'" in refused("reproduce", "360")
    assert "unknown scale for --fast '360m'" in refused("reproduce", "360m", "--fast")
    assert "from 1 to 1000" in refused("reproduce", "laptop", "--seeds", "0")
    assert "no cell is like 'lida'" in refused("reproduce", "laptop", "--only", "lida")
    assert "--cell is a number from 0 to" in refused(*FAST, "--cell", "999")
    assert "--mfu must be more than 0" in refused("reproduce", "laptop", "--plan", "--mfu", "0")
    assert "no device 'gpu'" in refused("reproduce", "laptop", "--device", "gpu")
    assert "did you mean 'json'" in refused("reproduce", "laptop", "--format", "jsn")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_killed_it_goes_on_and_a_cell_is_done_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    loops = [*FAST, "--only", "loop-3x2"]
    folder = tmp_path / "r/runs/loop-3x2-0"
    numbers = {c["id"]: c["number"] for c in plan(*FAST[1:])["cells"]}
    score = str(numbers["score/loop-3x2/0"])
    assert "needs cell 1 (train/loop-3x2/0), which is not done yet" in refused(
        *FAST, "--cell", score
    )
    killed = subprocess.Popen(
        [sys.executable, "-m", "growloop.cli", *loops], stderr=subprocess.DEVNULL
    )
    until(lambda: (last_step(folder) or (0,))[0] >= 5)
    assert f"r is in use by process {killed.pid} on" in refused(*loops)
    assert "is in use by process" in refused(*FAST, "--cell", score)
    killed.kill()
    killed.wait()
    until(lambda: list(folder.glob("step-*/manifest.json")))  # the training notices and saves
    result = run(*loops)
    assert result.exit_code == 0, result.output
    assert "going on after step" in (folder / "train.log").read_text()
    assert sorted(path.parent.parent.name for path in (tmp_path / "r/cells").rglob("0.json")) == (
        sorted(["score", *STUDIES])
    )
    assert not (tmp_path / "r/site").exists()  # page is no loop-3x2
    before = kept(tmp_path / "r")
    assert run(*loops).exit_code == 0
    assert run(*FAST, "--cell", score).exit_code == 0
    assert kept(tmp_path / "r") == before  # nothing was done again
    again = [f"{kind}/loop-3x2/0" for kind in ("contributions", "weight-similarity")]
    for name in again:
        (tmp_path / f"r/cells/{name}.json").unlink()
    beside = [  # cells of one model, which must not read each other's logs
        subprocess.Popen(
            [sys.executable, "-m", "growloop.cli", *FAST, "--cell", str(numbers[name])]
        )
        for name in again
    ]
    assert [process.wait() for process in beside] == [0, 0]
    for name in again:
        told = (tmp_path / "r/logs" / f"{name.replace('/', '-')}.log").read_text().splitlines()
        assert {json.loads(line)["cell"] for line in told if line.startswith("{")} == {name}
    for kind in ("records", "page"):
        result = run(*FAST, "--cell", str(numbers[kind]), "--format", "json")
        assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert "lessons-loop-3x2" in Path(found["page"]).read_text(encoding="utf-8")
    assert found["claims"]["lidas-over-midas-over-standard"] == "not run at this scale"
    store = Store("r/records").scan()
    assert not store.problems
    assert {record.study for record in store.records} >= {None, "inference-scaling", "depth"}
    assert "sample-efficiency" in {record.study for record in store.records}
    for record in store.records:
        assert record.model.seed == 0
        assert record.model.name.startswith("lessons-loop-3x2")  # its cooldowns say which
        assert record.device == "cpu"
        assert record.command is not None
        assert record.command.startswith("growloop reproduce laptop --fast")
    done = plan(*FAST[1:])["cells"]
    assert {c["id"] for c in done if c["done"]} == {c for c in numbers if "/loop-3x2/" in c}


def test_a_folder_is_of_one_process_at_a_time(tmp_path: Path) -> None:
    with use_folder(tmp_path / "q", "plan", "text", "quick start"):
        for shared in (False, True):
            with (
                pytest.raises(InUseError, match=rf"q is in use by process {os.getpid()} on"),
                use_folder(tmp_path / "q", "plan", "text", "quick start", shared),
            ):
                pass
    with (
        use_folder(tmp_path / "q", "plan", "text", "quick start", shared=True),
        use_folder(tmp_path / "q", "plan", "text", "quick start", shared=True),
    ):
        pass
    assert [path.name for path in (tmp_path / "q").iterdir() if path.name[0] != "."] == ["plan"]


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from growloop.studies.work_folder import locked\n"
        f"with locked(Path({str(tmp_path / 'l')!r}), False, 'x is used'):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    held = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert held.stdout is not None
    assert held.stdout.readline() == "held\n"
    with (
        pytest.raises(InUseError, match=f"x is used by process {held.pid} on"),
        locked(tmp_path / "l", False, "x is used"),
    ):
        pass
    held.kill()
    held.wait()
    held.stdout.close()
    with locked(tmp_path / "l", False, "x is used"):
        pass


def test_what_does_not_need_a_failed_part_is_done_all_the_same(tmp_path: Path) -> None:
    def job(name: str, code: str, *needs: str) -> Subprocess:
        command = [sys.executable, "-c", code]
        return Subprocess(name, command, tmp_path / f"{name}.log", needs=frozenset(needs))

    def write(name: str) -> str:
        return f"open({str(tmp_path / name)!r}, 'w').close()"

    jobs = [
        job("bad", "raise SystemExit('out of luck')"),
        job("after", write("never"), "bad"),
        job("good", write("done")),
        job("last", write("last"), "good"),
    ]
    with pytest.raises(InputError, match=r"bad failed: out of luck"):
        run_parallel(jobs, 2, keep_going=True)
    assert {path.name for path in tmp_path.iterdir() if not path.suffix} == {"done", "last"}


def test_a_variant_begins_with_the_checkpoint_of_its_base(tmp_path: Path) -> None:
    base = tmp_path / "base/step-000000006"
    base.mkdir(parents=True)
    (base / "weights").write_text("w")
    variant = TrainingJob("v", {"name": "v", "steps": 9}, tmp_path / "v", base, distributed=True)
    variant.prepare()
    (tmp_path / "v" / base.name / "weights").write_text("own by now")
    variant.prepare()
    assert (tmp_path / "v" / base.name / "weights").read_text() == "own by now"
    assert "--force" in variant.shell_command
    assert "--force" in variant.command
