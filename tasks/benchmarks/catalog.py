"""Benchmarks of each column of the paper's tables."""

from __future__ import annotations

from dataclasses import dataclass

from ..catalog import GROUPS, SHOTS


@dataclass(frozen=True)
class Benchmark:
    """One of the 22 tasks, or GSM8K.

    Args:
        task: name in lm-eval.
        dataset: key in :data:`.sources.DATASETS`; None for primitives, which are generated.
        splits: splits it needs, the test split first.
        metric: metric that the paper reports.
        shots: few-shot examples in the prompt.
        filter: lm-eval filter of the metric.
        version: version of prompt and metric; scores of different versions are not comparable.
        further: additional metrics in records.
    """

    task: str
    dataset: str | None
    splits: tuple[str, ...]
    metric: str
    shots: int
    filter: str = "none"
    version: int = 1
    further: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """Column of the tables: the plain mean of its tasks, in percent.

    Args:
        key: name in records.
        title: heading in tables.
        group: lm-eval group, where it has several tasks.
        members: its tasks.
    """

    key: str
    title: str
    group: str
    members: tuple[Benchmark, ...]

    @property
    def version(self) -> int:
        """Highest version of its tasks."""
        return max(member.version for member in self.members)


def _benchmark(
    name: str,
    split: str,
    metric: str,
    dataset: str | None = None,
    shots: int = 0,
    version: int = 1,
    further: tuple[str, ...] = (),
) -> Benchmark:
    task = f"paper_{name}"
    return Benchmark(
        task, dataset or name, (split,), metric, shots, version=version, further=further
    )


NLL = "holdout_nll"
COLUMNS: tuple[Column, ...] = (
    Column(
        "open_book_f1",
        "Open-book F1",
        "open_book_qa",
        (
            _benchmark("tydiqa_goldp", "validation", "f1", "tydiqa"),
            _benchmark("squadv2", "validation", "f1"),
            _benchmark("drop", "validation", "f1"),
            _benchmark("quac", "validation", "f1"),
            # version 1 of CoQA had lm-eval's F1 under the name f1
            _benchmark("coqa", "validation", "f1", version=2, further=("f1_lm_eval",)),
        ),
    ),
    Column(
        "closed_book_f1",
        "Closed-book F1",
        "closed_book_qa",
        (
            # version 1 of these three gave F1 1 for saying nothing where an answer is "The The"
            _benchmark("triviaqa", "validation", "f1", version=2),
            _benchmark("tydiqa_nocontext", "validation", "f1", "tydiqa"),
            _benchmark("nq_open", "validation", "f1", version=2),
            _benchmark("webqs", "test", "f1", version=2),
        ),
    ),
    Column("lambada_acc", "LAMBADA acc", "paper_lambada", (_benchmark("lambada", "test", "acc"),)),
    Column(
        "hellaswag_acc",
        "HellaSwag acc",
        "paper_hellaswag",
        (_benchmark("hellaswag", "validation", "acc"),),
    ),
    Column(
        "math_word_problems_acc",
        "Math problems acc",
        "math_word_problems",
        (
            _benchmark("svamp", "test", "acc", shots=5),
            _benchmark("asdiv", "validation", "acc", shots=5),
            _benchmark("mawps_addsub", "test", "acc", shots=5),
            _benchmark("mawps_singleeq", "test", "acc", shots=5),
            _benchmark("mawps_singleop", "test", "acc", shots=5),
            _benchmark("mawps_multiarith", "test", "acc", shots=5),
        ),
    ),
    Column(
        "reasoning_primitives_acc",
        "Primitives acc",
        "reasoning_primitives",
        tuple(Benchmark(name, None, (), "acc", SHOTS) for name in GROUPS["reasoning_primitives"]),
    ),
    Column(
        "gsm8k_acc",
        "GSM8K acc",
        "paper_gsm8k",
        (Benchmark("paper_gsm8k", "gsm8k", ("test", "train"), "exact_match", 5, "strict-match"),),
    ),
)
APART = ("gsm8k_acc",)  # columns outside of the seven of the paper's main tables
BENCHMARKS: dict[str, Benchmark] = {b.task: b for column in COLUMNS for b in column.members}
