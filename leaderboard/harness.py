"""Records from lm-eval's result dictionary or file, of ``growloop eval`` or of lm-eval itself.

``growloop eval`` adds the model and its cost to the results, under the name ``growloop``; records
of other results lack these fields.
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

from ..core.errors import InputError, shown
from ..core.strict_json import loads
from .harness_options import NAMES, model_args, prompting_options, record_fields, sha
from .records import Record

MAX_FILE = 256 * 2**20  # bytes
CURVE = re.compile(r"(.+)@\d+")  # name of a growloop task in a curve over shots: name@shots
CUT = "prompts cut"  # name of the note in growloop.tasks.notes
ADDRESS = re.compile(" at 0x[0-9a-f]+")
DEFINES = (
    "dataset_path", "dataset_name", "dataset_kwargs", "training_split", "validation_split",
    "test_split", "fewshot_split", "process_docs", "doc_to_text", "doc_to_target", "doc_to_choice",
    "process_results", "description", "target_delimiter", "fewshot_delimiter", "fewshot_config",
    "output_type", "generation_kwargs", "repeats", "filter_list", "should_decontaminate",
)  # fmt: skip
"""Fields of a task's configuration that decide its prompts and its metric."""
STEP = re.compile(r"step-\d+")


def load(path: str | Path) -> dict[str, Any]:
    """Read lm-eval's result file.

    Raises:
        InputError: the file cannot be read, or is not a result file of lm-eval.
    """
    file = Path(path)
    try:
        if file.stat().st_size > MAX_FILE:
            raise InputError(f"{path} has more than {MAX_FILE // 2**20} MiB: no result file has")
        results = loads(file.read_bytes().decode("utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start + 1} is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {str(error)[:100]}") from None
    if not isinstance(results, dict) or not isinstance(results.get("results"), dict):
        raise InputError(f"{path} has no 'results' by task: it is not a result file of lm-eval")
    return results


def read(path: str | Path) -> list[Record]:
    """Read the records of a result file.

    Raises:
        InputError: the file is not a result file, or holds a value that records do not allow.

    Example::

        Store("records").add(read("results/lidas/results_2026-01-31.json"))
    """
    try:
        return records(load(path), source=Path(path).name)
    except InputError as error:
        raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from None


def records(results: dict[str, Any], source: str | None = None) -> list[Record]:
    """Build the records of lm-eval's results: one per task, group and metric.

    Args:
        results: result dictionary of lm-eval.
        source: name of the file that they were read from.

    Raises:
        InputError: a value that records do not allow, with task, metric and field.
    """
    if not isinstance(results.get("results"), dict):
        raise InputError("it has no 'results' by task: it is not a result file of lm-eval")
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
            except InputError as error:
                raise InputError(f"task {shown(name)}, {metric}: {error}") from None
    if not found:
        raise InputError("there is no value in its 'results'")
    return found


def _metrics(values: Mapping[str, Any], ours: bool) -> Iterator[tuple[str, float, float | None]]:
    """Yield metric, value and standard error: keys are ``acc,none``, ``acc_stderr,none``, …"""
    for key, value in values.items():
        metric, comma, kind = key.partition(",")
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not comma or metric.endswith("_stderr") or not number:
            continue
        if ours and metric != "acc":  # the paper reports acc; the file has the rest
            continue
        stderr = values.get(f"{metric}_stderr,{kind}")
        error = _float(stderr) if isinstance(stderr, (int, float)) else math.inf
        name = metric if kind in ("none", "") else f"{metric} ({kind})"
        yield name, _float(value), error if math.isfinite(error) else None


def _float(number: float) -> float:
    """Convert a number to float; an integer beyond its range to infinity."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _task(results: dict[str, Any], name: str, metric: str) -> dict[str, Any]:
    """Return the fields of :class:`Task` for one metric of a task or group."""
    config = _dict(_get(results, "configs", name))
    ours = _ours(results, name)
    members = _members(results, name)
    plain = metric.split(" ")[0]
    better = _get(results, "higher_is_better", name, plain)
    version = ours.get("version", _get(results, "versions", name))
    task = {
        "name": _plain_name(results, name),
        "metric": metric,
        "version": None if version is None else str(version),
        "fingerprint": _fingerprint(results, name),
        "shots": _get(results, "n-shot", name),
        "split": ours.get("split") or config.get("test_split") or config.get("validation_split"),
        "prompting": _prompting(results, name, members),
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
    """Return the value that all are equal to, or None."""
    return values[0] if all(value == values[0] for value in values) else None


def _fingerprint(results: dict[str, Any], name: str) -> str | None:
    """Return the fingerprint of a task's data; of a group, the hash of its members'.

    growloop's tasks have a fingerprint of their items, lm-eval's a hash of their prompts. Results
    without these hashes (lm-eval without samples) get one of the task's configuration, so that
    different tasks of one name are told apart.
    """
    if members := _members(results, name):
        parts = [_fingerprint(results, member) for member in sorted(members)]
        if None in parts:
            return None
        return hashlib.sha256("\n".join(map(str, parts)).encode("utf-8", "replace")).hexdigest()
    found = _ours(results, name).get("fingerprint")
    if found:
        return found  # type: ignore[no-any-return]
    if prompts := _get(results, "task_hashes", name):
        return f"lm-eval-{prompts}"
    config = _dict(_get(results, "configs", name))
    defined = {field: config[field] for field in DEFINES if config.get(field) is not None}
    if not defined:
        return None
    return f"config-{sha(ADDRESS.sub('', json.dumps(defined, sort_keys=True, default=str)))}"


def _plain_name(results: dict[str, Any], name: str) -> str:
    """Return the name of a task without ``@shots``, the suffix of growloop's curves."""
    found = CURVE.fullmatch(name)
    some = _members(results, name) or [name]
    return found[1] if found and all(_ours(results, one) for one in some) else name


def _chance(results: dict[str, Any], name: str) -> float | None:
    members = _members(results, name) or [name]
    found = [_ours(results, member).get("chance") for member in members]
    levels = [_float(level) for level in found if isinstance(level, (int, float))]
    return sum(levels) / len(levels) if len(levels) == len(members) else None


def _members(results: dict[str, Any], name: str) -> list[str]:
    """Return the tasks of a group, including those of nested groups."""
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


def _prompting(results: dict[str, Any], name: str, members: list[str]) -> str | None:
    """Describe what else changes the prompts, or the scored part of the answers."""
    names = [name, *members]
    shots = [_get(results, "n-shot", one) for one in members or [name]]
    parts = []
    if any(_ours(results, one).get("fixed_shots") for one in names):
        parts.append("fixed shots")
    elif _plain_name(results, name) != name:
        parts.append("nested shots")
    parts += prompting_options(results, draws=any(shot != 0 for shot in shots))
    notes = [_dict(_get(results, "growloop", "notes", one)) for one in names]
    if cut := sum(count for note in notes if isinstance(count := note.get(CUT), int)):
        parts.append(f"{CUT}: {cut}")
    parts += map(str, _list(_get(results, "growloop", "notes_everywhere")))
    return ", ".join(parts) or None


def _note(results: dict[str, Any], name: str) -> str | None:
    """Describe notes on the scoring of a task; notes that change prompts are in ``prompting``."""
    found: Counter[str] = Counter()
    for member in [name, *_members(results, name)]:
        notes = _dict(_get(results, "growloop", "notes", member))
        found.update({k: n for k, n in notes.items() if k != CUT and isinstance(n, int)})
    return "; ".join(f"{kind}: {count} requests" for kind, count in sorted(found.items())) or None


def _shared(results: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that all records of the results share."""
    own = _dict(results.get("growloop"))
    config = _dict(results.get("config"))
    found = record_fields(results)
    model = own.get("model")
    if not isinstance(model, dict):
        model = {"name": _name(results, model_args(config))}
    about = {name: found[name] for name in ("revision", "changes") if found[name]}
    if model.get("digest"):
        about.pop("revision", None)  # local folders have no revision
    model = {**about, **model}
    cost = own.get("cost")
    if not isinstance(cost, dict):
        count = config.get("model_num_parameters")
        cost = {"unique_parameters": count} if isinstance(count, int) and count >= 0 else {}
    versions = dict(_dict(own.get("versions")))
    for package in ("transformers", "lm_eval"):
        if isinstance(version := results.get(f"{package}_version"), str):
            versions.setdefault(package.replace("_", "-"), version)
    schedule = own.get("schedule")
    fields = {
        "model": model,
        "cost": cost,
        "schedule": None if schedule == model.get("schedule") else schedule,
        **{name: found[name] for name in ("dtype", "device", "settings", "backend")},
        "versions": versions,
        "command": own.get("command"),
        "time": _time(results.get("date")),
    }
    return {key: value for key, value in fields.items() if value is not None}


def _name(results: dict[str, Any], arguments: dict[str, Any]) -> str:
    """Return the name of the model.

    Raises:
        InputError: the results do not name it.
    """
    given = [*(arguments.get(name) for name in NAMES), results.get("model_name")]
    names = [name for name in given if isinstance(name, str) and name.strip()]
    if not names:
        raise InputError("the results do not name their model: give it with --name")
    return model_name(names[0])


def _time(date: Any) -> str | None:
    try:
        return datetime.fromtimestamp(float(date), UTC).isoformat(timespec="seconds")
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def rename(results: dict[str, Any], name: str) -> None:
    """Set the name of the model in results, in place."""
    own = _dict(results.get("growloop"))
    results["growloop"] = {**own, "model": {**_dict(own.get("model")), "name": name}}


def model_name(given: str) -> str:
    """Return the display name of a model: its hub id, or the last folder before ``step-…``.

    >>> model_name("runs/lidas/step-000003500"), model_name("HuggingFaceTB/SmolLM2-135M")
    ('lidas', 'HuggingFaceTB/SmolLM2-135M')
    """
    parts = given.removeprefix("package:").replace("\\", "/").rstrip("/").split("/")
    if len(parts) > 1 and STEP.fullmatch(parts[-1]):
        parts = parts[-2:-1]
    if len(parts) != 2 or parts[0] in ("", ".", "..", "~"):
        parts = parts[-1:]
    return "/".join(re.sub(r"[^\w.,=@+-]", "_", part).strip("._") or "model" for part in parts)[
        :200
    ]


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
