"""Claims about models as they are: from plain evaluations, and what training cost."""

from __future__ import annotations

from .kinds import GROWN, LIDAS, LOOPED, MIDAS, PRIMITIVES, STANDARD, more
from .queries import Claim, Comparison, Where

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "looping-at-equal-parameters",
        "A looped model answers more reasoning primitives than a standard one with as many "
        "unique layers.",
        "Table 3, Figure 4 left",
        (
            Comparison(
                "looped less standard, as many unique layers",
                more(LOOPED, STANDARD),
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
                more(Where(family=("looped",), unique_share=0.5, recipe=""), STANDARD),
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
                more(GROWN, STANDARD),
                ("*",),
                0.1,
                match=("effective_layers",),
                of="training_flops",
            ),
            Comparison(
                "held-out loss of standard less grown",
                more(GROWN, STANDARD),
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
                more(LIDAS, MIDAS),
                PRIMITIVES,
                0.01,
                match=("effective_layers",),
            ),
            Comparison(
                "MIDAS less standard",
                more(MIDAS, STANDARD),
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
                more(
                    Where(family=("retrofitted",), operator="lidas"),
                    Where(family=("grown",), operator="lidas"),
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
                more(
                    Where(family=("standard", "grown", "looped"), recipe="cooldown NMT*"),
                    Where(family=("standard", "grown", "looped"), recipe="cooldown FMT*"),
                ),
                PRIMITIVES,
                0.01,
                match=("family", "schedule", "growth"),
            ),
            Comparison(
                "FineMath less the usual mixture",
                more(
                    Where(family=("standard", "grown", "looped"), recipe="cooldown FMT*"),
                    Where(family=("standard", "grown", "looped"), recipe=""),
                ),
                PRIMITIVES,
                0.01,
                match=("family", "schedule", "growth"),
            ),
        ),
    ),
)
