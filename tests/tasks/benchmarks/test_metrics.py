"""The scores of answers, as the scripts of the data sets' authors give them."""

from __future__ import annotations

import string
from typing import Any

import pytest
from growloop.tasks.benchmarks import dialogue, numbers, squad
from hypothesis import given
from hypothesis import strategies as st

from . import data

WORDS = ("the", "a", "an", "red", "Blue", "house", "7", "U.S.", "co-op", ",")
words = st.lists(st.sampled_from(WORDS), max_size=8)
texts = words.map(" ".join) | st.text(max_size=20)


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("the Eiffel Tower", "Eiffel Tower", 1.0),  # articles and case do not count
        ("Eiffel-Tower!", "eiffeltower", 1.0),  # punctuation is deleted, not replaced
        ("in the tower", "Eiffel Tower", 0.5),  # 1 of 2 words, both ways
        ("tower tower tower", "tower", 0.5),  # each occurrence counts once: P 1/3, R 1
        ("Paris, France", "paris", 2 / 3),
        ("", "Paris", 0.0),
        ("the", "", 1.0),  # nothing is left of either
        ("something", "", 0.0),
    ],
)
def test_squad_f1_by_hand(prediction: str, reference: str, expected: float) -> None:
    assert squad.f1(prediction, reference) == pytest.approx(expected)


def test_triviaqa_puts_a_space_where_squad_deletes() -> None:
    assert squad.normalise("Jackson-5's") == "jackson5s"
    assert squad.normalise_trivia("Jackson-5's") == "jackson 5 s"
    assert squad.f1("Jackson Five", "The Jackson-Five", squad.normalise_trivia) == 1.0
    assert squad.f1("Jackson Five", "The Jackson-Five") == 0.0


@given(texts, texts)
def test_f1_is_symmetric_bounded_and_one_for_equals(one: str, other: str) -> None:
    assert squad.f1(one, other) == pytest.approx(squad.f1(other, one))
    assert 0.0 <= squad.f1(one, other) <= 1.0
    assert squad.f1(one, one) == 1.0
    assert squad.f1(f"The {one.upper()} a", one.upper()) == 1.0
    if squad.exact(one, [other]):
        assert squad.f1(one, other) == 1.0


@given(texts, st.lists(texts, min_size=1, max_size=4), texts)
def test_a_further_reference_never_lowers_a_score(
    prediction: str, references: list[str], more: str
) -> None:
    assert squad.best_f1(prediction, [*references, more]) >= squad.best_f1(prediction, references)


@given(texts)
def test_normalising_twice_changes_no_words_of_plain_text(text: str) -> None:
    once = squad.normalise(text)
    assert not set(once) & set(string.punctuation)
    assert once == " ".join(once.split())


@pytest.mark.parametrize(
    ("answers", "prediction", "expected"),
    [
        ([], "", 1.0),  # unanswerable, and nothing is said
        ([], "the.", 1.0),  # nothing is left after normalising
        ([], "unanswerable", 0.0),
        (["in 1894", "1894"], "1894", 1.0),
        (["the"], "", 1.0),  # a reference that normalises to nothing does not count
        (["the", "1894"], "", 0.0),
    ],
)
def test_squad_v2(answers: list[str], prediction: str, expected: float) -> None:
    doc = {"answers": {"text": answers}}
    assert squad.score_squadv2(doc, [prediction])["f1"] == expected


@pytest.mark.parametrize("reference", ["The The", "A", "!!!"])
def test_saying_nothing_is_no_answer_in_closed_book_tasks(reference: str) -> None:
    docs = {"answer": [reference]}, {"answers": [reference]}, {"answer": {"aliases": [reference]}}
    scorers = squad.score_nq_open, squad.score_webqs, squad.score_triviaqa
    for score, doc in zip(scorers, docs, strict=True):
        assert score(doc, [""])["f1"] == 0.0
        assert score(doc, ["the answer"])["f1"] == 0.0


DROP = pytest.mark.parametrize(
    ("gold", "prediction", "expected"),
    [
        (["7"], "7", 1.0),
        (["7"], "7.0", 1.0),  # numbers are compared as numbers
        (["7"], "seven", 0.0),
        (["7 ships"], "8 ships", 0.0),  # a wrong number makes the overlap worth nothing
        (["7 ships"], "7", 0.67),  # P 1, R 1/2, rounded to two digits
        (["Porto", "Faro"], "Porto", 0.5),  # two spans, one of them found
        (["Porto", "Faro"], "Porto Faro", 0.33),  # one span of two words: half right, once
        (["3 May"], "May 3", 1.0),  # a bag of words
        (["co-op"], "co op", 1.0),  # a hyphen separates
        (["the Douro"], "Douro", 1.0),
    ],
)


@DROP
def test_drop_aligns_spans_and_requires_numbers(
    gold: list[str], prediction: str, expected: float
) -> None:
    from lm_eval.tasks.drop.utils import process_results

    scores = process_results({"answers": [tuple(gold)]}, [prediction])
    assert scores["f1"] == pytest.approx(expected, abs=0.005)


def test_drop_reads_numbers_spans_and_dates() -> None:
    from lm_eval.tasks.drop.utils import get_answers

    [first, second] = data.rows()["drop"]["validation"]
    assert get_answers(first) == [("7",), ("seven ships",)]  # repeated answers count once
    assert get_answers(second) == [("3 May",)]


def test_coqa_leaves_out_each_reference_in_turn() -> None:
    [doc, _] = data.rows()["coqa"]["validation"]
    assert dialogue.coqa_references(doc) == ["in a barn", "a barn", "barn"]
    assert dialogue.coqa_answers(doc) == ["in a barn", "a barn", "In a barn", "barn"]
    score = dialogue.score_coqa(doc, [" barn\nQ: and then?"])
    # without "in a barn": 1; without "a barn": 1; without "barn": 1 through "a barn"
    assert score == {"f1": 1.0, "em": 1.0, "f1_lm_eval": 1.0, "em_lm_eval": 1.0}
    score = dialogue.score_coqa(doc, ["in barn"])
    # two people said "in a barn": one of them is always there
    assert score["f1"] == score["em"] == 1.0
    # "in a barn" is matched while it is there (two of three sets), "barn" gives 2/3
    assert score["f1_lm_eval"] == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert score["em_lm_eval"] == pytest.approx(2 / 3)


def coqa_doc(*answers: str) -> dict[str, Any]:
    """One turn with the conversation's answer and those of further people."""
    first, *more = [{"input_text": [answer]} for answer in answers]
    people = {str(number): person for number, person in enumerate(more)}
    return {"questions": {"input_text": ["?"]}, "answers": first, "additional_answers": people}


@pytest.mark.parametrize(
    ("answers", "prediction", "f1", "em", "f1_lm_eval"),
    [
        # worked by hand: the best of the others for each person left out, averaged
        (("yes", "after lunch", "after lunch", "after lunch"), "after lunch", 1.0, 1.0, 0.5),
        (("yes", "after lunch", "after lunch", "after lunch"), "yes", 0.75, 0.75, 0.5),
        (("no", "no", "no", "no"), "no", 1.0, 1.0, 1.0),
        (("no",), "No.", 1.0, 1.0, 1.0),
        # without "red": white 0, blue 0; without the others: red matches
        (("red", "white", "blue"), "the red", 2 / 3, 2 / 3, 2 / 3),
        (("a red hat", "hat", "hat"), "red hat", 1 / 3 * (2 / 3 + 1 + 1), 2 / 3, (2 / 3 + 1) / 2),
        # nothing is left of "The" and of saying nothing: they agree
        (("The", "yes"), "", 0.5, 0.5, 0.5),
        (("unknown", "unknown"), "not known", 0.0, 0.0, 0.0),
    ],
)
def test_coqa_f1_is_that_of_its_own_script_and_lm_evals_stands_beside_it(
    answers: tuple[str, ...], prediction: str, f1: float, em: float, f1_lm_eval: float
) -> None:
    score = dialogue.score_coqa(coqa_doc(*answers), [f" {prediction}"])
    assert (score["f1"], score["em"]) == (pytest.approx(f1), pytest.approx(em))
    assert score["f1_lm_eval"] == pytest.approx(f1_lm_eval)


@given(st.lists(texts, min_size=2, max_size=4), texts)
def test_coqa_f1_follows_from_the_two_best_people(answers: list[str], prediction: str) -> None:
    """Derived anew: all but one are scored by the best person, that one's absence by the second."""
    prediction = " ".join(prediction.split())
    by_person = sorted(squad.f1(prediction, answer) for answer in answers)
    *_, second, best = by_person
    expected = ((len(answers) - 1) * best + second) / len(answers)
    score = dialogue.score_coqa(coqa_doc(*answers), [prediction])
    assert score["f1"] == pytest.approx(expected)


def test_coqa_asks_with_the_answers_before() -> None:
    [doc, _] = data.rows()["coqa"]["validation"]
    assert dialogue.coqa_text(doc) == (
        "A white cat lived in a barn with five sisters.\n\n"
        "Q: What lived there?\n\nA: a white cat\n\nQ: Where?\n\nA:"
    )


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["CANNOTANSWER"], ["CANNOTANSWER"]),
        (["CANNOTANSWER", "in Faro"], ["CANNOTANSWER"]),  # half of them suffice
        (["CANNOTANSWER", "in Faro", "Faro"], ["in Faro", "Faro"]),
        (["Faro", "Faro"], ["Faro", "Faro"]),
    ],
)
def test_quac_references_are_all_spans_or_none(texts: list[str], expected: list[str]) -> None:
    assert dialogue.quac_references(texts) == expected


def test_quac_f1_by_hand() -> None:
    doc = {"references": ["born in Faro", "in Faro", "Faro"]}
    # left out in turn, the best of the others: in Faro 0.8, born in Faro 1, born in Faro 1
    score = dialogue.score_quac(doc, [" born in Faro\nQ: what else?"])
    assert score["f1"] == pytest.approx((0.8 + 1 + 1) / 3)
    assert dialogue.score_quac({"references": ["CANNOTANSWER"]}, [" CANNOTANSWER"])["f1"] == 1.0
    assert dialogue.score_quac({"references": ["CANNOTANSWER"]}, ["cannotanswer"])["f1"] == 0.0


def test_quac_leaves_out_what_people_do_not_agree_on() -> None:
    assert dialogue.agreement(["Faro"]) == 1.0
    assert dialogue.agreement(["in Faro", "Faro", "by bus"]) == pytest.approx(4 / 9)
    assert dialogue.agreement(["in Faro", "by bus"]) == 0.0
    row = data.quac(1)
    row["answers"]["texts"][1] = ["the oud", "In 1950"]
    asked = dialogue.quac_documents([row])
    assert [doc["id"] for doc in asked] == ["C_1#0", "C_1#2"]
    assert asked[1]["references"] == ["CANNOTANSWER"]
    assert asked[1]["turns"].endswith(
        "A: born in Faro.\n\nQ: What did she play?\n\nA: She played the oud.\n\n"
        "Q: Did she marry?\n\nA:"
    )
    assert "CANNOTANSWER" not in asked[1]["context"]


@given(st.lists(texts, min_size=2, max_size=4))
def test_the_best_person_is_as_good_as_people_agree(references: list[str]) -> None:
    """A reference scored against the others, averaged, is the agreement."""
    sets = dialogue.left_out_in_turn(references)
    best = [
        max(dialogue.span_f1(reference, other) for other in others)
        for reference, others in zip(references, sets, strict=True)
    ]
    if dialogue.UNANSWERABLE not in references:
        assert sum(best) / len(best) == pytest.approx(dialogue.agreement(references))


@pytest.mark.parametrize(
    ("answer", "solution", "right"),
    [
        (" 8", 8.0, True),
        (" 8.0 shells", "8", True),
        (" $1,250.50", 1250.5, True),
        (" -3", "-3", True),
        (" 8 of the 12 shells", 8, True),  # the first number is the answer
        (" 5 + 3 = 8", 8, False),
        (" none", 0, False),
        ("", 0, False),
        (" 0.6667", "0.6666666666666666", True),
        (" 0.66", "0.6666666666666666", False),
        (" 8\n9", 9, False),  # the first line
        (" 18", 8, False),
        (" .5", "0.5", True),
        (" 12346", 12345, False),
    ],
)
def test_numbers_of_math_word_problems(answer: str, solution: Any, right: bool) -> None:
    assert numbers.is_right(answer, solution) is right
    assert numbers.score_svamp({"Answer": solution}, [answer]) == {"acc": float(right)}
    assert numbers.score_mawps({"lSolutions": [solution]}, [answer]) == {"acc": float(right)}


@given(st.floats(-1e9, 1e9, allow_nan=False).map(lambda x: round(x, 3)))
def test_a_solution_as_it_is_shown_is_right(solution: float) -> None:
    shown = numbers.written(solution)
    assert numbers.is_right(f" {shown}", solution)
    assert numbers.is_right(f" it is {shown} in all.", solution) or solution < 0
    if solution.is_integer():
        assert "." not in shown
