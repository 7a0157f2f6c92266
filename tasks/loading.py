"""Loading of a model for scoring: by lm-eval's ``hf`` backend, or growloop's built on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..core.errors import InputError, shown, unknown
from ..core.extras import missing
from ..core.model_files import lacks_tokenizer
from ..core.model_names import NoModelError, located
from ..core.published_code import check_start, understand
from ..core.remote_code import refusal, trusted

BACKENDS = ("growloop", "hf")
DTYPES = ("auto", "float32", "bfloat16", "float16")


def require_extra(extra: str = "eval", what: str = "scoring a model") -> None:
    """Refuse to go on if an extra is not installed.

    Args:
        extra: name of the extra, a key of :data:`growloop.core.extras.EXTRAS`.
        what: what needs it, for the message.

    Raises:
        InputError: the message has the first missing module and the extra.
    """
    if (name := missing(extra)) is not None:
        raise InputError(f"{what} needs {name}: pip install 'growloop[{extra}]'")


def model_arguments(model: str) -> dict[str, Any]:
    """Return lm-eval's arguments for a model name (:func:`growloop.core.model_names.located`).

    Raises:
        InputError: the path does not exist or holds no model.
    """
    try:
        return located(model)
    except NoModelError as error:
        raise InputError(str(error)) from error


def local_files(arguments: Mapping[str, Any]) -> tuple[Path, str | None] | None:
    """Return folder and GGUF file of a model on this machine; None for a hub id.

    Args:
        arguments: result of :func:`model_arguments`.
    """
    folder = Path(arguments["pretrained"])
    return (folder, arguments.get("gguf_file")) if folder.is_dir() else None


def best_device() -> str:
    """Return a GPU if there is one, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_model(
    model: str,
    backend: str,
    arguments: dict[str, Any],
    prepare: Callable[[Any], object] | None = None,
    pack: int | None = None,
) -> Any:
    """Load a model into lm-eval's model class.

    Args:
        model: name of the model, for messages.
        backend: name in ``BACKENDS``.
        arguments: arguments of lm-eval's ``hf`` model.
        prepare: function that changes the loaded Hugging Face model in place.
        pack: tokens per forward pass of ``growloop``; by default what suits the device.

    Raises:
        InputError: the model cannot be loaded, or backend or device are unknown.
    """
    check_device(arguments["device"])
    if backend not in BACKENDS:
        raise unknown("backend", backend, BACKENDS)
    from .lm_tokenization import warn_if_trained_otherwise
    from .scoring.checked_lm import CheckedLM
    from .scoring.scorer import TrieLM

    if arguments["device"] == "cpu" and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")  # otherwise each process would be alone
    arguments = {"trust_remote_code": trusted(), **arguments}
    elsewhere = arguments.keys() & {"gguf_file", "tokenizer", "subfolder"}
    if not elsewhere and lacks_tokenizer(Path(arguments["pretrained"])):
        raise InputError(f"cannot load model '{model}': it has no tokenizer")
    where = {k: v for k, v in arguments.items() if k in ("revision", "subfolder")}
    understand(arguments["pretrained"], trust_remote_code=arguments["trust_remote_code"], **where)
    try:
        lm = TrieLM(**arguments, pack=pack) if backend == "growloop" else CheckedLM(**arguments)
    except InputError:
        raise
    except Exception as error:  # loading runs much code of others
        wrong = refusal(model, error) or f"cannot load model '{model}': {first_sentence(error)}"
        raise InputError(wrong) from error
    if prepare is not None:
        prepare(lm.model)
    check_start(lm.model)
    warn_if_trained_otherwise(lm, Path(arguments["pretrained"]))
    return lm


def check_device(device: str) -> None:
    """Refuse an unavailable device, which lm-eval would silently replace."""
    import torch

    try:
        wanted = torch.device(device)
        if device == "cuda":  # each process has its own GPU
            rank = int(os.environ.get("LOCAL_RANK", 0))
            wanted = torch.device("cuda", rank % max(1, torch.cuda.device_count()))
        if wanted.type != "meta":
            torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"no device {shown(device)}: {first_sentence(error)}") from error


def first_sentence(error: BaseException) -> str:
    """Return the first line of an error's message, or its type."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
