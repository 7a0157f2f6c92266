"""The data sets: where each comes from, how its files are laid out, what a row must hold.

A folder given as ``--data-dir`` holds ``NAME/SPLIT.jsonl`` (or ``.json``, ``.parquet``), with the
rows as the Hugging Face hub or the data set's authors have them; further fields are passed over.
What is not there is asked of the hub, unless it is off line.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.errors import InputError, unknown
from .reading import ENDINGS, Placed, rows
from .shapes import Each, take

Row = dict[str, Any]
HOLDOUT = "holdout"  # the folder beside the data sets whose text the likelihood is measured on


class MissingDataError(InputError):
    """A data set that is neither in the folder nor to be had from the hub."""


@dataclass(frozen=True)
class Hub:
    """A data set on the Hugging Face hub; ``splits`` names its split for each of ours."""

    path: str
    name: str | None = None
    revision: str | None = None
    splits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSet:
    """One data set.

    Args:
        splits: our splits, and how many rows each has as published.
        shape: of a row (see :mod:`.shapes`).
        problem: what else is wrong with a row, or None.
        tidy: makes columns of one type; files of one data set mix numbers and texts.
        hub: where to get it, or None if it is not on the hub as its authors made it.
        url: of its authors.
    """

    name: str
    splits: Mapping[str, int]
    shape: Mapping[str, Any]
    url: str
    hub: Hub | None = None
    problem: Callable[[Row], str | None] = lambda _: None
    tidy: Callable[[Row], Row] = lambda row: row

    def file(self, folder: str | Path, split: str) -> Path | None:
        """The local file of a split, if there is one."""
        paths = [Path(folder) / self.name / f"{split}{ending}" for ending in ENDINGS]
        found = [path for path in paths if path.is_file()]
        if len(found) > 1:
            raise InputError(f"{found[0]} and {found[1].name} are both there: keep one of them")
        return found[0] if found else None

    def advice(self, folder: str | Path | None) -> str:
        """One sentence: how to get it."""
        files = " and ".join(f"{split}.jsonl" for split in self.splits)
        where = f"{folder or 'DIR'}/{self.name}"
        if self.hub is None:
            source = f"from {self.url}"
        else:
            source = f"of {self.hub.path}" + (f" ({self.hub.name})" if self.hub.name else "")
            source += " on the Hugging Face hub"
        given = "" if folder else ", and give --data-dir DIR"
        return f"no data set {self.name}: write {files} {source} into {where}{given}"


@dataclass(frozen=True)
class Loaded:
    """A split that was read and checked.

    Args:
        rows: with the fields of the shape alone.
        source: the file, or the data set on the hub.
        fingerprint: SHA-256 of the rows.
        published: how many rows the split has as its authors made it.
    """

    rows: list[Row]
    source: str
    fingerprint: str
    published: int


def load(dataset: DataSet, split: str, folder: str | Path | None) -> Loaded:
    """A split of a data set.

    Raises:
        MissingDataError: it can be had nowhere.
        InputError: a row is not as it must be; with file and line.
    """
    file = dataset.file(folder, split) if folder is not None else None
    if file is not None:
        source, placed = str(file), rows(file)
    else:
        source, placed = _from_hub(dataset, split, folder)
    found = []
    for place, value in placed:
        row = take(value, dict(dataset.shape), place)
        if wrong := dataset.problem(row):
            raise InputError(f"{place}: {wrong}")
        found.append(dataset.tidy(row))
    if not found:
        raise InputError(f"{source} holds no rows")
    digest = hashlib.sha256()
    for row in found:
        digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return Loaded(found, source, digest.hexdigest(), dataset.splits[split])


def _from_hub(dataset: DataSet, split: str, folder: str | Path | None) -> tuple[str, Any]:
    if dataset.hub is None or os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        raise MissingDataError(dataset.advice(folder))
    hub = dataset.hub
    try:
        import datasets

        wanted = hub.splits.get(split, split)
        table = datasets.load_dataset(hub.path, hub.name, split=wanted, revision=hub.revision)
    except Exception as error:  # the hub fails in every way there is
        raise MissingDataError(dataset.advice(folder)) from error
    placed: list[Placed] = [(f"{hub.path}: row {i}", row) for i, row in enumerate(table, 1)]
    return f"hub:{hub.path}", placed


def check_folder(folder: str | Path) -> None:
    """Refuse a folder that is none, and names in it that nothing here would read.

    Raises:
        InputError: with the nearest name that is read.
    """
    top = Path(folder)
    if not top.is_dir():
        raise InputError(f"--data-dir {folder} is no folder")
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
    asked = len(row["questions"]["input_text"])
    if not asked:
        return "questions.input_text is empty"
    given = [row["answers"], *(row["additional_answers"] or {}).values()]
    if any(len(answers["input_text"]) < asked for answers in given):
        return f"there are fewer answers than the {asked} questions"
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
    given = row["lSolutions"] if "lSolutions" in row else [row["Answer"]]
    if len(given) != 1:
        return f"lSolutions must hold one number, not {len(given)}"
    try:
        float(given[0])
    except ValueError:
        return f"the solution must be a number, not {given[0]!r}"
    return None


def _solution(row: Row) -> Row:
    return row | {"lSolutions": [str(number) for number in row["lSolutions"]]}


def _answer(row: Row) -> Row:
    return row | {"Answer": str(row["Answer"])}


def _label(row: Row) -> Row:
    return row | {"label": str(row["label"])}


def _some(*path: str) -> Callable[[Row], str | None]:
    """A check that the list at ``path`` is not empty."""

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
