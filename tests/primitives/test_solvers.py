"""The solvers on hand-worked prompts, among them broken ones."""

from __future__ import annotations

import pytest
from growloop.primitives import TASKS, solve

BASIC = "Fill in blank:\n\no=2\nk=23\nt=13\nv=k\ny=t\n{}=____. ->"
IGSM = "All arithmetic is modulo 7.\n{} {}?"


@pytest.mark.parametrize(
    ("task", "prompt", "answer"),
    [
        ("variable_assignment", BASIC.format("o"), "2"),
        ("variable_assignment", BASIC.format("y"), "13"),
        ("variable_assignment", BASIC.format("z"), None),
        ("variable_assignment", "Fill in blank:\n\na=b\nb=a\na=____. ->", None),
        ("copying", "Fill in the blank:\na b c d b c ____ . ->", "d"),
        ("copying", "Fill in the blank:\na b c d a c ____ . ->", None),
        ("copying", "Fill in the blank:\na b c d c d ____ . ->", None),
        ("copying", "Fill in the blank:\na b c d ____ . ->", None),
        ("addition", "315+120+045+824=", "1304"),
        ("addition", "315", None),
        ("preschool_math", "z=6, b=5, i=-z+b, i=?", "-1"),
        ("preschool_math", "z=6, c=5, i=-z+b, i=?", None),
        # b (end) -> a (after the last b before it) -> c (after the last a before that)
        ("p_hop", "Hop back 1 times:\nb d a c b a d b ->", "a"),
        ("p_hop", "Hop back 2 times:\nb d a c b a d b ->", "c"),
        ("p_hop", "Hop back 3 times:\nb d a c b a d b ->", "b"),
        ("symbolic_igsm", IGSM.format("E#I := 4. E#J := E#I. K#N := E#J + E#I.", "K#N"), "1"),
        ("symbolic_igsm", IGSM.format("K#N := E#J + E#I. E#J := E#I. E#I := 4.", "K#N"), "1"),
        # the problem of arXiv 2502.17416, Table 2, with the factor in brackets as it is worked out
        (
            "symbolic_igsm",
            IGSM.format(
                "E#I := 4. E#J := E#I. K#N := I#N + J#O + F#K. F#K := E#J. J#O := F#K + K#O + E#J. "
                "H#J := E#J + F#K. I#P := L#M + I#N + K#O. I#M := J#O + J#P + F#K. "
                "J#P := H#J - F#K. L#M := I#N + J#P + F#K. I#N := 2 * (J#P + H#J + E#I). "
                "K#O := J#P + I#N + E#J.",
                "I#P",
            ),
            "0",
        ),
        ("symbolic_igsm", IGSM.format("A#E := 5. A#F := 3 + A#E - B#F. B#F := 6.", "A#F"), "2"),
        ("symbolic_igsm", IGSM.format("A#E := 5. A#F := 3 * (A#E - B#F). B#F := 6.", "A#F"), "4"),
        ("symbolic_igsm", IGSM.format("A#E := 5. A#F := 3 * A#E.", "A#F"), "1"),
        ("symbolic_igsm", IGSM.format("A#A := B#B. B#B := A#A.", "A#A"), None),
        ("symbolic_igsm", IGSM.format("A#A := 3.", "B#B"), None),
    ],
)
def test_hand_worked_prompts(task: str, prompt: str, answer: str | None) -> None:
    assert solve(task, prompt) == answer


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("prompt", ["", "?", "=", "a", "\n\n", "Hop back 2 times:\n ->"])
def test_nonsense_has_no_answer_and_raises_nothing(task: str, prompt: str) -> None:
    assert solve(task, prompt) in (None, "")
