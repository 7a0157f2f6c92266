"""Scoring of a model that is loaded already, which stays as it is.

lm-eval sets a model to evaluation and ties its weights, looping changes its class and config. All
of this happens to a twin: a copy of the modules around the same parameters and buffers.
"""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Iterator, Mapping
from typing import Any

from ..core.errors import InputError, shown, unknown
from ..core.lm_eval_options import OPTIONS
from .loading import BACKENDS

LOADS = {
    name for name, option in OPTIONS.items()
    if option.receiver == "weights" or (option.receiver == "model" and option.effect == "model")
} | {"use_fast_tokenizer"}  # fmt: skip
"""lm-eval options that say how to load a model."""


def check_loaded(model: Any, tokenizer: Any) -> None:
    """Refuse what cannot be scored.

    Raises:
        InputError: no model of transformers, one that is distributed, one without weights, or no
            tokenizer.
    """
    if not hasattr(model, "config") or not callable(getattr(model, "named_parameters", None)):
        if hasattr(getattr(model, "module", None), "config"):
            raise InputError(
                f"a {type(model).__name__} cannot be scored: give the model inside, model.module"
            )
        raise InputError(
            "a model is a hub id, a folder, a file or a loaded model of transformers, not "
            f"{shown(model)}"
        )
    if tokenizer is None:
        raise InputError(
            "a loaded model needs its tokenizer: evaluate(model, tasks, tokenizer=tokenizer)"
        )
    if not callable(tokenizer) or not hasattr(tokenizer, "encode"):
        raise InputError(f"a tokenizer is one of transformers, not {shown(tokenizer)}")
    for name, parameter in model.named_parameters():
        if parameter.device.type == "meta":
            raise InputError(f"the model has no weights: {name} is on the meta device")


def check_loaded_options(device: str | None, dtype: str, options: Mapping[str, Any]) -> None:
    """Refuse options that are about loading.

    Args:
        options: options for lm-eval's model.

    Raises:
        InputError: naming the first one.
    """
    given = [*(["device"] if device is not None else []), *(["dtype"] if dtype != "auto" else [])]
    for name in [*given, *(name for name in options if name in LOADS)]:
        raise InputError(f"a loaded model is scored where and as it is: leave out {name}")


def twin(model: Any) -> Any:
    """Copy a model without its weights: the twin has the same parameter and buffer objects.

    Whatever is done to the twin's modules, class, config or schedule leaves ``model`` alone.
    """
    model = getattr(model, "_orig_mod", model)  # of torch.compile
    memo: dict[int, Any] = {id(tensor): tensor for tensor in model.parameters()}
    memo |= {id(tensor): tensor for tensor in model.buffers()}
    other = copy.deepcopy(model, memo)
    other.tie_weights = lambda *_, **__: None  # scored with the weights that it has
    return other


def wrap_loaded(
    model: Any, tokenizer: Any, backend: str, arguments: Mapping[str, Any], pack: int | None
) -> Any:
    """Wrap a twin of a model in lm-eval's model class.

    Args:
        backend: name in ``BACKENDS``.
        arguments: arguments of lm-eval's ``hf`` model.
        pack: tokens per forward pass of ``growloop``; by default what suits the device.

    Raises:
        InputError: an unknown backend, or a model that cannot be scored.
    """
    if backend not in BACKENDS:
        raise unknown("backend", backend, BACKENDS)
    from .loading import first_sentence
    from .scoring.checked_lm import CheckedLM
    from .scoring.scorer import TrieLM

    own = {"pretrained": twin(model), "tokenizer": copy.deepcopy(tokenizer)}
    try:
        if backend == "growloop":
            return TrieLM(**own, **arguments, pack=pack)
        return CheckedLM(**own, **arguments)
    except InputError:
        raise
    except Exception as error:  # lm-eval takes apart a model of anyone
        raise InputError(f"cannot score this model: {first_sentence(error)}") from error


@contextlib.contextmanager
def same_random_state() -> Iterator[None]:
    """Restore the state of all random generators at the end: lm-eval seeds them."""
    import numpy
    import torch

    python, of_numpy, of_torch = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    cuda: Any = torch.cuda
    of_cuda = cuda.get_rng_state_all() if cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(python)
        numpy.random.set_state(of_numpy)
        torch.set_rng_state(of_torch)
        if of_cuda is not None:
            cuda.set_rng_state_all(of_cuda)
