"""The paper's claims (arXiv:2602.16490) in testable form.

What a claim looks for is what the studies write: the names of studies, conditions and metrics here
are theirs. Effects are in the unit of the metric, for accuracies in shares.
"""

from __future__ import annotations

from .claims import Claim, Comparison, Term, Where

PRIMITIVES = ("reasoning_primitives*", "copying_*|variable_assignment_*")
STANDARD = Where(family=("standard",), recipe="")
LOOPED = Where(family=("looped",), recipe="")
GROWN = Where(family=("grown",), recipe="")
KINDS = {"looped": LOOPED, "grown": GROWN}
LIDAS = Where(family=("grown",), operator="lidas", recipe="")
MIDAS = Where(family=("grown",), operator="midas", recipe="")
RETROFITTED = Where(family=("retrofitted",))
PLAIN = Where(family=("standard", "grown"), recipe="")
FULL_LOOP = Where(family=("looped",), notation=r"\d+x\d+", recipe="")
PARTLY = Where(family=("looped", "grown", "standard"), notation=r"(\d+-)?\d+(x\d+-\d+)?", recipe="")


def _with(where: Where, **conditions: str | int | float | bool | None) -> Where:
    return Where(
        where.family,
        where.operator,
        where.notation,
        where.unique_share,
        where.recipe,
        (*where.conditions, *conditions.items()),
    )


def _more(plus: Where, minus: Where) -> tuple[Term, ...]:
    return Term(1, plus), Term(-1, minus)


def _repeated(where: Where, times: int) -> Where:
    """Runs of ``inference-scaling``: as it is, or with the block that validation chose repeated."""
    if times == 0:
        return _with(where, times=0, control=None)
    return _with(where, times=times, chosen=True, control=None)


def _gain(before: Where, after: Where, than: tuple[Where, Where]) -> tuple[Term, ...]:
    """How much a change gains some models, less how much it gains others."""
    return (
        Term(1, after, "first"),
        Term(-1, before, "first"),
        Term(-1, than[1], "second"),
        Term(1, than[0], "second"),
    )


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "looping-at-equal-parameters",
        "A looped model answers more reasoning primitives than a standard one with as many "
        "unique layers.",
        "Table 3, Figure 4 left",
        (
            Comparison(
                "looped less standard, as many unique layers",
                _more(LOOPED, STANDARD),
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
                _more(Where(family=("looped",), unique_share=0.5, recipe=""), STANDARD),
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
                _more(GROWN, STANDARD),
                ("*",),
                0.1,
                match=("effective_layers",),
                of="training_flops",
            ),
            Comparison(
                "held-out loss of standard less grown",
                _more(GROWN, STANDARD),
                ("held_out*",),
                -0.02,
                metric="nll",
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
                _more(LIDAS, MIDAS),
                PRIMITIVES,
                0.01,
                match=("effective_layers",),
            ),
            Comparison(
                "MIDAS less standard",
                _more(MIDAS, STANDARD),
                PRIMITIVES,
                0.01,
                match=("effective_layers",),
            ),
        ),
    ),
    Claim(
        "grown-models-gain-from-repeats",
        "Repeating a middle block once at inference, without training, helps grown models more "
        "than standard ones.",
        "Figures 2 and 9",
        (
            Comparison(
                "gain of grown less gain of standard, one repeat of the chosen block",
                _gain(
                    _repeated(GROWN, 0),
                    _repeated(GROWN, 1),
                    than=(_repeated(STANDARD, 0), _repeated(STANDARD, 1)),
                ),
                PRIMITIVES,
                0.01,
                study="inference-scaling",
            ),
        ),
    ),
    Claim(
        "first-repeat-gives-most",
        "Of the repeats of a block at inference the first gives grown models most.",
        "Figure 2 left",
        (
            Comparison(
                "gain of the first repeat less gain of the second",
                (
                    Term(2, _repeated(GROWN, 1), "grown"),
                    Term(-1, _repeated(GROWN, 0), "grown"),
                    Term(-1, _repeated(GROWN, 2), "grown"),
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
                _gain(
                    _with(PARTLY, swapped=0),
                    _with(PARTLY, swapped=1),
                    than=(_with(FULL_LOOP, swapped=0), _with(FULL_LOOP, swapped=1)),
                ),
                ("lambada*", *PRIMITIVES),
                0.01,
                study="swaps",
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
                    f"gain from the fewest to the most examples: {kind} less standard",
                    (
                        Term(1, where, "first", "most"),
                        Term(-1, where, "first", "least"),
                        Term(-1, STANDARD, "second", "most"),
                        Term(1, STANDARD, "second", "least"),
                    ),
                    PRIMITIVES,
                    0.01,
                    study="in-context",
                    vary="shots",
                )
                for kind, where in KINDS.items()
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
                    f"{kind} less standard, most examples",
                    (Term(1, where, level="most"), Term(-1, STANDARD, level="most")),
                    ("variable_assignment_code_d[12]",),
                    0.02,
                    study="sample-efficiency",
                    vary="examples",
                )
                for kind, where in KINDS.items()
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
                    Term(1, Where(family=("looped",)), level="most"),
                    Term(-1, Where(family=("untied",)), level="most"),
                ),
                ("variable_assignment_code_d[12]",),
                0.01,
                study="sample-efficiency",
                match=("unique_layers",),
                vary="examples",
            ),
        ),
    ),
    Claim(
        "retrofit-improves",
        "Looping a middle block during the cooldown improves reasoning over the same cooldown "
        "without the loop.",
        "Table 2",
        (
            Comparison(
                "grown and retrofitted less grown, same cooldown",
                _more(
                    Where(family=("retrofitted",), operator="lidas", recipe="cooldown*"),
                    Where(family=("grown",), operator="lidas", recipe="cooldown NMT*"),
                ),
                PRIMITIVES,
                0.01,
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
                _gain(
                    _repeated(RETROFITTED, 0),
                    _repeated(RETROFITTED, 3),
                    than=(_repeated(PLAIN, 0), _repeated(PLAIN, 3)),
                ),
                PRIMITIVES,
                0.01,
                study="inference-scaling",
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
                    f"depth score, as a share of the depth: {kind} less standard",
                    _more(where, STANDARD),
                    ("depth_score*",),
                    0.02,
                    metric="depth_score",
                    study="depth",
                    match=("effective_layers",),
                )
                for kind, where in KINDS.items()
            ),
            *(
                Comparison(
                    f"top-5 overlap at the same place: standard less {kind}",
                    _more(STANDARD, where),
                    ("top5_overlap*",),
                    0.02,
                    metric="overlap",
                    study="depth",
                    match=("effective_layers", "place"),
                )
                for kind, where in KINDS.items()
            ),
            *(
                Comparison(
                    f"accuracy at an exit at the same place: standard less {kind}",
                    _more(STANDARD, where),
                    ("variable_assignment_math*",),
                    0.02,
                    study="depth",
                    match=("effective_layers", "place"),
                )
                for kind, where in KINDS.items()
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
                f"autocorrelation of attention contributions at the block size: {kind} less "
                "standard",
                _more(where, STANDARD),
                ("attention_contribution*",),
                0.1,
                metric="periodicity",
                study="contributions",
                match=("effective_layers",),
            )
            for kind, where in KINDS.items()
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
                _more(
                    Where(family=("standard", "grown", "looped"), recipe="cooldown NMT*"),
                    Where(family=("standard", "grown", "looped"), recipe="cooldown FMT*"),
                ),
                PRIMITIVES,
                0.01,
                match=("name",),
            ),
            Comparison(
                "FineMath less the usual mixture",
                _more(
                    Where(family=("standard", "grown", "looped"), recipe="cooldown FMT*"),
                    Where(family=("standard", "grown", "looped"), recipe=""),
                ),
                PRIMITIVES,
                0.01,
                match=("name",),
            ),
        ),
    ),
)
