"""What must never change: fingerprints, and the wording of the prompts."""

from __future__ import annotations

import pytest
from growloop.primitives import (
    STANDARD,
    Copying,
    Source,
    Template,
    fingerprint,
    golden,
    standard_task,
)


@pytest.mark.parametrize("name", STANDARD)
def test_the_first_10000_items_are_those_of_the_checked_in_fingerprint(name: str) -> None:
    task = standard_task(name)
    assert golden()[name]["version"] == task.version
    assert fingerprint(Source(task, "test", 0)) == golden()[name]["sha256"]


def test_every_standard_task_has_a_fingerprint() -> None:
    assert set(golden()) == set(STANDARD)


def lines(text: str) -> list[dict[str, str]]:
    return [dict(zip(("name", "value"), pair.split("="), strict=True)) for pair in text.split()]


WORDINGS = {
    "copying": (
        {
            "words": ["jic", "dqy", "sof", "uzg", "ewr", "oxw", "osp", "tkj", "rvw", "mnu"],
            "segment": ["jic", "dqy", "sof", "uzg", "ewr"],
        },
        "Fill in the blank:\njic dqy sof uzg ewr oxw osp tkj rvw mnu jic dqy sof uzg ewr ____ . ->",
    ),
    "variable_assignment_basic": (
        {"lines": lines("o=23 k=3 t=13 a=1 e=9"), "query": "o"},
        "Fill in blank:\n\no=23\nk=3\nt=13\na=1\ne=9\no=____. ->",
    ),
    "variable_assignment_math": (
        {"lines": lines("n=22 r=16"), "query": "n"},
        "The following is a set of simple mathematical equations.\n\nn=22\nr=16\n\n"
        "What is the numerical value of n?\nAnswer:",
    ),
    "variable_assignment_code": (
        {"lines": lines("n=22 r=n"), "query": "r"},
        "The following is a very short Python program. Use the program to resolve the value of "
        "the variable in the question.\n\nProgram:\nn = 22\nr = n\n\n"
        "Question:\nWhat is the value of r?\nAnswer:",
    ),
    "addition": ({"operands": ["315", "120", "045", "824"]}, "315+120+045+824="),
    "preschool_math": (
        {"lines": lines("z=6 b=5"), "terms": ["-z", "+b"], "query": "i"},
        "z=6, b=5, i=-z+b, i=?",
    ),
    "p_hop": ({"tokens": list("abca"), "hops": 2}, "Hop back 2 times:\na b c a ->"),
    "symbolic_igsm": (
        {
            "lines": [{"name": "E#I", "value": "4"}, {"name": "E#J", "value": "E#I + E#I"}],
            "query": "E#J",
            "modulus": 7,
        },
        "All arithmetic is modulo 7.\nE#I := 4. E#J := E#I + E#I. E#J?",
    ),
}


@pytest.mark.parametrize("name", WORDINGS)
def test_prompts_read_as_documented(name: str) -> None:
    variables, expected = WORDINGS[name]
    assert Template.packaged(name, Copying).render(variables) == expected


def test_every_packaged_template_is_pinned() -> None:
    from growloop.primitives.templating import FOLDER

    assert {path.stem for path in FOLDER.glob("*.j2")} == set(WORDINGS)
