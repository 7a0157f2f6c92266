"""Table of the benchmarks' data sets: hub address, splits, row shape and row checks of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...core.errors import InputError, unknown
from .data_files import ENDINGS
from .dataset import DataSet, Hub, Row
from .shapes import Each

HOLDOUT = "holdout"  # folder beside the data sets with the text that the likelihood is measured on


def check_folder(folder: str | Path) -> None:
    """Refuse a missing folder, or one with names that no data set has.

    Raises:
        InputError: with the nearest known name.
    """
    top = Path(folder)
    if not top.is_dir():
        raise InputError(f"--data-dir {folder} is not a folder")
    for path in sorted(top.iterdir()):
        if path.name.startswith(".") or path.stem.upper() == "README" or path.name == HOLDOUT:
            continue
        if path.name not in DATASETS:
            raise InputError(f"{top}: {unknown('data set', path.name, [*DATASETS, HOLDOUT])}")
        dataset = DATASETS[path.name]
        if not path.is_dir():
            raise InputError(f"{path} must be a folder with the files of {dataset.name}")
        for file in sorted(path.iterdir()):
            if file.name.startswith(".") or file.stem.upper() == "README":
                continue
            if file.suffix not in ENDINGS or file.stem not in dataset.splits:
                allowed = [split + ending for split in dataset.splits for ending in ENDINGS]
                raise InputError(f"{path}: {unknown('file', file.name, allowed)}")


def _hellaswag(row: Row) -> str | None:
    if len(row["endings"]) != 4:
        return f"endings must be four, not {len(row['endings'])}"
    if str(row["label"]) not in ("0", "1", "2", "3"):
        return f"label must be from 0 to 3, not {row['label']!r} (the test split has no labels)"
    return None


def _coqa(row: Row) -> str | None:
    questions = len(row["questions"]["input_text"])
    if not questions:
        return "questions.input_text is empty"
    answers_of_all = [row["answers"], *(row["additional_answers"] or {}).values()]
    if any(len(answers["input_text"]) < questions for answers in answers_of_all):
        return f"there are fewer answers than the {questions} questions"
    return None


def _quac(row: Row) -> str | None:
    lengths = {
        len(row["questions"]),
        len(row["answers"]["texts"]),
        len(row["orig_answers"]["texts"]),
    }
    if len(lengths) > 1:
        return "questions, answers.texts and orig_answers.texts must be as many"
    if not all(row["answers"]["texts"]):
        return "answers.texts must hold at least one answer to each question"
    return None


def _drop(row: Row) -> str | None:
    more = row["validated_answers"]
    if len({len(more["number"]), len(more["date"]), len(more["spans"])}) > 1:
        return "number, date and spans of validated_answers must be as many"
    return None


def _number(row: Row) -> str | None:
    solutions = row["lSolutions"] if "lSolutions" in row else [row["Answer"]]
    if len(solutions) != 1:
        return f"lSolutions must hold one number, not {len(solutions)}"
    try:
        float(solutions[0])
    except ValueError:
        return f"the solution must be a number, not {solutions[0]!r}"
    return None


def _solution(row: Row) -> Row:
    return row | {"lSolutions": [str(number) for number in row["lSolutions"]]}


def _answer(row: Row) -> Row:
    return row | {"Answer": str(row["Answer"])}


def _label(row: Row) -> Row:
    return row | {"label": str(row["label"])}


def _some(*path: str) -> Callable[[Row], str | None]:
    """Make a check that the list at ``path`` is not empty."""

    def problem(row: Row) -> str | None:
        value: Any = row
        for key in path:
            value = value[key]
        return None if value else f"{'.'.join(path)} is empty"

    return problem


def _text(row: Row) -> str | None:
    return None if len(row["text"].split(" ")) > 1 else "text must have at least two words"


def _gsm8k(row: Row) -> str | None:
    return None if "####" in row["answer"] else "answer must end in '#### ' and the result"


SQUAD = {"title": str, "context": str, "question": str, "answers": {"text": [str]}}
DATE = {"day": str, "month": str, "year": str}
MAWPS = {"sQuestion": str, "lSolutions": [(str, int, float)]}
MAWPS_URL = "https://github.com/sroy9/mawps"

DATASETS: dict[str, DataSet] = {
    dataset.name: dataset
    for dataset in (
        DataSet(
            "triviaqa",
            {"validation": 17_944},
            {"question": str, "answer": {"aliases": [str]}},
            "https://nlp.cs.washington.edu/triviaqa",
            Hub("mandarjoshi/trivia_qa", "rc.nocontext"),
            _some("answer", "aliases"),
        ),
        DataSet(
            "tydiqa",
            {"validation": 5_077},
            {"id": str, **SQUAD},
            "https://github.com/google-research-datasets/tydiqa",
            Hub("google-research-datasets/tydiqa", "secondary_task"),
            _some("answers", "text"),
        ),
        DataSet(
            "nq_open",
            {"validation": 3_610},
            {"question": str, "answer": [str]},
            "https://github.com/google-research-datasets/natural-questions/tree/master/nq_open",
            Hub("google-research-datasets/nq_open"),
            _some("answer"),
        ),
        DataSet(
            "webqs",
            {"test": 2_032},
            {"question": str, "answers": [str]},
            "https://nlp.stanford.edu/software/sempre",
            Hub("stanfordnlp/web_questions"),
            _some("answers"),
        ),
        DataSet(
            "squadv2",
            {"validation": 11_873},
            {"id": str, **SQUAD},
            "https://rajpurkar.github.io/SQuAD-explorer",
            Hub("lighteval/squad_v2"),
        ),
        DataSet(
            "drop",
            {"validation": 9_536},
            {
                "query_id": str,
                "passage": str,
                "question": str,
                "answer": {"number": str, "date": DATE, "spans": [str]},
                "validated_answers": {"number": [str], "date": [DATE], "spans": [[str]]},
            },
            "https://allenai.org/data/drop",
            Hub("EleutherAI/drop"),
            _drop,
        ),
        DataSet(
            "quac",
            {"validation": 1_000},
            {
                "dialogue_id": str,
                "wikipedia_page_title": str,
                "section_title": str,
                "context": str,
                "questions": [str],
                "answers": {"texts": [[str]]},
                "orig_answers": {"texts": [str]},
            },
            "https://quac.ai",
            Hub("allenai/quac", revision="refs/convert/parquet"),
            _quac,
        ),
        DataSet(
            "coqa",
            {"validation": 500},
            {
                "id": str,
                "story": str,
                "questions": {"input_text": [str]},
                "answers": {"input_text": [str]},
                "additional_answers?": Each({"input_text": [str]}),
            },
            "https://stanfordnlp.github.io/coqa",
            Hub("EleutherAI/coqa", revision="refs/convert/parquet"),
            _coqa,
        ),
        DataSet(
            "lambada",
            {"test": 5_153},
            {"text": str},
            "https://zenodo.org/records/2630551",
            Hub("EleutherAI/lambada_openai", "default"),
            _text,
        ),
        DataSet(
            "hellaswag",
            {"validation": 10_042},
            {
                "activity_label": str,
                "ctx_a": str,
                "ctx_b": str,
                "endings": [str],
                "label": (str, int),
            },
            "https://rowanzellers.com/hellaswag",
            Hub("Rowan/hellaswag"),
            _hellaswag,
            _label,
        ),
        DataSet(
            "svamp",
            {"test": 1_000},
            {"Body": str, "Question": str, "Answer": (str, int, float)},
            "https://github.com/arkilpatel/SVAMP",
            Hub("ChilleD/SVAMP", splits={"test": "train+test"}),
            _number,
            _answer,
        ),
        DataSet(
            "asdiv",
            {"validation": 2_305},
            {"body": str, "question": str, "answer": str},
            "https://github.com/chaochun/nlu-asdiv-dataset",
            Hub("EleutherAI/asdiv"),
        ),
        *(
            DataSet(f"mawps_{name}", {"test": size}, MAWPS, MAWPS_URL, None, _number, _solution)
            for name, size in (
                ("addsub", 395),
                ("singleeq", 508),
                ("singleop", 562),
                ("multiarith", 600),
            )
        ),
        DataSet(
            "gsm8k",
            {"train": 7_473, "test": 1_319},
            {"question": str, "answer": str},
            "https://github.com/openai/grade-school-math",
            Hub("openai/gsm8k", "main"),
            _gsm8k,
        ),
    )
}
