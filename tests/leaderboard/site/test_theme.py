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
    for colour in (*palette.series, *palette.families.values()):
        assert contrast(colour, palette.background) >= 3, colour
    for colour in (palette.ink, palette.faint, palette.link, palette.supported):
        assert contrast(colour, palette.background) >= 4.5, colour


def test_light_and_dark_have_the_same_variables() -> None:
    assert LIGHT.variables().keys() == DARK.variables().keys()


def test_every_variable_of_the_style_sheet_is_defined() -> None:
    css = theme.css() + (STATIC / "style.css").read_text(encoding="utf-8")
    used = set(re.findall(r"var\(--([\w-]+)\)", css))
    assert used <= {*LIGHT.variables(), "font"}


def test_charts_draw_lines_in_the_colours_of_the_pages() -> None:
    config = theme.altair_config(DARK)
    assert config["range"]["category"] == list(DARK.series)
    assert config["background"] == DARK.variables()["paper"]
