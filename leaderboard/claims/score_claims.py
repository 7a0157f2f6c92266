"""Claims of the paper that plain evaluations and training costs test."""

from __future__ import annotations

from .claim import Claim, Comparison, RecordFilter
from .model_filters import GROWN, LIDAS, LOOPED, MIDAS, PRIMITIVES, STANDARD, difference


def _cooled_down(recipe: str) -> RecordFilter:
    """Select models of the paper's families by the recipe of their cooldown."""
    return RecordFilter(family=("standard", "grown", "looped"), recipe=recipe)


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "looping-at-equal-parameters",
        "A looped model answers more reasoning primitives than a standard one with as many "
        "unique layers.",
        "Table 3, Figure 4 left",
        (
            Comparison(
                "looped less standard, as many unique layers",
                difference(LOOPED, STANDARD),
                PRIMITIVES,
                0.01,
                match=("unique_layers",),
            ),
        ),
    ),
    Claim(
        "looping-at-equal-inference",
        "A looped model that keeps half of the layers unique answers more reasoning primitives "
        "than a standard one of the same effective depth.",
        "Table 3, Figure 4 middle",
        (
            Comparison(
                "looped less standard, as many layers run",
                difference(RecordFilter(family=("looped",), unique_share=0.5, recipe=""), STANDARD),
                PRIMITIVES,
                0.01,
                match=("effective_layers",),
            ),
        ),
    ),
    Claim(
        "growing-saves-training",
        "A grown model has the held-out loss of a standard one after a tenth less training "
        "FLOPs or still fewer.",
        "Table 3, Figure 4 right, appendix F",
        (
            Comparison(
                "share of training FLOPs saved by growing",
                difference(GROWN, STANDARD),
                ("*",),
                0.1,
                match=("effective_layers",),
                quantity="training_flops",
            ),
            Comparison(
                "held-out loss of standard less grown",
                difference(GROWN, STANDARD),
                ("held_out*|holdout",),
                -0.02,
                metric="nll|nats_per_token",
                match=("effective_layers",),
            ),
        ),
    ),
    Claim(
        "lidas-over-midas-over-standard",
        "On reasoning primitives LIDAS is better than MIDAS, and MIDAS better than a standard "
        "model of the same depth.",
        "Table 3",
        (
            Comparison(
                "LIDAS less MIDAS",
                difference(LIDAS, MIDAS),
                PRIMITIVES,
                0.01,
                match=("effective_layers",),
            ),
            Comparison(
                "MIDAS less standard",
                difference(MIDAS, STANDARD),
                PRIMITIVES,
                0.01,
                match=("effective_layers",),
            ),
        ),
    ),
    Claim(
        "retrofit-improves",
        "Looping a middle block of a model grown by LIDAS during the cooldown improves reasoning "
        "over the same cooldown without the loop.",
        "Table 2",
        (
            Comparison(
                "grown and retrofitted less grown, same cooldown",
                difference(
                    RecordFilter(family=("retrofitted",), operator="lidas"),
                    RecordFilter(family=("grown",), operator="lidas"),
                ),
                PRIMITIVES,
                0.01,
                match=("unique_layers", "mixture"),
            ),
        ),
    ),
    Claim(
        "better-math-in-the-cooldown-helps",
        "A fifth of Nemotron-CC-Math in the cooldown is better for reasoning than a fifth of "
        "FineMath, and that better than the usual mixture.",
        "Tables 2 and 4",
        (
            Comparison(
                "Nemotron-CC-Math less FineMath",
                difference(
                    _cooled_down("cooldown NMT*"),
                    _cooled_down("cooldown FMT*"),
                ),
                PRIMITIVES,
                0.01,
                match=("family", "schedule", "growth"),
            ),
            Comparison(
                "FineMath less the usual mixture",
                difference(
                    _cooled_down("cooldown FMT*"),
                    _cooled_down(""),
                ),
                PRIMITIVES,
                0.01,
                match=("family", "schedule", "growth"),
            ),
        ),
    ),
)
