"""Figures of the docs: one theme, text that can be read, a finding as title."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "figures"
FIGURES = sorted(FOLDER.glob("*.svg"))
DRAWN = {"loop-and-grow", "primitives", "quickstart", "repeated", "trie"}  # by our own code
FINDINGS = json.loads((FOLDER / "findings.json").read_text(encoding="utf-8"))


def program(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"figures_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


restyle = program("restyle")


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.stem)
def test_text_has_at_least_11_px(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    sizes = re.findall(r'font-size="([\d.]+)(?:px)?"', text)
    sizes += re.findall(r"font:(?:\w+ )?([\d.]+)px", text)
    assert sizes
    assert min(map(float, sizes)) >= 11


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.stem)
def test_a_model_has_its_colour_of_the_theme(path: Path) -> None:
    root = ET.fromstring(path.read_text(encoding="utf-8"))
    for pairs in restyle.legends(root):
        labels = [label for label, _ in pairs]
        assert [colour for _, colour in pairs] == restyle.expected(labels)


def test_models_of_the_quick_start_have_their_colours_of_the_theme() -> None:
    svg = f"{{{restyle.SVG}}}"
    root = _root(FOLDER / "quickstart.svg")
    labels = [text.text for text in root.iter(f"{svg}text")]
    kinds = ["Standard 6", "Standard 3", "Loop(3x2)", "LIDAS"]
    assert [label for label in labels if label in kinds] == kinds
    dots = [
        path
        for path in root.iter(f"{svg}path")
        if "circle" in str(path.get("aria-roledescription"))
    ]
    drawn: dict[str, set[str | None]] = {}
    for dot in dots:
        [kind] = [kind for kind in kinds if f"model: {kind};" in f"{dot.get('aria-label')};"]
        drawn.setdefault(kind, set()).add(dot.get("fill"))
    series = restyle.theme.LIGHT.series
    assert drawn == {kind: {series[restyle.theme.series_index(kind)]} for kind in kinds}
    assert len({series[restyle.theme.series_index(kind)] for kind in [*kinds, "MIDAS"]}) == 5


def test_the_quick_starts_are_drawn_from_their_stored_scores() -> None:
    rows = json.loads((FOLDER / "quickstart.json").read_text(encoding="utf-8"))
    drawn = re.findall(
        r'aria-label="accuracy, [\w ]+: ([\d.]+); model: ([^;]+); seed: (\d+)"',
        (FOLDER / "quickstart.svg").read_text(encoding="utf-8"),
    )
    assert sorted((int(s), m, float(a)) for a, m, s in drawn) == sorted(
        (row["seed"], row["model"], row["accuracy"]) for row in rows
    )
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in rows)


def test_new_quick_starts_replace_the_scores_of_their_seed_and_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickstart = program("quickstart")
    copy = tmp_path / "quickstart.json"
    shutil.copy(FOLDER / "quickstart.json", copy)
    monkeypatch.setattr(quickstart, "STORED", copy)
    before = quickstart.stored()
    quickstart.update([before[0] | {"accuracy": 0.5}, before[0] | {"seed": 99}])
    after = quickstart.stored()
    assert after[0] == before[0] | {"accuracy": 0.5}
    assert after[1:-1] == before[1:]
    assert after[-1]["seed"] == 99


def test_legends_are_found() -> None:
    pairs = {
        path.stem: [pair for legend in restyle.legends(_root(path)) for pair in legend]
        for path in FIGURES
    }
    lidas = {colour for found in pairs.values() for label, colour in found if "lidas" in label}
    assert lidas == {restyle.theme.LIGHT.series[2]}
    assert len(pairs["contributions-lessons"]) == 5
    assert sum(map(bool, pairs.values())) >= 20


def test_the_finding_is_the_title() -> None:
    assert set(FINDINGS) | DRAWN == {path.stem for path in FIGURES}
    for name, finding in FINDINGS.items():
        root = _root(FOLDER / f"{name}.svg")
        lines = root.findall(f"{{{restyle.SVG}}}text[@class='finding']")
        assert " ".join(line.text or "" for line in lines) == finding


def test_restyling_again_changes_nothing_and_a_new_finding_replaces_the_old(tmp_path: Path) -> None:
    path = tmp_path / "retrofit.svg"
    shutil.copy(FOLDER / "retrofit.svg", path)
    before = path.read_bytes()
    restyle.restyle(path, FINDINGS["retrofit"])
    assert path.read_bytes() == before
    restyle.restyle(path, "Another finding")
    assert b"Another finding" in path.read_bytes()
    assert FINDINGS["retrofit"].split(";")[0].encode() not in path.read_bytes()
    restyle.restyle(path, FINDINGS["retrofit"])
    assert path.read_bytes() == before


@pytest.mark.parametrize(("name", "figure"), [("loop_and_grow", "loop-and-grow"), ("trie", "trie")])
def test_figures_of_our_own_code_are_what_it_draws(name: str, figure: str, tmp_path: Path) -> None:
    program(name).main(str(tmp_path / "a.svg"))
    drawn = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert drawn == (FOLDER / f"{figure}.svg").read_text(encoding="utf-8")


def _root(path: Path) -> ET.Element:
    return ET.fromstring(path.read_text(encoding="utf-8"))
