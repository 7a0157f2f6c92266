"""Claims of the paper that studies test."""

from __future__ import annotations

from .claim import Claim, Comparison, RecordFilter, Term
from .model_filters import (
    FULL_LOOP,
    GROWN,
    ITERATIVE,
    PARTLY,
    PLAIN,
    PRIMITIVES,
    RETROFITTED,
    STANDARD,
    difference,
    difference_of_gains,
    with_conditions,
    with_repeats,
)

FINE_TUNING_CONDITIONS = ("train_depths", "lr", "epochs", "lora")
"""Conditions of fine-tuning that must be equal on both sides."""

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "grown-models-gain-from-repeats",
        "Repeating a middle block once at inference, without training, helps grown models more "
        "than standard ones.",
        "Figures 2 and 9",
        (
            Comparison(
                "gain of grown less gain of standard, one repeat of the chosen block",
                difference_of_gains(
                    with_repeats(GROWN, 0),
                    with_repeats(GROWN, 1),
                    minus=(with_repeats(STANDARD, 0), with_repeats(STANDARD, 1)),
                ),
                PRIMITIVES,
                0.01,
                study="inference-scaling",
                match=("effective_layers",),
            ),
        ),
    ),
    Claim(
        "first-repeat-gives-most",
        "Of the repeats of a block at inference the first gives grown models most.",
        "Figure 2 left",
        (
            Comparison(
                "gain of the first repeat",
                difference(with_repeats(GROWN, 1), with_repeats(GROWN, 0)),
                PRIMITIVES,
                0.01,
                study="inference-scaling",
                unit="items",
            ),
            Comparison(
                "gain of the first repeat less gain of the second",
                (
                    Term(2, with_repeats(GROWN, 1), "grown"),
                    Term(-1, with_repeats(GROWN, 0), "grown"),
                    Term(-1, with_repeats(GROWN, 2), "grown"),
                ),
                PRIMITIVES,
                0.01,
                study="inference-scaling",
                unit="items",
            ),
        ),
    ),
    Claim(
        "full-loops-depend-on-order",
        "Swapping two middle layers costs a fully looped model more than models with layers of "
        "their own before and after the loop, grown and standard ones.",
        "Figures 1 and 8",
        (
            Comparison(
                "loss by a swap: full loop less others",
                difference_of_gains(
                    with_conditions(PARTLY, swapped=0),
                    with_conditions(PARTLY, swapped=1),
                    minus=(
                        with_conditions(FULL_LOOP, swapped=0),
                        with_conditions(FULL_LOOP, swapped=1),
                    ),
                ),
                PRIMITIVES,
                0.01,
                study="swaps",
                match=("effective_layers",),
            ),
        ),
    ),
    Claim(
        "examples-help-iterative-models-more",
        "More examples in the prompt help looped and grown models more than standard ones.",
        "Figures 3 left and 13",
        (
            *(
                Comparison(
                    f"gain from the fewest to the most examples: {family} less standard",
                    (
                        Term(1, where, "first", "most"),
                        Term(-1, where, "first", "least"),
                        Term(-1, STANDARD, "second", "most"),
                        Term(1, STANDARD, "second", "least"),
                    ),
                    PRIMITIVES,
                    0.01,
                    study="in-context-scaling",
                    match=("effective_layers",),
                    vary="shots",
                )
                for family, where in ITERATIVE.items()
            ),
        ),
    ),
    Claim(
        "fine-tuning-needs-fewer-examples",
        "Fine-tuned on as many examples of variable assignment at depths 1 and 2, looped and "
        "grown models are better than standard ones.",
        "Figure 3 right, Figure 12",
        (
            *(
                Comparison(
                    f"{family} less standard, most examples",
                    (Term(1, where, level="most"), Term(-1, STANDARD, level="most")),
                    ("variable_assignment_code_d[12]",),
                    0.02,
                    study="sample-efficiency",
                    match=("effective_layers", *FINE_TUNING_CONDITIONS),
                    vary="examples",
                )
                for family, where in ITERATIVE.items()
            ),
        ),
    ),
    Claim(
        "ties-help-in-fine-tuning",
        "A looped model whose layers are untied for fine-tuning is worse than the same model "
        "left tied.",
        "Figure 12, appendix H.1",
        (
            Comparison(
                "tied less untied, most examples",
                (
                    Term(1, RecordFilter(family=("looped",)), level="most"),
                    Term(-1, RecordFilter(family=("untied",)), level="most"),
                ),
                ("variable_assignment_code_d[12]",),
                0.01,
                study="sample-efficiency",
                match=("schedule", *FINE_TUNING_CONDITIONS),
                vary="examples",
            ),
        ),
    ),
    Claim(
        "retrofit-stabilises",
        "After such a retrofit three extra repeats at inference cost less than before it.",
        "Figure 2 right, Figures 14 and 15",
        (
            Comparison(
                "change by three repeats: retrofitted less standard and grown",
                difference_of_gains(
                    with_repeats(RETROFITTED, 0),
                    with_repeats(RETROFITTED, 3),
                    minus=(with_repeats(PLAIN, 0), with_repeats(PLAIN, 3)),
                ),
                PRIMITIVES,
                0.01,
                study="inference-scaling",
                match=("unique_layers", "growth"),
            ),
        ),
    ),
    Claim(
        "late-layers-are-used",
        "Looped and grown models use their late layers more than standard ones: a higher depth "
        "score, less overlap of early and final predictions, a lower accuracy at an early exit.",
        "Figure 5",
        (
            *(
                Comparison(
                    f"depth score, as a share of the depth: {family} less standard",
                    difference(where, STANDARD),
                    ("depth_score*",),
                    0.02,
                    metric="depth_score",
                    study="depth",
                    match=("effective_layers",),
                )
                for family, where in ITERATIVE.items()
            ),
            *(
                Comparison(
                    f"top-5 overlap at the same place: standard less {family}",
                    difference(STANDARD, where),
                    ("top5_overlap*",),
                    0.02,
                    metric="overlap",
                    study="depth",
                    match=("effective_layers", "place", "lens"),
                )
                for family, where in ITERATIVE.items()
            ),
            *(
                Comparison(
                    f"accuracy at an exit at the same place: standard less {family}",
                    difference(STANDARD, where),
                    ("variable_assignment_math*", PRIMITIVES[1]),
                    0.02,
                    study="depth",
                    match=("effective_layers", "place", "lens"),
                )
                for family, where in ITERATIVE.items()
            ),
        ),
    ),
    Claim(
        "contributions-are-periodic",
        "What attention adds to the residual stream recurs with the block size in looped and "
        "grown models, more than in standard ones.",
        "Figures 6 and 11",
        tuple(
            Comparison(
                f"autocorrelation of attention contributions at the block size: {family} less "
                "standard",
                difference(where, STANDARD),
                ("attention_contribution*",),
                0.1,
                metric="periodicity",
                study="contributions",
                match=("effective_layers", "block"),
            )
            for family, where in ITERATIVE.items()
        ),
    ),
)
