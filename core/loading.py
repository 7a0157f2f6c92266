"""Whether a model that was loaded is the one its files hold: the check of every way of loading.

Transformers fills what it does not find with random numbers, drops what it has no place for, and
goes on. What it tells of that, and the files themselves, are judged here. Torch is not imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from .errors import InputError
from .gguf import tensor_sizes
from .identity import sha256
from .strict_json import FileError, loads, read_object, short

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
MANIFEST = "manifest.json"
STATE = ("optimizer*.safetensors", "training.json", "adapters.safetensors")
"""Files of a training checkpoint that say how the run goes on, not what the model is."""
COMPUTED = ("rope_freqs.", "rope_factors_")
"""Tensors of a GGUF file that follow from the config."""


class IncompleteError(InputError):
    """A model that was loaded is not the one its files hold; the message says what is missing."""


def load_complete(from_pretrained: Callable[..., Any], name: str, **options: Any) -> Any:
    """Load a model of Hugging Face, and refuse it if it is not what its files hold.

    Args:
        from_pretrained: of an Auto class, or a class of models.
        name: a folder, or a name on the hub.
        options: for ``from_pretrained``.

    Raises:
        IncompleteError: weights that are missing, of other shapes, or that the config knows
            nothing of; files that are not those of the checkpoint's index or manifest.
    """
    options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}  # told, by name
    gguf_file = options.get("gguf_file")
    if gguf_file is None:
        wrong = files_problem(Path(name, options.get("subfolder") or ""))
    else:
        options["gguf_file"], wrong = gguf_path(name, gguf_file), None
    if wrong is None:
        model, info = from_pretrained(name, **options)
        wrong = loading_problem(info, model)
        if wrong is None and gguf_file is not None:
            wrong = gguf_problem(Path(options["gguf_file"]), model)
        if wrong is None:
            return model
    raise IncompleteError(f"{name} {wrong}")


def loading_problem(info: Mapping[str, Any], model: Any = None) -> str | None:
    """What keeps a loaded model from being its checkpoint, as the end of a sentence; or None.

    Args:
        info: the loading info of ``from_pretrained(..., output_loading_info=True)``: lists or sets
            of names. Keys that transformers itself knows to be dispensable (old buffers, tied
            heads) are not among them.
        model: what was loaded.

    >>> loading_problem({"missing_keys": {"lm_head.weight"}})
    'has not all weights of its config: 1 is missing, lm_head.weight'
    """
    if getattr(model, "_hf_peft_config_loaded", False):  # the info is the adapter's alone
        return "holds an adapter: merge it into its base, or score the base with --peft"
    if missing := sorted(info.get("missing_keys") or ()):
        return f"has not all weights of its config: {_missing(missing)}"
    if mismatched := sorted(info.get("mismatched_keys") or (), key=str):
        name, stored, wanted = mismatched[0]
        return (
            f"has weights of other shapes than its config: {_counted(mismatched, name)}, "
            f"{_shape(stored)} instead of {_shape(wanted)}"
        )
    if unexpected := sorted(info.get("unexpected_keys") or ()):
        counted = _counted(unexpected, unexpected[0])
        return f"has weights that its config knows nothing of: {counted}"
    errors = info.get("conversion_errors") or info.get("error_msgs")
    if errors:
        return f"has weights that cannot be read: {str(next(iter(errors)))[:200]}"
    return None


def gguf_problem(path: Path, model: Any) -> str | None:
    """What of a GGUF file is not in the model made of it, as the end of a sentence; or None.

    Transformers tells what is missing, and drops without a word what it does not know: the file
    then holds more numbers than the model.
    """
    weights = list(model.parameters())
    if not path.is_file() or not all(weight.is_floating_point() for weight in weights):
        return None  # on the hub; or packed as in the file, so that numbers are not alike
    sizes = {k: n for k, n in tensor_sizes(path).items() if not k.startswith(COMPUTED)}
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    held = sum(weight.numel() for weight in weights)
    held += sum(v.numel() for k, v in model.state_dict().items() if k not in names and v.dim())
    if (lost := sum(sizes.values()) - held) <= 0:
        return None
    return f"has weights that its config knows nothing of: {lost:,} numbers are left over"


def gguf_path(folder: str, gguf_file: str) -> str:
    """Where a GGUF file of a model folder is; for the hub, its name as it was given.

    Transformers prefers a file of that name in the working directory, whatever the folder.
    """
    path = Path(folder, gguf_file)
    return str(path.resolve()) if path.is_file() else gguf_file


def files_problem(folder: Path) -> str | None:
    """What is wrong with the files of a local model folder, as the end of a sentence; or None.

    Looked at are the shards that an index names, and the checksums of a training checkpoint.
    A file that has not changed since is not read twice.
    """
    wrong = _index_problem(folder)
    if wrong is None and (folder / MANIFEST).is_file() and not _of_others(folder / MANIFEST):
        wrong = checksum_problem(folder, STATE)
        if wrong is not None and "checksum" in wrong:
            wrong += f" (if it was changed on purpose, remove {MANIFEST})"
    return None if wrong is None else f"is damaged: {wrong}"


def checksum_problem(folder: Path, leave_out: tuple[str, ...] = ()) -> str | None:
    """Which file of a training checkpoint is not the one its ``manifest.json`` lists; or None.

    Args:
        leave_out: patterns of names that are not looked at.
    """
    try:
        sums = read_object(folder / MANIFEST, sha256=dict)["sha256"]
    except (OSError, FileError):
        return f"{MANIFEST} cannot be read"
    for name, expected in sums.items():
        if name.startswith("/") or ".." in name.split("/"):
            return f"{MANIFEST} names {short(name)!r}, which is no file of the folder"
        if any(fnmatch(name, pattern) for pattern in leave_out):
            continue
        if not (folder / name).is_file():
            return f"{name} is missing"
        if sha256(folder / name) != expected:
            return f"{name} does not have its checksum"
    return None


def _of_others(manifest: Path) -> bool:
    """Whether a readable manifest is one of another program."""
    try:
        content = loads(manifest.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return not (isinstance(content, dict) and "sha256" in content)


def _index_problem(folder: Path) -> str | None:
    """What an index of shards says that is not so."""
    index = next((folder / name for name in INDEXES if (folder / name).is_file()), None)
    if index is None or (folder / index.name.removesuffix(".index.json")).is_file():
        return None  # one file is read, whatever an index says
    try:
        shards = set(loads(index.read_text("utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # a shard that is no name
        return f"{index.name} cannot be read"
    for shard in sorted(map(str, shards)):
        if Path(shard).name != shard:
            return f"{index.name} names {shard!r}, which is no file of the folder"
        if not (folder / shard).is_file():
            return f"{shard} is missing, which {index.name} names"
    return None


def _missing(names: list[str]) -> str:
    verb = "is" if len(names) == 1 else "are"
    first = names[0] if len(names) == 1 else f"the first {names[0]}"
    return f"{len(names)} {verb} missing, {first}"


def _counted(found: list[Any], first: str) -> str:
    return first if len(found) == 1 else f"{len(found)}, the first {first}"


def _shape(shape: Any) -> str:
    return "×".join(map(str, shape)) or "a number"
