"""Identities of the input files of a run: a run is not resumed with changed inputs.

Files are compared by content, not by path: moved files are the same inputs, edited files are not.
The ``training.json`` of each checkpoint records the identities.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.identity import Identity, differing, files_of_task, identify, listed, sha256
from ...core.model_files import content_digest, model_files
from ...core.plugins import Origin
from ..growing.registry import find_operator, origin_of_operator
from ..looping.parts import PARTS
from ..looping.recurrence import Recurrence
from .data.documents import source_files
from .data.shards import INDEX, Shards
from .data.tokenization import TOKENIZER, tokenizer_file_hash
from .runfile import Run

MODEL, EXAMPLES, VALIDATION = "model.path", "data.examples", "data.validation"
TEMPLATE = "data.chat_template"
PLUGIN_CODE = "code of plug-ins"
SOURCE = "data.sources."
TOKENIZER_CONFIG = "special_tokens_map.json"  # earlier versions of transformers wrote it

Inputs = dict[str, dict[str, Identity]]
"""Run-file key of an input (``data.examples``) -> file name -> identity."""


def read_inputs(
    run: Run, known: Mapping[str, Mapping[str, Identity]] | None = None, lenient: bool = False
) -> Inputs:
    """Compute the identities of all files that a run reads.

    Args:
        known: an earlier result; files with the same size and time are not read again.
        lenient: skip missing shards.

    Raises:
        InputError: shards do not match their index.
    """
    before = known or {}
    inputs: Inputs = {}
    for name, folder in _shard_folders(run).items():
        if lenient and not (Path(folder) / INDEX).is_file():
            continue
        inputs[name] = {INDEX: _shards_identity(Shards(folder), before.get(name, {}).get(INDEX))}
    for name, files in _files(run).items():
        inputs[name] = identify(files, before.get(name), content_digest)
    if run.model.path is not None and (commit := _commit(run.model.path)) is not None:
        inputs[MODEL] = {"commit": {"sha256": commit}}
    inputs[PLUGIN_CODE] = _plugin_code(run)
    return {name: files for name, files in inputs.items() if files}


def _plugin_code(run: Run) -> dict[str, Identity]:
    """Identify the code of operators and loop parts that are not growloop's: plug-in -> digest."""
    found: dict[str, Identity] = {}
    if run.growth is not None:
        found |= _code_of(run.growth.operator)
    for event in run.events:
        try:
            found |= _code_of(event.grow)
        except InputError as error:
            raise InputError(f"step {event.step}: {error}") from error
    for fields in (run.model.recurrence, *(event.recurrence for event in run.events)):
        for _, part in Recurrence.from_dict(fields).parts if fields else ():
            found |= _identity(PARTS.origin(part.name))
    return found


def _code_of(operator: object) -> dict[str, Identity]:
    """Identify the code of an operator: plug-in -> digest; nothing for growloop's own."""
    if not isinstance(operator, str) or find_operator(operator) is None:
        return {}
    return _identity(origin_of_operator(operator))


def _identity(origin: Origin | None) -> dict[str, Identity]:
    """Identify the code of a plug-in; nothing for growloop's own."""
    if origin is None or origin.digest is None:
        return {}
    return {str(origin): {"sha256": origin.digest}}


def refuse_changed(
    run: Run,
    began: Mapping[str, Any],
    recorded: Inputs,
    current: Inputs,
    force: bool,
    where: str,
) -> None:
    """Refuse to resume a run whose input files changed.

    Args:
        run: run file now.
        began: run file that the run began with, as JSON.
        recorded: inputs that the checkpoint records.
        current: inputs now.
        force: accept other files if the run file names another path for them.
        where: name of the checkpoint, for the message.

    Raises:
        InputError: inputs changed; the message names the files.
    """
    now = run.model_dump(mode="json")
    for name in sorted(recorded.keys() & current.keys()):
        changed = differing(current[name], recorded[name])
        if not changed or (force and _path(now, name) != _path(began, name)):
            continue
        place = _path(now, name)
        files = listed([_display_path(place, file) for file in changed])
        raise InputError(
            f"{files} ({name}) changed since {where} was written: restore what was there, or give "
            "another --out to begin anew"
        )


def comparable(fields: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    """Prepare a run file for comparison: drop the paths of inputs that are compared by content.

    Adds the order of sources and lessons, which decides the batches and which the comparison of
    dictionaries ignores.
    """
    run: dict[str, Any] = copy.deepcopy(dict(fields))
    data = run["data"]
    stages = [*data["curriculum"], *({"lessons": e["mixture"] or {}} for e in run["events"])]
    orders = {
        "order of sources": list(data["sources"]),
        "order of lessons": [list(stage["lessons"]) for stage in stages if data["curriculum"]],
    }
    for name in known:
        if name.startswith(SOURCE):
            data["sources"][name.removeprefix(SOURCE)] = True
        elif name in (MODEL, EXAMPLES, VALIDATION, TEMPLATE):
            part, _, field = name.partition(".")
            run[part][field] = True
    return run | orders


def _path(fields: Mapping[str, Any], name: str) -> Any:
    """Look up the path of an input in a run file."""
    if name.startswith(SOURCE):
        return fields["data"]["sources"].get(name.removeprefix(SOURCE))
    if name in (MODEL, EXAMPLES, VALIDATION, TEMPLATE):
        part, _, field = name.partition(".")
        return fields[part][field]
    return None  # files of tasks and plug-ins: their names are part of the run file


def _display_path(place: Any, name: str) -> str:
    """Format a file of an input for a message."""
    if place is None:
        return name
    path = Path(place)
    return str(path / name) if path.is_dir() else str(path)


def _shard_folders(run: Run) -> dict[str, str]:
    folders = {SOURCE + name: folder for name, folder in run.data.sources.items()}
    if run.data.sources and run.data.validation is not None:
        folders[VALIDATION] = run.data.validation
    return folders


def _files(run: Run) -> dict[str, dict[str, Path]]:
    """List the files that a run reads, except shards: input -> file name -> path."""
    files: dict[str, dict[str, Path]] = {}
    if run.data.examples is not None:
        files[EXAMPLES] = _example_files(run.data.examples)
        if run.data.validation is not None:
            files[VALIDATION] = _example_files(run.data.validation)
        if run.data.chat_template is not None:
            files[TEMPLATE] = _example_files(run.data.chat_template)
    if run.model.path is not None and (folder := Path(run.model.path)).is_dir():
        paths = model_files(folder) | {*folder.glob(TOKENIZER_CONFIG)}
        files[MODEL] = {path.name: path for path in sorted(paths)}
    for event in run.events:
        for task in event.evaluate.tasks if event.evaluate else ():
            for name, path in files_of_task(task).items():
                files.setdefault("events", {})[name] = path
    return files


def _example_files(source: str) -> dict[str, Path]:
    """List the files of examples by name; a single file has an empty name, so it may be renamed."""
    files = source_files(source)
    return {"": Path(source)} if Path(source).is_file() else files


def _shards_identity(shards: Shards, known: Identity | None) -> Identity:
    """Identify shards by the checksums in their index; check the files if size or time changed."""
    files = [shards.folder / INDEX, *shards.checksums]
    stats = [(file.name, file.stat()) for file in files]
    text = json.dumps([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])
    identity: Identity = {"states": hashlib.sha256(text.encode()).hexdigest()}
    if known is not None and known.get("states") == identity["states"]:
        return known
    check_shards(shards)
    return identity | {"sha256": shards.digest}


def check_shards(shards: Shards) -> None:
    """Refuse shards or a tokenizer that changed after the index was written.

    Only files newer than the index are read.

    Raises:
        InputError: a file does not have the checksum in the index.
    """
    written = (shards.folder / INDEX).stat().st_ctime_ns
    for file, expected in shards.checksums.items():
        if file.stat().st_ctime_ns > written and _checksum(file) != expected:
            raise InputError(
                f"{file} is not what its index says: restore it, or let growloop tokenize make the "
                "shards again"
            )


def _checksum(file: Path) -> str | None:
    """Compute a file's checksum as an index records it; None for an unreadable tokenizer."""
    if file.name != TOKENIZER:
        return sha256(file)
    try:
        return tokenizer_file_hash(file)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def _commit(name: str) -> str | None:
    """Return the commit of a cached hub model; None for a local folder or an uncached model."""
    if Path(name).exists():
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(cached).parent.name if isinstance(cached, str) else None
