"""Check that a loaded model has exactly the weights of its files.

transformers fills missing weights with random numbers and drops unexpected ones, without an error.
This module checks its loading info, and the files themselves. It does not import torch.
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
"""Files of a training checkpoint that hold the state of the run, not the model."""
COMPUTED = ("rope_freqs.", "rope_factors_")
"""Prefixes of GGUF tensors that transformers computes from the config."""


class IncompleteError(InputError):
    """Loaded model that differs from its files; the message names the difference."""


def load_complete(from_pretrained: Callable[..., Any], name: str, **options: Any) -> Any:
    """Load a Hugging Face model, and refuse it if it differs from its files.

    Args:
        from_pretrained: method of an Auto class or a model class.
        name: folder or hub id.
        options: keyword arguments of ``from_pretrained``.

    Returns:
        The model, as ``from_pretrained`` returns it.

    Raises:
        IncompleteError: weights are missing, unexpected or of other shapes than in the config; or
            files do not match the checkpoint's index or manifest.

    Example::

        model = load_complete(AutoModelForCausalLM.from_pretrained, "./checkpoint")
    """
    options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}  # in the info
    gguf_file = options.get("gguf_file")
    if gguf_file is None:
        problem = files_problem(Path(name, options.get("subfolder") or ""))
    else:
        options["gguf_file"], problem = gguf_path(name, gguf_file), None
    if problem is None:
        model, info = from_pretrained(name, **options)
        problem = loading_problem(info, model)
        if problem is None and gguf_file is not None:
            problem = gguf_problem(Path(options["gguf_file"]), model)
        if problem is None:
            return model
    raise IncompleteError(f"{name} {problem}")


def loading_problem(info: Mapping[str, Any], model: Any = None) -> str | None:
    """Describe how a loaded model differs from its checkpoint; None if it does not.

    Args:
        info: loading info of ``from_pretrained(..., output_loading_info=True)``: kind -> names. It
            excludes names that transformers knows to be dispensable (old buffers, tied heads).
        model: loaded model.

    Returns:
        The end of a sentence that begins with the name of the model.

    >>> loading_problem({"missing_keys": {"lm_head.weight"}})
    'has not all weights of its config: 1 is missing, lm_head.weight'
    """
    if getattr(model, "_hf_peft_config_loaded", False):  # the info covers only the adapter
        return "holds an adapter: merge it into its base, or score the base with --peft"
    if missing := sorted(info.get("missing_keys") or ()):
        return f"has not all weights of its config: {_missing(missing)}"
    if mismatched := sorted(info.get("mismatched_keys") or (), key=str):
        name, stored, expected = mismatched[0]
        return (
            f"has weights of other shapes than its config: {_counted(mismatched, name)}, "
            f"{_shape(stored)} instead of {_shape(expected)}"
        )
    if unexpected := sorted(info.get("unexpected_keys") or ()):
        counted = _counted(unexpected, unexpected[0])
        return f"has weights that its config does not have: {counted}"
    errors = info.get("conversion_errors") or info.get("error_msgs")
    if errors:
        return f"has weights that cannot be read: {str(next(iter(errors)))[:200]}"
    return None


def gguf_problem(path: Path, model: Any) -> str | None:
    """Describe the weights of a GGUF file that its model lacks, as in :func:`loading_problem`.

    transformers silently drops tensors that it does not know. The file then holds more elements
    than the model.
    """
    weights = list(model.parameters())
    if not path.is_file() or not all(weight.is_floating_point() for weight in weights):
        return None  # on the hub; or packed weights, whose numbers differ in count
    sizes = {k: n for k, n in tensor_sizes(path).items() if not k.startswith(COMPUTED)}
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    in_model = sum(weight.numel() for weight in weights)
    in_model += sum(v.numel() for k, v in model.state_dict().items() if k not in names and v.dim())
    if (lost := sum(sizes.values()) - in_model) <= 0:
        return None
    return f"has weights that its config does not have: {lost:,} numbers are left over"


def gguf_path(folder: str, gguf_file: str) -> str:
    """Return the absolute path of a GGUF file in a model folder; for the hub, its name.

    With a name alone, transformers would prefer a file of that name in the working directory.
    """
    path = Path(folder, gguf_file)
    return str(path.resolve()) if path.is_file() else gguf_file


def files_problem(folder: Path) -> str | None:
    """Describe damage to a local model folder, as in :func:`loading_problem`; None without damage.

    Checks the shards in an index, and the checksums of a training checkpoint. An unchanged file is
    not read twice.
    """
    damage = _index_problem(folder)
    if damage is None and (folder / MANIFEST).is_file() and not _is_foreign(folder / MANIFEST):
        damage = checksum_problem(folder, STATE)
        if damage is not None and "checksum" in damage:
            damage += f" (if it was changed on purpose, remove {MANIFEST})"
    return None if damage is None else f"is damaged: {damage}"


def checksum_problem(folder: Path, leave_out: tuple[str, ...] = ()) -> str | None:
    """Name the first file of a checkpoint that does not match its ``manifest.json``; or None.

    Args:
        leave_out: patterns of file names to skip.
    """
    try:
        sums = read_object(folder / MANIFEST, sha256=dict)["sha256"]
    except (OSError, FileError):
        return f"{MANIFEST} cannot be read"
    for name, expected in sums.items():
        if name.startswith("/") or ".." in name.split("/"):
            return f"{MANIFEST} names {short(name)!r}, which is not a file of the folder"
        if any(fnmatch(name, pattern) for pattern in leave_out):
            continue
        if not (folder / name).is_file():
            return f"{name} is missing"
        if sha256(folder / name) != expected:
            return f"{name} does not have its checksum"
    return None


def _is_foreign(manifest: Path) -> bool:
    """Return whether another program wrote a manifest; False if it cannot be read."""
    try:
        content = loads(manifest.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return not (isinstance(content, dict) and "sha256" in content)


def _index_problem(folder: Path) -> str | None:
    """Describe the first error of a weight index; None if there is none."""
    index = next((folder / name for name in INDEXES if (folder / name).is_file()), None)
    if index is None or (folder / index.name.removesuffix(".index.json")).is_file():
        return None  # transformers prefers a single file to an index
    try:
        shards = set(loads(index.read_text("utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # or unhashable shard names
        return f"{index.name} cannot be read"
    for shard in sorted(map(str, shards)):
        if Path(shard).name != shard:
            return f"{index.name} names {shard!r}, which is not a file of the folder"
        if not (folder / shard).is_file():
            return f"{shard} is missing, which {index.name} names"
    return None


def _missing(names: list[str]) -> str:
    verb = "is" if len(names) == 1 else "are"
    first = names[0] if len(names) == 1 else f"the first {names[0]}"
    return f"{len(names)} {verb} missing, {first}"


def _counted(names: list[Any], first: str) -> str:
    return first if len(names) == 1 else f"{len(names)}, the first {first}"


def _shape(shape: Any) -> str:
    return "×".join(map(str, shape)) or "a number"
