"""Conversational question answering: CoQA and QuAC.

Prompts contain the right answers to the earlier questions. With several references, a prediction is
scored against all but one of them, each left out in turn. The data sets' scripts do so to make
scores comparable with a person's, who is one of the references.

CoQA's own script leaves out one *person* at a time, so an answer that several people gave stays.
lm-eval leaves out one *different answer* at a time, which scores the same predictions lower.
"""

from __future__ import annotations

from typing import Any

from .squad import best_f1, exact, normalise, overlap

UNANSWERABLE = "CANNOTANSWER"
AGREEMENT = 0.4  # QuAC leaves out questions on which people agree less
TURN = "Q: {question}\n\nA:"


def _history(questions: list[str], answers: list[str]) -> str:
    """Format all questions, each but the last with its answer."""
    turns = [TURN.format(question=question) for question in questions]
    return "\n\n".join(
        [f"{turn} {answer}" for turn, answer in zip(turns, answers, strict=False)][: len(turns) - 1]
        + turns[-1:]
    )


def coqa_text(doc: dict[str, Any]) -> str:
    """Format the story and the conversation up to its last question, as lm-eval's ``coqa``."""
    turns = _history(doc["questions"]["input_text"], doc["answers"]["input_text"])
    return f"{doc['story']}\n\n{turns}"


def coqa_answers(doc: dict[str, Any]) -> list[str]:
    """Return every person's answer to the last question; the first is the conversation's."""
    turn = len(doc["questions"]["input_text"]) - 1
    people = [doc["answers"], *(doc.get("additional_answers") or {}).values()]
    return [person["input_text"][turn] for person in people]


def coqa_references(doc: dict[str, Any]) -> list[str]:
    """Return the different answers to the last question, ignoring case (lm-eval)."""
    different: dict[str, str] = {}
    for answer in coqa_answers(doc):
        different.setdefault(answer.lower(), answer)
    return list(different.values())


def left_out_in_turn(references: list[str]) -> list[list[str]]:
    """Return the sets of references with one left out each; a single reference stays.

    >>> left_out_in_turn(["a", "b", "c"])
    [['b', 'c'], ['a', 'c'], ['a', 'b']]
    """
    if len(references) == 1:
        return [references]
    return [references[:i] + references[i + 1 :] for i in range(len(references))]


def score_coqa(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Score the answer's first line by F1 and exact match, as CoQA's script and as lm-eval.

    Returns:
        ``f1`` and ``em`` as CoQA's script computes them, from every person's answer;
        ``f1_lm_eval`` and ``em_lm_eval`` as lm-eval does, from the different answers.

    >>> story = {"questions": {"input_text": ["When?"]}, "answers": {"input_text": ["yes"]}}
    >>> people = {str(i): {"input_text": ["after lunch"]} for i in range(3)}
    >>> scores = score_coqa(story | {"additional_answers": people}, ["after lunch"])
    >>> scores["f1"], scores["f1_lm_eval"]
    (1.0, 0.5)
    """
    prediction = results[0].strip().split("\n")[0]
    scores = {}
    for suffix, references in (("", coqa_answers(doc)), ("_lm_eval", coqa_references(doc))):
        sets = left_out_in_turn(references)
        scores[f"f1{suffix}"] = sum(best_f1(prediction, some) for some in sets) / len(sets)
        scores[f"em{suffix}"] = sum(exact(prediction, some) for some in sets) / len(sets)
    return scores


def quac_references(texts: list[str]) -> list[str]:
    """Return the valid references: no answer if at least half say so, else only the spans.

    >>> quac_references(["CANNOTANSWER", "a park", "the park"])
    ['a park', 'the park']
    """
    spans = [text for text in texts if text != UNANSWERABLE]
    return spans if 2 * len(spans) > len(texts) else [UNANSWERABLE]


def span_f1(prediction: str, reference: str) -> float:
    """Compute QuAC's F1 against one reference: exact match for no answer, token F1 for a span.

    >>> span_f1("in a park", "the park")
    0.6666666666666666
    """
    if reference == UNANSWERABLE:
        return float(prediction == UNANSWERABLE)
    return overlap(normalise(prediction).split(), normalise(reference).split())


def agreement(references: list[str]) -> float:
    """Compute the human F1: the mean over references of the best F1 with another reference."""
    if len(references) == 1:
        return 1.0
    best = [
        max(
            overlap(normalise(one).split(), normalise(other).split())
            for j, other in enumerate(references)
            if j != i
        )
        for i, one in enumerate(references)
    ]
    return sum(best) / len(best)


def quac_documents(dataset: Any) -> Any:
    """Make one document per question, without questions that people disagree on."""
    import datasets

    documents = []
    for row in dataset:
        context = row["context"].removesuffix(UNANSWERABLE).rstrip()
        for i, texts in enumerate(row["answers"]["texts"]):
            references = quac_references(texts)
            if agreement(references) < AGREEMENT:
                continue
            turns = _history(row["questions"][: i + 1], row["orig_answers"]["texts"][:i])
            documents.append(
                {
                    "id": f"{row['dialogue_id']}#{i}",
                    "title": row["wikipedia_page_title"],
                    "section": row["section_title"],
                    "context": context,
                    "turns": turns,
                    "references": references,
                }
            )
    return datasets.Dataset.from_list(documents)


def score_quac(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Score the answer's first line by the official F1."""
    prediction = results[0].strip().split("\n")[0].strip()
    sets = left_out_in_turn(doc["references"])
    return {"f1": sum(max(span_f1(prediction, ref) for ref in some) for some in sets) / len(sets)}
