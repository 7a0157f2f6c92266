"""Inputs of a run, known by content: what changed since it began is named and refused.

A path is no identity: the same files elsewhere are the same inputs, other files at the same path
are not. Identities are in the ``training.json`` of each checkpoint.
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
from .data.documents import source_files
from .data.shards import INDEX, Shards
from .data.tokenization import TOKENIZER, tokenizer_file_hash
from .runfile import Run

MODEL, EXAMPLES, VALIDATION = "model.path", "data.examples", "data.validation"
TEMPLATE = "data.chat_template"
SOURCE = "data.sources."
TOKENIZER_CONFIG = "special_tokens_map.json"  # in checkpoints of earlier versions of transformers

Inputs = dict[str, dict[str, Identity]]
"""Input, as the run file calls it -> file -> identity."""


def read_inputs(
    run: Run, known: Mapping[str, Mapping[str, Identity]] | None = None, lenient: bool = False
) -> Inputs:
    """Identities of all that a run reads from files.

    Args:
        known: an earlier result: files of the same size and time are not read again.
        lenient: pass over shards that are not there.

    Raises:
        InputError: shards that are not what their index says.
    """
    before = known or {}
    found: Inputs = {}
    for name, folder in _shard_folders(run).items():
        if lenient and not (Path(folder) / INDEX).is_file():
            continue
        found[name] = {INDEX: _shards_identity(Shards(folder), before.get(name, {}).get(INDEX))}
    for name, files in _files(run).items():
        found[name] = identify(files, before.get(name), content_digest)
    if run.model.path is not None and (commit := _commit(run.model.path)) is not None:
        found[MODEL] = {"commit": {"sha256": commit}}
    return {name: files for name, files in found.items() if files}


def refuse_changed(
    run: Run,
    began: Mapping[str, Any],
    recorded: Inputs,
    found: Inputs,
    force: bool,
    where: str,
) -> None:
    """Refuse to go on with other inputs under the same names.

    Args:
        began: the run file that the run was begun with, as JSON has it.
        recorded, found: its inputs then and now.
        force: let inputs change where the run file names another path.
        where: the checkpoint, in the message.

    Raises:
        InputError: naming the files.
    """
    now = run.model_dump(mode="json")
    for name in sorted(recorded.keys() & found.keys()):
        changed = differing(found[name], recorded[name])
        if not changed or (force and _path(now, name) != _path(began, name)):
            continue
        place = _path(now, name)
        files = listed([_file(place, file) for file in changed])
        raise InputError(
            f"{files} ({name}) changed since {where} was written: restore what was there, or give "
            "another --out to begin anew"
        )


def comparable(fields: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    """A run file as it is compared with another: without the paths of inputs known by content.

    Orders that decide the batches, which dictionaries hide, are fields of their own.
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
    """Where a run file says that an input is."""
    if name.startswith(SOURCE):
        return fields["data"]["sources"].get(name.removeprefix(SOURCE))
    if name in (MODEL, EXAMPLES, VALIDATION, TEMPLATE):
        part, _, field = name.partition(".")
        return fields[part][field]
    return None  # files of tasks: the names of tasks hold them


def _file(place: Any, name: str) -> str:
    """A file of an input as a message has it."""
    if place is None:
        return name
    path = Path(place)
    return str(path / name) if path.is_dir() else str(path)


def _shard_folders(run: Run) -> dict[str, str]:
    found = {SOURCE + name: folder for name, folder in run.data.sources.items()}
    if run.data.sources and run.data.validation is not None:
        found[VALIDATION] = run.data.validation
    return found


def _files(run: Run) -> dict[str, dict[str, Path]]:
    """Files that a run reads beside shards, by input."""
    found: dict[str, dict[str, Path]] = {}
    if run.data.examples is not None:
        found[EXAMPLES] = _placeless(run.data.examples)
        if run.data.validation is not None:
            found[VALIDATION] = _placeless(run.data.validation)
        if run.data.chat_template is not None:
            found[TEMPLATE] = _placeless(run.data.chat_template)
    if run.model.path is not None and (folder := Path(run.model.path)).is_dir():
        paths = model_files(folder) | {*folder.glob(TOKENIZER_CONFIG)}
        found[MODEL] = {path.name: path for path in sorted(paths)}
    for event in run.events:
        for task in event.evaluate.tasks if event.evaluate else ():
            for typed, path in files_of_task(task).items():
                found.setdefault("events", {})[typed] = path
    return found


def _placeless(source: str) -> dict[str, Path]:
    """Files of examples by their names in the folder; a single one may be called otherwise."""
    files = source_files(source)
    return {"": Path(source)} if Path(source).is_file() else files


def _shards_identity(shards: Shards, known: Identity | None) -> Identity:
    """Of an index, which has the checksums of all shards, and of the states of all their files."""
    files = [shards.folder / INDEX, *shards.checksums]
    states = [(file.name, file.stat()) for file in files]
    text = json.dumps([(name, state.st_size, state.st_mtime_ns) for name, state in states])
    found: Identity = {"states": hashlib.sha256(text.encode()).hexdigest()}
    if known is not None and known.get("states") == found["states"]:
        return known
    check_shards(shards)
    return found | {"sha256": shards.digest}


def check_shards(shards: Shards) -> None:
    """Refuse shards or a tokenizer that were changed after the index was written.

    Files older than the index are as it says; newer ones are read.

    Raises:
        InputError: naming the file.
    """
    written = (shards.folder / INDEX).stat().st_ctime_ns
    for file, wanted in shards.checksums.items():
        if file.stat().st_ctime_ns > written and _checksum(file) != wanted:
            raise InputError(
                f"{file} is not what its index says: restore it, or let growloop tokenize make the "
                "shards again"
            )


def _checksum(file: Path) -> str | None:
    """What an index says of a file; None of a tokenizer that cannot be read."""
    if file.name != TOKENIZER:
        return sha256(file)
    try:
        return tokenizer_file_hash(file)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def _commit(name: str) -> str | None:
    """The commit of a model on the hub that is in the cache; None of a folder."""
    if Path(name).exists():
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(found).parent.name if isinstance(found, str) else None
