"""The theme: every colour that pages and charts use is defined, and visible on its background."""

from __future__ import annotations

import re
from pathlib import Path

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


def test_dashes_of_models_are_not_the_dots_of_the_chance_level() -> None:
    assert theme.DOTS not in theme.DASHES
    assert len(set(theme.DASHES)) == len(theme.DASHES)


def test_charts_draw_lines_in_the_colours_of_the_pages() -> None:
    config = theme.altair_config(DARK)
    assert config["range"]["category"] == list(DARK.series)
    assert config["background"] == DARK.variables()["paper"]
