"""Cache of lm-eval's answers (``--use_cache``): the file name for a model and its settings.

lm-eval's cache is keyed by requests alone, so a second model, schedule or precision would get the
cached answers of the first. Here a digest of all of these is part of the file's name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ..core.model_files import DECIDES_NOTHING, model_digest
from .loading import local_files


def answers_file(
    path: str, lm: Any, arguments: Mapping[str, Any], options: Mapping[str, Any]
) -> str:
    """Return the file for the answers of a loaded model: ``path`` and a digest.

    The digest is the same for both backends, any device and any number of questions.

    Args:
        path: prefix of the file's name, as given by the user.
        lm: the model as it runs, looped already.
        arguments: result of :func:`..loading.model_arguments`.
        options: lm-eval options that affect results.

    Returns:
        A path such as ``answers.db-0f3a5b6c7d8e9f01``.
    """
    config = lm.model.config.to_dict()
    parts = {
        "model": _identity(lm.model, arguments, options),
        "weights": _sums(lm.model),
        "config": {key: value for key, value in config.items() if key not in DECIDES_NOTHING},
        "schedule": str(getattr(lm.model, "schedule", None)),
        "dtype": str(lm.model.dtype),
        "options": dict(options),
    }
    whole = json.dumps(parts, sort_keys=True, default=_plain)
    return f"{path}-{hashlib.sha256(whole.encode()).hexdigest()[:16]}"


def _sums(model: Any) -> list[tuple[str, int]]:
    """Return name and checksum of each weight, which detect changes after loading.

    Checksums are integer sums of the bits: exact, so the same on any device.
    """
    import torch

    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    with torch.inference_mode():
        return [
            (name, int(weight.view(integers[weight.element_size()]).sum(dtype=torch.int64)))
            for name, weight in model.named_parameters()
        ]


def _plain(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, (set, frozenset)) else str(value)


def _identity(model: Any, arguments: Mapping[str, Any], options: Mapping[str, Any]) -> list[str]:
    """Return the digest of a local model, or id and revision of a hub model."""
    place = local_files(arguments)
    if place is not None:
        return [model_digest(*place)]
    commit = getattr(model.config, "_commit_hash", None)
    return [str(arguments["pretrained"]), str(options.get("revision", "main")), str(commit)]
