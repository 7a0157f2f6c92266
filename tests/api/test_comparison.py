"""``growloop.compare``: results in memory, in files, and in records."""

from __future__ import annotations

from pathlib import Path

import growloop
import pytest
from growloop import InputError

from ..support.commands import run

TASK = "copying_real_words"


def test_results_in_memory_compare_as_their_files(
    plain: Path, looped: Path, tmp_path: Path
) -> None:
    results = [
        growloop.evaluate(model, TASK, items=12, shots=1, out=tmp_path / model.name)
        for model in (looped, plain)
    ]
    here = growloop.compare(*results)
    there = growloop.compare(tmp_path / "looped", tmp_path / "plain")
    assert here.to_rows() == there.to_rows()
    assert here.to_rows()[0]["n"] == 12
    assert here.chart().to_dict()["vconcat"]
    command = run("compare", str(tmp_path / "looped"), str(tmp_path / "plain"), "--csv")
    assert command.exit_code == 0
    assert TASK in command.output
    assert "difference" in here._repr_html_()
    mixed = growloop.compare(results[0], tmp_path / "plain", TASK)
    assert mixed.to_rows() == here.to_rows()


def test_bad_input_is_one_sentence(plain: Path) -> None:
    both = growloop.evaluate(plain, TASK, items=4, shots=0, repeat=(1, 2), times=[0, 1])
    with pytest.raises(InputError, match="has 2 schedules"):
        growloop.compare(both, both)
    with pytest.raises(InputError, match="not 3"):
        growloop.compare(3, both)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="does not exist"):
        growloop.compare("nowhere", "nowhere")
