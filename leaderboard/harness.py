"""Records from lm-eval's result dictionary or file, of ``growloop eval`` or of lm-eval itself.

What ``growloop eval`` knows beyond lm-eval (the model and what it costs) stands under the name
``growloop`` in its results; elsewhere it is left open.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import RecordError, shown
from .records import Record

MAX_FILE = 256 * 2**20  # bytes
CURVE = "@"  # a task in a curve over shots is called name@shots
CUT = "prompts cut"  # as growloop.tasks.notes calls it
STEP = re.compile(r"step-\d+")


def load(path: str | Path) -> dict[str, Any]:
    """lm-eval's results in a file.

    Raises:
        RecordError: it is none.
    """
    file = Path(path)
    try:
        if file.stat().st_size > MAX_FILE:
            raise RecordError(f"{path} has more than {MAX_FILE // 2**20} MiB: no result file has")
        results = json.loads(file.read_bytes().decode("utf-8"))
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise RecordError(f"{path}: byte {error.start + 1} is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is not JSON: {str(error)[:100]}") from None
    if not isinstance(results, dict) or not isinstance(results.get("results"), dict):
        raise RecordError(f"{path} has no 'results' by task: it is not a result file of lm-eval")
    return results


def read(path: str | Path) -> list[Record]:
    """The records in a result file.

    Raises:
        RecordError: it is none, or holds a value that no record can.
    """
    try:
        return records(load(path), source=Path(path).name)
    except RecordError as error:
        raise RecordError(str(error) if str(path) in str(error) else f"{path}: {error}") from None


def records(results: dict[str, Any], source: str | None = None) -> list[Record]:
    """The records in lm-eval's results: one for each task, group and metric.

    Args:
        source: what they were read from.

    Raises:
        RecordError: naming task, metric and field.
    """
    if not isinstance(results.get("results"), dict):
        raise RecordError("it has no 'results' by task: it is not a result file of lm-eval")
    shared = _shared(results) | ({"source": source} if source else {})
    found = []
    for name, values in {**results["results"], **_dict(results.get("groups"))}.items():
        for metric, value, stderr in _metrics(_dict(values), bool(_ours(results, name))):
            task, note = _task(results, name, metric), _note(results, name)
            n = _get(results, "n-samples", name, "effective")
            if n is None:
                counts = (
                    _get(results, "n-samples", m, "effective") for m in _members(results, name)
                )
                n = sum(count for count in counts if isinstance(count, int))
            fields = {
                **shared,
                "version": 1,
                "task": task,
                "value": value,
                "stderr": stderr,
                "n": n or None,
                "seed": _get(results, "configs", name, "metadata", "growloop", "seed"),
                "note": note,
            }
            try:
                found.append(Record.from_fields({k: v for k, v in fields.items() if v is not None}))
            except RecordError as error:
                raise RecordError(f"task {shown(name)}, {metric}: {error}") from None
    if not found:
        raise RecordError("there is no value in its 'results'")
    return found


def _metrics(values: Mapping[str, Any], ours: bool) -> Iterator[tuple[str, float, float | None]]:
    """``("acc", value, standard error)`` of the keys ``acc,none`` and ``acc_stderr,none``."""
    for key, value in values.items():
        metric, comma, kind = key.partition(",")
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not comma or metric.endswith("_stderr") or not number:
            continue
        if ours and metric != "acc":  # acc is the measure of the paper; the rest is in the file
            continue
        stderr = values.get(f"{metric}_stderr,{kind}")
        error = _float(stderr) if isinstance(stderr, (int, float)) else math.inf
        name = metric if kind in ("none", "") else f"{metric} ({kind})"
        yield name, _float(value), error if math.isfinite(error) else None


def _float(number: float) -> float:
    """A number that may be a whole one of any length."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _task(results: dict[str, Any], name: str, metric: str) -> dict[str, Any]:
    config = _dict(_get(results, "configs", name))
    ours = _ours(results, name)
    members = _members(results, name)
    plain = metric.split(" ")[0]
    better = _get(results, "higher_is_better", name, plain)
    version = ours.get("version", _get(results, "versions", name))
    task = {
        "name": name.partition(CURVE)[0],
        "metric": metric,
        "version": None if version is None else str(version),
        "fingerprint": _fingerprint(results, name),
        "shots": _get(results, "n-shot", name),
        "split": ours.get("split") or config.get("test_split") or config.get("validation_split"),
        "prompting": _prompting(results, [name, *members]),
        "chance": _chance(results, name) if plain == "acc" else None,
        "higher_is_better": better if isinstance(better, bool) else True,
    }
    if members:
        splits = [_ours(results, member).get("split") for member in members]
        task["split"] = task["split"] or _common(splits)
        if task["shots"] is None:
            task["shots"] = _common([_get(results, "n-shot", member) for member in members])
    return {key: value for key, value in task.items() if value is not None}


def _common(values: list[Any]) -> Any:
    """What all values are, or None."""
    return values[0] if all(value == values[0] for value in values) else None


def _fingerprint(results: dict[str, Any], name: str) -> str | None:
    """Of the items (ours), of the questions as asked (lm-eval's), or of those of all members."""
    if members := _members(results, name):
        parts = [_fingerprint(results, member) for member in sorted(members)]
        if None in parts:
            return None
        return hashlib.sha256("\n".join(map(str, parts)).encode("utf-8", "replace")).hexdigest()
    found = _ours(results, name).get("fingerprint")
    asked = _get(results, "task_hashes", name)
    return found or (f"lm-eval-{asked}" if asked else None)


def _chance(results: dict[str, Any], name: str) -> float | None:
    members = _members(results, name) or [name]
    found = [_ours(results, member).get("chance") for member in members]
    levels = [_float(level) for level in found if isinstance(level, (int, float))]
    return sum(levels) / len(levels) if len(levels) == len(members) else None


def _members(results: dict[str, Any], name: str) -> list[str]:
    """The tasks of a group, also of groups in it."""
    found: dict[str, None] = {}
    seen, rest = {name}, list(_list(_get(results, "group_subtasks", name)))
    while rest:
        member = str(rest.pop(0))
        if member in seen:
            continue
        seen.add(member)
        inner = _list(_get(results, "group_subtasks", member))
        if inner:
            rest += inner
        else:
            found[member] = None
    return list(found)


def _prompting(results: dict[str, Any], names: list[str]) -> str | None:
    parts = []
    if any(_ours(results, name).get("fixed_shots") for name in names):
        parts.append("fixed shots")
    elif any(CURVE in name for name in names):
        parts.append("nested shots")
    for what in ("chat_template", "system_instruction"):
        if sha := results.get(f"{what}_sha"):
            parts.append(f"{what.replace('_', ' ')} {str(sha)[:12]}")
    if results.get("fewshot_as_multiturn"):
        parts.append("shots as turns")
    notes = [_dict(_get(results, "growloop", "notes", name)) for name in names]
    if cut := sum(count for note in notes if isinstance(count := note.get(CUT), int)):
        parts.append(f"{CUT}: {cut}")
    parts += map(str, _list(_get(results, "growloop", "notes_everywhere")))
    return ", ".join(parts) or None


def _note(results: dict[str, Any], name: str) -> str | None:
    """What was odd about the scoring of a task; what changes the questions is in its prompting."""
    found: Counter[str] = Counter()
    for member in [name, *_members(results, name)]:
        notes = _dict(_get(results, "growloop", "notes", member))
        found.update({k: n for k, n in notes.items() if k != CUT and isinstance(n, int)})
    return "; ".join(f"{kind}: {count} requests" for kind, count in sorted(found.items())) or None


def _shared(results: dict[str, Any]) -> dict[str, Any]:
    """What all records of the results have in common."""
    own = _dict(results.get("growloop"))
    config = _dict(results.get("config"))
    arguments = config.get("model_args")
    if isinstance(arguments, str):
        arguments = dict(pair.partition("=")[::2] for pair in arguments.split(","))
    arguments = _dict(arguments)
    model = own.get("model")
    if not isinstance(model, dict):
        model = {"name": model_name(str(arguments.get("pretrained") or results.get("model_name")))}
    cost = own.get("cost")
    if not isinstance(cost, dict):
        count = config.get("model_num_parameters")
        cost = {"unique_parameters": count} if isinstance(count, int) and count >= 0 else {}
    versions = dict(_dict(own.get("versions")))
    for package in ("transformers", "lm_eval"):
        if isinstance(found := results.get(f"{package}_version"), str):
            versions.setdefault(package.replace("_", "-"), found)
    dtype = config.get("dtype") or config.get("model_dtype")
    device = config.get("device") or arguments.get("device")
    schedule = own.get("schedule")
    fields = {
        "model": model,
        "cost": cost,
        "schedule": None if schedule == model.get("schedule") else schedule,
        "dtype": str(dtype).removeprefix("torch.") if dtype else None,
        "device": str(device) if device else None,
        "versions": versions,
        "command": own.get("command"),
        "time": _time(results.get("date")),
    }
    return {key: value for key, value in fields.items() if value is not None}


def _time(date: Any) -> str | None:
    try:
        return datetime.fromtimestamp(float(date), UTC).isoformat(timespec="seconds")
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def rename(results: dict[str, Any], name: str) -> None:
    """Call the model of some results ``name``."""
    own = _dict(results.get("growloop"))
    results["growloop"] = {**own, "model": {**_dict(own.get("model")), "name": name}}


def model_name(given: str) -> str:
    """What a model is called: a hub id as it is, else the end of its path before a run's step.

    >>> model_name("runs/lidas/step-000003500"), model_name("HuggingFaceTB/SmolLM2-135M")
    ('lidas', 'HuggingFaceTB/SmolLM2-135M')
    """
    parts = given.removeprefix("package:").replace("\\", "/").rstrip("/").split("/")
    if len(parts) > 1 and STEP.fullmatch(parts[-1]):
        parts = parts[-2:-1]
    if len(parts) != 2 or parts[0] in ("", ".", "..", "~"):
        parts = parts[-1:]
    return "/".join(re.sub(r"[^\w.+-]", "_", part).strip("._") or "model" for part in parts)[:200]


def _ours(results: dict[str, Any], name: str) -> dict[str, Any]:
    return _dict(_get(results, "configs", name, "metadata", "growloop"))


def _get(found: Any, *path: str) -> Any:
    for name in path:
        if not isinstance(found, dict):
            return None
        found = found.get(name)
    return found


def _dict(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []
