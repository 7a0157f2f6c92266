"""Small data sets made by hand in the schemas of the real ones, with all the fields these have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from growloop.tasks.benchmarks.sources import DATASETS

Row = dict[str, Any]

PEOPLE = ("Ada", "Bo", "Cem", "Dua", "Eli", "Fay", "Gus", "Hua")


def squad(number: int, context: str, question: str, answers: list[str], language: str = "") -> Row:
    return {
        "id": f"{language}{number:04d}",
        "title": "Harbours",
        "context": context,
        "question": question,
        "answers": {"text": answers, "answer_start": [context.find(a) for a in answers]},
    }


def drop(number: int, answer: Row, more: list[Row]) -> Row:
    keys = ("number", "date", "spans", "worker_id", "hit_id")
    full = {"worker_id": "w", "hit_id": "h"}
    return {
        "section_id": "history_1",
        "query_id": f"q{number}",
        "passage": "The fleet of 12 ships left on 3 May 1588; 9.5 weeks later 5 came back.",
        "question": "How many ships did not come back?",
        "answer": answer | full,
        "validated_answers": {key: [(one | full)[key] for one in more] for key in keys},
    }


def gold(number: str = "", spans: tuple[str, ...] = (), day: str = "", month: str = "") -> Row:
    return {
        "number": number,
        "date": {"day": day, "month": month, "year": ""},
        "spans": list(spans),
    }


def quac(number: int) -> Row:
    context = "Ines was born in Faro. She played the oud. In 1950 she left the band. CANNOTANSWER"
    return {
        "dialogue_id": f"C_{number}",
        "wikipedia_page_title": "Ines",
        "background": "Ines was a musician.",
        "section_title": "Life",
        "context": context,
        "turn_ids": [f"C_{number}_q#{i}" for i in range(3)],
        "questions": ["Where was she born?", "What did she play?", "Did she marry?"],
        "followups": [2, 2, 1],
        "yesnos": [2, 2, 2],
        "answers": {
            "texts": [
                ["born in Faro.", "Ines was born in Faro."],
                ["She played the oud."],
                ["CANNOTANSWER", "CANNOTANSWER", "In 1950 she left the band."],
            ],
            "answer_starts": [[9, 0], [23], [70, 70, 43]],
        },
        "orig_answers": {
            "texts": ["born in Faro.", "She played the oud.", "CANNOTANSWER"],
            "answer_starts": [9, 23, 70],
        },
    }


def coqa(number: int) -> Row:
    def spans(texts: list[str]) -> Row:
        starts = list(range(len(texts)))
        return {"input_text": texts, "answer_start": starts, "answer_end": starts}

    return {
        "id": f"c{number}",
        "source": "mctest",
        "story": "A white cat lived in a barn with five sisters.",
        "questions": {"input_text": ["What lived there?", "Where?"], "turn_id": [1, 2]},
        "answers": spans(["a white cat", "in a barn"]),
        "additional_answers": {
            "0": spans(["a cat", "a barn"]),
            "1": spans(["cat", "In a barn"]),
            "2": spans(["cat", "barn"]),
        },
    }


def sums(number: int) -> tuple[str, str, int]:
    """A story, its question and the answer."""
    who, more = PEOPLE[number], number + 2
    story = f"{who} has {more} shells. {who} finds {number} more."
    return story, f"How many shells has {who} now?", more + number


def rows() -> dict[str, dict[str, list[Row]]]:
    """For each data set and split its rows."""
    eight = [sums(number) for number in range(8)]
    mawps = [
        {
            "iIndex": i,
            "lAlignments": [10, 20],
            "lEquations": [f"X={answer}"],
            "lSolutions": [str(answer) if i % 2 else float(answer)],
            "sQuestion": f" {story} {question} ",
        }
        for i, (story, question, answer) in enumerate(eight)
    ]
    gsm8k = [
        {"question": f"{story} {question}", "answer": f"It is <<{a}={a}>>{a}.\n#### {a}"}
        for story, question, a in eight
    ]
    page = "Porto lies on the Douro. Its harbour is Leixões."
    return {
        "triviaqa": {
            "validation": [
                {
                    "question": f"Which river runs through city {number}?",
                    "question_id": f"tc_{number}",
                    "question_source": "http://example.org",
                    "entity_pages": {"doc_source": [], "title": []},
                    "search_results": {"rank": [], "url": []},
                    "answer": {
                        "aliases": ["Douro", "River Douro"],
                        "normalized_aliases": ["douro", "river douro"],
                        "value": "Douro",
                        "type": "WikipediaEntity",
                    },
                }
                for number in range(3)
            ]
        },
        "tydiqa": {
            "validation": [
                squad(1, page, "On which river lies Porto?", ["the Douro", "Douro"], "english-"),
                squad(2, "Oulu on kaupunki.", "Mikä on Oulu?", ["kaupunki"], "finnish-"),
                squad(3, page, "What is its harbour?", ["Leixões"], "english-"),
            ]
        },
        "nq_open": {
            "validation": [
                {"question": "which river runs through porto", "answer": ["Douro", "the Douro"]},
                {"question": "who built the bridge", "answer": ["Eiffel"]},
            ]
        },
        "webqs": {
            "test": [
                {"url": "u", "question": "what does porto export?", "answers": ["Wine", "Cork"]},
                {"url": "v", "question": "where is porto?", "answers": ["Portugal"]},
            ]
        },
        "squadv2": {
            "validation": [
                squad(1, page, "What is the harbour of Porto?", ["Leixões", "Leixões."]),
                squad(2, page, "When was it built?", []),
            ]
        },
        "drop": {
            "validation": [
                drop(1, gold(number="7"), [gold(number="7"), gold(spans=("seven ships",))]),
                drop(2, gold(day="3", month="May"), []),
            ]
        },
        "quac": {"validation": [quac(1), quac(2)]},
        "coqa": {"validation": [coqa(1), coqa(2)]},
        "lambada": {
            "test": [
                {"text": "the cat sat on the mat and the dog sat on the rug"},
                {"text": "she opened the old door and there stood her brother"},
            ]
        },
        "hellaswag": {
            "validation": [
                {
                    "ind": number,
                    "activity_label": "Cooking [title]",
                    "ctx_a": "A man cuts an onion.",
                    "ctx_b": "he",
                    "ctx": "A man cuts an onion. he",
                    "endings": ["cries.", "puts it in a pan.", "[step] sings.", "flies away."],
                    "source_id": "activitynet~v_1",
                    "split": "val",
                    "split_type": "indomain",
                    "label": str(number % 4),
                }
                for number in range(4)
            ]
        },
        "svamp": {
            "test": [
                {
                    "ID": f"chal-{i}",
                    "Body": story,
                    "Question": question,
                    "Equation": f"( {answer}.0 )",
                    "Answer": float(answer),
                    "Type": "Addition",
                }
                for i, (story, question, answer) in enumerate(eight)
            ]
        },
        "asdiv": {
            "validation": [
                {
                    "body": story,
                    "question": question,
                    "solution_type": "Addition",
                    "answer": f"{answer} (shells)",
                    "formula": f"{answer}={answer}",
                }
                for story, question, answer in eight
            ]
        },
        "gsm8k": {"train": gsm8k, "test": gsm8k[:2]},
        **{name: {"test": mawps} for name in DATASETS if name.startswith("mawps_")},
    }


def write(folder: Path) -> Path:
    """All data sets below ``folder``, and held-out text."""
    for name, splits in rows().items():
        (folder / name).mkdir(parents=True)
        for split, found in splits.items():
            if name.startswith("mawps_") or name == "svamp":  # their authors write lists
                (folder / name / f"{split}.json").write_text(json.dumps(found, indent=4))
            else:
                lines = "".join(json.dumps(row) + "\n" for row in found)
                (folder / name / f"{split}.jsonl").write_text(lines)
    (folder / "holdout").mkdir()
    (folder / "holdout" / "a.txt").write_text("It rained in Porto, as it does in autumn.")
    (folder / "holdout" / "b.jsonl").write_text(json.dumps({"text": "Olá, mundo!"}) + "\n")
    return folder
