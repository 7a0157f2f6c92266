"""Result of an evaluation: its table, the answers to each question, and a chart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import InputError, unknown
from ..core.tabular import Tabular
from ..tasks.results import AT, Row, rows


@dataclass(frozen=True)
class Items(Tabular):
    """Questions of an evaluation, one row each.

    Columns: ``task``, ``shots``, ``item`` (its number), ``prompt``, ``target``, ``answer``,
    the metrics, ``choices`` and their ``log_probabilities`` (nats, summed over tokens);
    ``schedule`` and ``repeats`` where several were scored.

    Args:
        items: column -> value of each question.
    """

    items: tuple[Mapping[str, Any], ...]

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the rows of the table: column -> value."""
        return [dict(item) for item in self.items]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self.items)

    def __getitem__(self, number: int) -> Mapping[str, Any]:
        return self.items[number]

    @property
    def title(self) -> str:
        """Line above the table in a notebook."""
        return f"{len(self.items):,} questions"


@dataclass(frozen=True)
class EvaluationResult(Tabular):
    """Result of :func:`growloop.evaluate`.

    Args:
        model: name of the model.
        results: lm-eval's results, one for each schedule.
        samples: lm-eval's samples, one mapping (task -> samples) for each schedule.
        curve: numbers of examples of a curve.
        repeats: extra passes of each schedule; None for a single one.
        files: files written.
        added: records added; None without a leaderboard.
    """

    model: str
    results: tuple[dict[str, Any], ...]
    samples: tuple[Mapping[str, Any], ...] = field(repr=False, default=())
    curve: tuple[int, ...] = ()
    repeats: tuple[int, ...] | None = None
    files: tuple[Path, ...] = ()
    added: int | None = None

    def __getitem__(self, task: str) -> Row:
        """Return the first row of a task: its ``value``, ``stderr``, ``n`` and ``chance``.

        Raises:
            InputError: a task that was not scored, or that was scored several times.
        """
        found = [row for one in self.results for row in rows(one) if row.task == task]
        if not found:
            names = {row.task for one in self.results for row in rows(one)}
            raise unknown("task of this result", task, sorted(names))
        if len({row.metric for row in found}) < len(found):
            raise InputError(f"{task} was scored several times: to_pandas() has a row for each")
        return found[0]

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a row for each task and metric; see :class:`growloop.tasks.results.Row`."""
        several = len(self.results) > 1
        return [
            asdict(row) | (self._which(number) if several else {})
            for number, one in enumerate(self.results)
            for row in rows(one)
        ]

    def _which(self, number: int) -> dict[str, Any]:
        """Return the columns that tell one of several schedules."""
        schedule = self.results[number]["growloop"].get("schedule")
        repeats = {} if self.repeats is None else {"repeats": self.repeats[number]}
        return {"schedule": schedule, **repeats}

    def to_dict(self) -> dict[str, Any]:
        """Return model, rows and lm-eval's results as plain values that JSON can hold."""
        results = json.loads(json.dumps(self.results, default=str))
        return {"model": self.model, "rows": self.to_rows(), "results": results}

    @property
    def items(self) -> Items:
        """Questions with answers and log-probabilities, one row each."""
        several = len(self.results) > 1
        return Items(
            tuple(
                _item(one, task, sample) | (self._which(number) if several else {})
                for number, (one, samples) in enumerate(
                    zip(self.results, self.samples, strict=True)
                )
                for task, members in samples.items()
                for sample in members
            )
        )

    @property
    def title(self) -> str:
        """Line above the table in a notebook."""
        if not self.results:
            return self.model
        dtype = str(self.results[0]["config"]["dtype"]).removeprefix("torch.")
        schedule = self.results[0]["growloop"].get("schedule")
        looped = len(self.results) == 1 and schedule and schedule.strip("0123456789")
        return f"{self.model} ({dtype})" + (f", schedule {schedule}" if looped else "")

    def chart(self) -> Any:
        """Draw values with their 95 % intervals as an Altair chart.

        Curves over examples or repeats where there are several, else a bar a task.

        Raises:
            InputError: Altair is not installed.
        """
        from ..studies.measure.charts import finish
        from ..studies.measure.evaluation_chart import evaluation_bars, evaluation_chart

        points = [{"repeats": None} | row for row in self.to_rows()]
        draw = evaluation_chart if self.curve[1:] or self.repeats else evaluation_bars
        return finish(draw(points, self.model))


def _item(results: Mapping[str, Any], task: str, sample: Mapping[str, Any]) -> dict[str, Any]:
    """Make the row of a question from lm-eval's sample."""
    ours = "growloop" in ((results.get("configs") or {}).get(task, {}).get("metadata") or {})
    arguments, responses = sample["arguments"], sample["filtered_resps"]
    row: dict[str, Any] = {
        "task": task.partition(AT)[0] if ours else task,
        "shots": results.get("n-shot", {}).get(task),
        "item": sample["doc_id"],
        "prompt": arguments[0][0] if arguments else None,
        "target": sample["target"],
        "answer": responses[0] if len(responses) == 1 else None,
    }
    row |= {name: sample[name] for name in sample.get("metrics", ()) if name in sample}
    pairs = [value for value in responses if isinstance(value, (tuple, list)) and len(value) == 2]
    if pairs and len(pairs) == len(responses):  # log-probabilities of the choices
        row["choices"] = [argument[1] for argument in arguments[: len(pairs)]]
        row["log_probabilities"] = [float(value[0]) for value in pairs]
        best = max(range(len(pairs)), key=lambda i: row["log_probabilities"][i])
        row["answer"] = row["choices"][best].strip() if len(pairs) > 1 else bool(pairs[0][1])
        if isinstance(row["target"], int) and len(pairs) > 1:
            row["target"] = row["choices"][row["target"]].strip()
    return row
