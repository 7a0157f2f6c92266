"""Results of an evaluation: the table, and the files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import InputError

AT = "@"  # separates task name and number of shots in a curve


@dataclass(frozen=True)
class Row:
    """Line of the result table.

    Args:
        level: 1 for a member of the group above it, else 0.
        n: number of questions; of a group None.
        shots: few-shot examples per question.
        stderr: standard error over questions.
        chance: accuracy of guessing.
        fingerprint: SHA-256 of the items of a growloop task.
    """

    task: str
    level: int
    n: int | None
    shots: int | None
    metric: str
    value: float
    stderr: float | None
    chance: float | None
    fingerprint: str | None


def rows(results: Mapping[str, Any]) -> list[Row]:
    """Return the result table: each group followed by its members, then other tasks."""
    groups: dict[str, list[str]] = results.get("group_subtasks", {})
    members = {name for subtasks in groups.values() for name in subtasks}
    order: list[tuple[str, int]] = []
    for name in results["results"]:
        if groups.get(name):
            order.append((name, 0))
            order += [(member, 1) for member in groups[name]]
        elif name not in members:
            order.append((name, 0))
    return [row for name, level in order for row in _rows_of(results, name, level)]


def _chance(results: Mapping[str, Any], name: str) -> float | None:
    """Return the accuracy of guessing of a growloop task, or its mean over a group."""
    members = results.get("group_subtasks", {}).get(name)
    if members:
        chances = [_chance(results, member) for member in members]
        known = [chance for chance in chances if chance is not None]
        return sum(known) / len(known) if len(known) == len(chances) else None
    chance = _ours(results, name).get("chance")
    return None if chance is None else float(chance)


def _ours(results: Mapping[str, Any], name: str) -> dict[str, Any]:
    metadata = results.get("configs", {}).get(name, {}).get("metadata") or {}
    found: dict[str, Any] = metadata.get("growloop") or {}
    return found


def _plain_name(results: Mapping[str, Any], name: str) -> str:
    """Return the name of a task without ``@shots``, the suffix of growloop's curves."""
    members = results.get("group_subtasks", {}).get(name) or [name]
    return name.partition(AT)[0] if all(_ours(results, one) for one in members) else name


def _rows_of(results: Mapping[str, Any], name: str, level: int) -> list[Row]:
    """Return a row per metric of a task; of growloop's tasks only accuracy."""
    values = results["results"][name]
    ours = _ours(results, name)
    found = []
    for key, value in values.items():
        metric, _, kind = key.partition(",")
        if metric.endswith("_stderr") or not isinstance(value, (int, float)) or not kind:
            continue
        if "chance" in ours and metric != "acc":
            continue  # the paper reports acc; the JSON file has the rest
        stderr = values.get(f"{metric}_stderr,{kind}")
        samples = results.get("n-samples", {}).get(name, {})
        found.append(
            Row(
                task=_plain_name(results, name),
                level=level,
                n=samples.get("effective"),
                shots=results.get("n-shot", {}).get(name),
                metric=metric,
                value=float(value),
                stderr=float(stderr) if isinstance(stderr, (int, float)) else None,
                chance=_chance(results, name) if metric == "acc" else None,
                fingerprint=ours.get("fingerprint"),
            )
        )
    return found


def check_out(out: str | Path) -> None:
    """Refuse a result folder that cannot be written.

    Raises:
        InputError: the message names the folder and what prevents it.
    """
    if Path(out).suffix == ".json":
        raise InputError(f"--out is a folder, not a file like {out}")
    existing = Path(out).absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise InputError(f"cannot write to {out}: {existing} is not a writable folder")


def save(
    results: dict[str, Any],
    model: str,
    out: str | Path,
    command: str,
    log_samples: bool = True,
) -> list[Path]:
    """Write lm-eval's result file and samples below ``out``; return the paths.

    Args:
        results: results of one evaluation; its samples are removed.
        model: name of the model, for the file names.
        out: folder.
        command: command line to store.
        log_samples: write the samples; if not, they only identify the questions.

    Raises:
        InputError: ``out`` cannot be written.
    """
    from lm_eval.loggers import EvaluationTracker

    check_out(out)
    samples = results.pop("samples", {})
    results["growloop"] |= {"command": command}
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tracker = EvaluationTracker(output_path=str(folder))
        tracker.general_config_tracker.start_time -= results["growloop"]["seconds"]
        name = Path(model).resolve().name if Path(model).exists() else model.replace(":", "-")
        tracker.general_config_tracker.log_experiment_args(
            model_source="growloop",
            model_args={"pretrained": name},  # a text would end at a comma
            system_instruction=results.get("system_instruction"),
            chat_template=results.get("chat_template"),
            fewshot_as_multiturn=bool(results.get("fewshot_as_multiturn")),
        )
        tracker.save_results_aggregated(results=results, samples=samples)
        logged = samples if log_samples else {}
        for task, members in logged.items():
            tracker.save_results_samples(task_name=task, samples=members)
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror or error}") from error
    moment = getattr(tracker, "date_id", "/")  # in its file names; others write here too
    written = sorted(path for path in folder.rglob("*.json*") if moment in path.name)
    if len(written) < 1 + len(logged):  # the tracker only logs failed writes
        raise InputError(f"cannot write all results to {out}")
    return written
