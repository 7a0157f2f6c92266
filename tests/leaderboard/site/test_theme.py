"""The theme: every colour that pages and charts use is defined, and visible on its background."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from growloop.leaderboard.site import theme
from growloop.leaderboard.site.theme import DARK, LIGHT, Palette

STATIC = Path(theme.__file__).resolve().parent / "static"


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


CONES = {  # colours as seen without a kind of cones, linear RGB: Machado, Oliveira, Fernandes 2009
    "all": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "red missing": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "green missing": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "blue missing": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]


def lab(colour: str, cones: list[list[float]]) -> np.ndarray:
    """CIE L*a*b* of a colour as seen with some cones."""
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(cones @ linear, 0, 1) / [0.9505, 1.0, 1.089]
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


@pytest.mark.parametrize("cones", CONES)
@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_any_two_series_colours_differ_for_colour_blind_readers_too(
    palette: Palette, cones: str
) -> None:
    seen = [lab(colour, CONES[cones]) for colour in palette.series]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) >= 20


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_colours_are_visible_on_the_background(palette: Palette) -> None:
    for colour in palette.series:
        assert contrast(colour, palette.background) >= 3, colour
    for colour in (palette.ink, palette.faint, palette.link, palette.supported):
        assert contrast(colour, palette.background) >= 4.5, colour


def test_light_and_dark_have_the_same_variables() -> None:
    assert LIGHT.variables().keys() == DARK.variables().keys()


def test_every_variable_of_the_style_sheet_is_defined() -> None:
    css = theme.css() + (STATIC / "style.css").read_text(encoding="utf-8")
    used = set(re.findall(r"var\(--([\w-]+)\)", css))
    assert used <= {*LIGHT.variables(), "font"}


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_scores_can_be_read_on_every_shade_of_the_matrix(palette: Palette) -> None:
    mixed = [
        round(
            0.45 * int(palette.series[0][i : i + 2], 16)
            + 0.55 * int(palette.background[i : i + 2], 16)
        )
        for i in (1, 3, 5)
    ]
    assert contrast(palette.ink, "#" + "".join(f"{part:02x}" for part in mixed)) >= 4.5


def test_a_method_has_one_colour_whatever_the_size_or_the_seed() -> None:
    names = ["lessons-lidas", "LIDAS 360M", "lidas-s1-sft-sums", "SmolLM2-135M-Instruct-LIDAS-34"]
    assert len({theme.series_index(name) for name in names}) == 1
    kinds = ["standard", "standard-3", "loop-3x2", "loop-1-2x2-1", "midas", "lidas", "untied"]
    assert len({theme.series_index(name) for name in [*kinds, "retrofit"]}) == 8
    assert theme.series_index("Standard 1.7B") == theme.series_index("standard")
    assert theme.series_index("a model") == theme.series_index("a model")


def test_no_colour_is_twice_in_a_chart_of_eight_models_and_lidas_keeps_its_own() -> None:
    found = theme.series_colours(["lidas", "lidas-b", *(f"model-{n}" for n in range(6))])
    assert len(set(found)) == 8
    assert found[0] == LIGHT.series[theme.series_index("lidas")]


def test_a_second_model_of_one_colour_takes_no_colour_that_another_model_of_the_chart_has() -> None:
    found = theme.series_colours(["Standard 4", "Standard 3", "midas", "retrofit"])
    assert len(set(found)) == 4
    assert [found[0], *found[2:]] == [
        LIGHT.series[theme.series_index(name)] for name in ("standard-4", "midas", "retrofit")
    ]
    again = theme.series_colours([f"lidas-{n}" for n in range(10)])
    assert len(set(again)) == 8


def test_a_standard_model_of_full_depth_has_the_colour_of_the_standard_model() -> None:
    full = ("Standard 6", "standard-24", "Standard 32", "lessons-standard", "Standard 1.7B")
    assert {theme.series_index(name) for name in full} == {theme.series_index("standard")}
    fewer = ("Standard 3", "quickstart-standard-3", "standard-4", "Standard 12", "standard 16")
    assert len({theme.series_index(name) for name in fewer}) == 1
    assert theme.series_index("Standard 3") not in {
        theme.series_index(name) for name in ("standard", "midas", "lidas", "loop-3x2")
    }


def test_dashes_of_models_are_not_the_dots_of_the_chance_level() -> None:
    assert theme.DOTS not in theme.DASHES
    assert len(set(theme.DASHES)) == len(theme.DASHES)


def test_charts_draw_lines_in_the_colours_of_the_pages() -> None:
    config = theme.altair_config(DARK)
    assert config["range"]["category"] == list(DARK.series)
    assert config["background"] == DARK.variables()["paper"]


def test_charts_of_studies_have_the_models_colours_on_light_and_dark() -> None:
    alt = pytest.importorskip("altair")
    from growloop.studies.measure import charts

    names = ["lessons-loop-3x2", "lessons-lidas"]
    rows = [{"model": name, "x": x} for name in names for x in (1, 2)]
    chart = alt.Chart(charts.rows(rows)).mark_line()
    chart = chart.encode(x="x:Q", y="x:Q", color=charts.colour("model", names))
    for dark, palette in ((False, LIGHT), (True, DARK)):
        spec = charts.finish(chart, dark).to_dict()
        expected = [palette.series[theme.series_index(name)] for name in names]
        assert spec["encoding"]["color"]["scale"]["range"] == expected
