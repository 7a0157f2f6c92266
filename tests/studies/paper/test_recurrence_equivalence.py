"""Recurrence equivalence: the law on simulated runs with a known exponent, the study end to end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from growloop.core.errors import InputError
from growloop.core.schedule import Schedule
from growloop.models import checkpoints, load, loop
from growloop.studies.catalog import find
from growloop.studies.measure.iso_depth_law import (
    IsoDepthFit,
    ScalingRun,
    _residuals,
    _scaled,
    fit_iso_depth_law,
)
from growloop.studies.paper.recurrence_equivalence import loops_of

from ...support.commands import refused
from ...tasks import tiny
from ..small import TEXTS, parsed, study


def simulated(
    phi: float, noise: float, seed: int, data: tuple[float, ...] = (1e9,)
) -> list[ScalingRun]:
    """Runs of the law: four sizes, one, two and four loops, some numbers of tokens."""
    random = np.random.default_rng(seed)
    runs = []
    for size in (2e6, 4e6, 8e6, 16e6):
        for loops in (1, 2, 4):
            for tokens in data:
                once, recurrent = 0.4 * size, 0.6 * size / loops
                parameters = once + loops**phi * recurrent
                loss = 1.8 + 0.8 * (parameters / 4e6) ** -0.3
                loss += 0.4 * (tokens / 3e8) ** -0.35 if len(data) > 1 else 0
                loss += random.normal(0, noise)
                runs.append(ScalingRun(once, recurrent, loops, tokens, loss))
    return runs


@pytest.mark.parametrize("data", [(1e9,), (1e8, 3e8, 1e9)])
@pytest.mark.parametrize("phi", [0.0, 0.46, 1.0])
def test_without_noise_the_exponent_is_found(phi: float, data: tuple[float, ...]) -> None:
    fit = fit_iso_depth_law(simulated(phi, 1e-6, 0, data))
    assert fit.phi == pytest.approx(phi, abs=0.011)  # a step of the grid
    assert (fit.beta is None) == (len(data) == 1)


@pytest.mark.parametrize("phi", [0.0, 0.46, 1.0])
def test_intervals_cover_the_exponent_as_often_as_they_say(phi: float) -> None:
    fits = [fit_iso_depth_law(simulated(phi, 0.01, seed)) for seed in range(500)]
    half = 0.005  # of a step of the grid
    covered = [fit.interval[0] - half <= phi <= fit.interval[1] + half for fit in fits]
    assert 0.92 <= np.mean(covered) <= 0.98  # three standard errors of a share of 0.95


def test_noise_says_that_the_data_cannot_tell() -> None:
    fit = fit_iso_depth_law(simulated(0.46, 0.5, 3))
    assert not fit.known
    assert "cannot tell" in fit.answer


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.3, 0.7), "helps, and is worth less"),
        ((0.3, 1.2), "may be worth as much"),
        ((-0.2, 0.5), "may be worth nothing"),
        ((1.1, 1.3), "worth more"),
        ((-0.4, -0.1), "loops harm"),
    ],
)
def test_the_answer_follows_from_the_interval(interval: tuple[float, float], said: str) -> None:
    assert said in IsoDepthFit(0.5, interval, 0.3, None, 0.01, 12, True).answer


def brute(losses: np.ndarray, terms: list[np.ndarray]) -> float:
    """Residual sum of squares of non-negative coefficients, by trying every set of terms."""

    def subsets() -> Iterator[list[np.ndarray]]:
        for mask in range(2 ** len(terms)):
            yield [term for place, term in enumerate(terms) if mask >> place & 1]

    best = np.inf
    for some in subsets():
        design = np.stack([np.ones_like(losses), *some], axis=1)
        found, *_ = np.linalg.lstsq(design, losses, rcond=None)
        if (found[1:] >= 0).all():
            best = min(best, float(((losses - design @ found) ** 2).sum()))
    return best


def test_fits_are_those_of_least_squares() -> None:
    random = np.random.default_rng(0)
    losses = random.normal(size=9)
    of_size = _scaled(random.uniform(1, 5, (3, 1, 9)), np.array([0.3, 0.9])[:, None])
    of_data = _scaled(random.uniform(1, 5, 9), np.array([0.2, 0.5, 0.8])[:, None])
    found = _residuals(losses, of_size, of_data)
    assert found.shape == (3, 2, 3)
    for phi in range(3):
        for alpha in range(2):
            alone = _residuals(losses, of_size, None)[phi, alpha]
            assert alone == pytest.approx(brute(losses, [of_size[phi, alpha]]))
            for beta in range(3):
                expected = brute(losses, [of_size[phi, alpha], of_data[beta]])
                assert found[phi, alpha, beta] == pytest.approx(expected)


def test_runs_that_cannot_tell_are_refused() -> None:
    runs = simulated(0.5, 0.01, 0)
    with pytest.raises(InputError, match="more than 4 runs, not 4"):
        fit_iso_depth_law(runs[:4])
    with pytest.raises(InputError, match="with and without loops"):
        fit_iso_depth_law([run for run in runs * 2 if run.loops == 1])
    with pytest.raises(InputError, match="several sizes"):
        fit_iso_depth_law([ScalingRun(1e6, 1e6, 1 + i % 2, 1e9, 2.0 + i / 9) for i in range(8)])


def test_the_number_of_loops_is_one_for_the_whole_model() -> None:
    assert [loops_of(Schedule.parse(text)) for text in ("4", "1-2x3-1", "2x2-2x2")] == [1, 3, 2]
    with pytest.raises(InputError, match="layers 2, 3 times"):
        loops_of(Schedule.parse("2x2-2x3"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Models of three depths, each with and without a loop, as if trained on 1,000 tokens."""
    folder, found = tmp_path_factory.mktemp("law"), {}
    for layers in (2, 3, 4):
        plain = tiny.save("llama", folder / f"plain-{layers}", layers=layers)
        for name, schedule in ((f"s{layers}", str(layers)), (f"l{layers}", f"{layers}x2")):
            model = load(str(plain))
            torch.manual_seed(layers)
            model = loop(model, schedule) if "x" in schedule else model
            path = folder / name
            checkpoints.save(model, checkpoints.load_tokenizer(str(plain)), path)
            run = {"name": name, "seed": 0, "model": {"preset": "tiny"}, "optimizer": {"lr": 1e-3}}
            about = {"step": 9, "tokens": 1000, "run": run}
            (path / "training.json").write_text(json.dumps(about))
            found[name] = str(path)
    return found


def test_the_study_counts_measures_and_fits(trained: dict[str, str], tmp_path: Path) -> None:
    models = [word for path in trained.values() for word in ("-m", path)]
    picture = tmp_path / "law.svg"
    options = [*TEXTS, "--out", str(tmp_path)]
    result = study("recurrence-equivalence", *models, *options, "--json")
    records = parsed(json.loads(result.stdout))
    by_name = {record.model_name: record.rows[0] for record in records}
    layer = by_name["s4"]["once"] / 4
    assert (by_name["l4"]["once"], by_name["l4"]["recurrent"]) == (0, 4 * layer)
    assert (by_name["l4"]["loops"], by_name["s4"]["loops"]) == (2, 1)
    assert by_name["l4"]["training_tokens"] == 1000
    last = find("recurrence-equivalence").table(records)[-1]
    assert last["what"] == "phi"
    assert last["answer"].startswith("phi = ")
    study("recurrence-equivalence", *models, *options, "--picture", str(picture))
    assert "<svg" in picture.read_text()
    few = find("recurrence-equivalence").table(records[:3])[-1]
    assert few["answer"].startswith("no fit: the law has 4 parameters")


def test_a_model_of_unknown_training_is_refused(models: dict[str, str], tmp_path: Path) -> None:
    options = [*TEXTS, "--out", str(tmp_path)]
    message = refused("study", "recurrence-equivalence", "-m", models["plain"], *options)
    assert "does not say how many tokens" in message
