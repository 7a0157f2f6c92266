"""Token F1 between an answer and its references, as in SQuAD's and TriviaQA's scripts.

SQuAD deletes punctuation ("U.S." is "us"), TriviaQA replaces it by a space ("u s").
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

ARTICLES = re.compile(r"\b(a|an|the)\b")
DELETED = str.maketrans("", "", string.punctuation)
SPACED = str.maketrans(dict.fromkeys(string.punctuation + "‘’´`", " "))

Normaliser = Callable[[str], str]


def normalise(text: str) -> str:
    """Normalise as SQuAD: lower case, no punctuation, no English articles, single spaces.

    >>> normalise("The U.S., a  country")
    'us country'
    """
    return " ".join(ARTICLES.sub(" ", text.lower().translate(DELETED)).split())


def normalise_trivia(text: str) -> str:
    """Normalise as TriviaQA: as SQuAD, but punctuation separates words.

    >>> normalise_trivia("The Jackson_5's")
    'jackson 5 s'
    """
    return " ".join(ARTICLES.sub(" ", text.lower().translate(SPACED)).split())


def overlap(prediction: list[str], reference: list[str]) -> float:
    """Compute the F1 of two bags of words: harmonic mean of precision and recall; 0 if disjoint.

    >>> overlap(["blue", "house"], ["house"])
    0.6666666666666666
    """
    same = sum((Counter(prediction) & Counter(reference)).values())
    if not same:
        return 0.0
    precision, recall = same / len(prediction), same / len(reference)
    return 2 * precision * recall / (precision + recall)


def f1(prediction: str, reference: str, normaliser: Normaliser = normalise) -> float:
    """Compute the token F1 against one reference.

    If either is empty after normalising, the score is 1 if both are, else 0 (SQuAD 2's rule: the
    empty answer is right for a question without an answer).

    >>> f1("the blue house", "a house")
    0.6666666666666666
    """
    words, right = normaliser(prediction).split(), normaliser(reference).split()
    if not words or not right:
        return float(words == right)
    return overlap(words, right)


def best_f1(
    prediction: str, references: Iterable[str], normaliser: Normaliser = normalise
) -> float:
    """Compute the highest F1 over ``references``, which must not be empty.

    >>> best_f1("blue house", ["a house", "the blue house"])
    1.0
    """
    return max(f1(prediction, reference, normaliser) for reference in references)


def exact(prediction: str, references: Iterable[str], normaliser: Normaliser = normalise) -> float:
    """Return 1.0 if the prediction equals a reference after normalising, else 0.0."""
    return float(any(normaliser(prediction) == normaliser(right) for right in references))


def _scores(
    prediction: str, references: list[str], normaliser: Normaliser = normalise
) -> dict[str, float]:
    """Compute F1 and exact match as SQuAD 1 and TriviaQA: no word in common scores 0.

    So an empty answer never scores, even where a reference ("The The") normalises to nothing.
    """
    words = normaliser(prediction).split()
    return {
        "f1": max(overlap(words, normaliser(right).split()) for right in references),
        "exact_match": exact(prediction, references, normaliser),
    }


# called by lm-eval with a document and the model's answer; ``f1`` and ``exact_match`` from 0 to 1


def score_triviaqa(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Score TriviaQA against the aliases of the answer."""
    return _scores(results[0], doc["answer"]["aliases"], normalise_trivia)


def score_nq_open(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Score NaturalQuestions (open) against all answers."""
    return _scores(results[0], doc["answer"])


def score_webqs(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Score WebQuestions against all answers."""
    return _scores(results[0], doc["answers"])


def score_squadv2(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Score SQuAD 2; a question without an answer has the empty text as its only reference.

    References that normalise to nothing do not count, as in the official script.
    """
    references = [text for text in doc["answers"]["text"] if normalise(text)] or [""]
    return {
        "f1": best_f1(results[0], references),
        "exact_match": exact(results[0], references),
    }
