"""Looped checkpoints that load without growloop: one modelling file beside the weights.

``AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)`` loads them wherever torch
and transformers are. Where growloop is imported, its own classes are used.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ...core.caches import cache_name, cache_of
from ...core.errors import InputError
from ...core.files import write_atomically
from . import modeling_looped
from .config import LoopedConfig
from .decoder import decoder_config
from .model_card import write_card

FILE = "modeling_looped.py"
TOKENS = 12
"""Tokens on which a written checkpoint is compared with the model."""


def check_self_contained(model: Any) -> None:
    """Refuse a model that the modelling file cannot compute, before anything is written.

    Raises:
        InputError: a model that does not loop, one with a recurrence, or the text part of a larger
            one.
    """
    config = model.config
    if not isinstance(config, LoopedConfig):
        raise InputError("a model that does not loop needs no code: save it as it is")
    if config.recurrence:
        names = ", ".join(sorted(config.recurrence))
        raise InputError(
            f"self-contained code runs layers by a schedule alone, and this model has {names}: "
            "save it without"
        )
    if decoder_config(config) is not config:
        raise InputError(
            f"self-contained code is for text models, and {type(model).__name__} has other parts"
        )


def add_code(model: Any, folder: str | Path, card: Mapping[str, Any]) -> None:
    """Add modelling file and card to a saved looped model, and check that it computes the same.

    Args:
        model: the model that was saved there.
        folder: folder with config.json and weights; changed in place.
        card: arguments of :func:`.model_card.model_card`; the name is the folder's by default.

    Raises:
        InputError: the code computes other logits than the model.
    """
    place = Path(folder)
    fields = json.loads((place / "config.json").read_text(encoding="utf-8"))
    fields["auto_map"] = dict(modeling_looped.AUTO_MAP)
    fields["schedule_steps"] = list(model.schedule.layers)
    text = json.dumps(fields, indent=2, sort_keys=True) + "\n"
    write_atomically(place / "config.json", text.encode())
    shutil.copyfile(modeling_looped.__file__, place / FILE)
    _check_same(model, place)
    write_card(model, place, **{"name": place.name, **card})


def _check_same(model: Any, folder: Path) -> None:
    """Compare the logits of the written checkpoint with the model's: at once, and by a KV cache.

    Raises:
        InputError: they differ.
    """
    device = next(model.parameters()).device
    before = logging.getLogger("transformers").level
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        load = modeling_looped.LoopedForCausalLM.from_pretrained
        written = load(str(folder), dtype=model.dtype).to(device).eval()
    finally:
        logging.getLogger("transformers").setLevel(before)
    size = decoder_config(model.config).vocab_size
    tokens = (torch.arange(TOKENS, device=device) * 7919 % size)[None]
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            wanted, found = model(tokens).logits, written(tokens).logits
            cached = _by_cache(written, tokens), _by_cache(model, tokens)
    finally:
        model.train(was_training)
    if not (torch.equal(wanted, found) and torch.equal(*cached)):
        raise InputError(
            f"self-contained code is not supported for {type(model).__name__}: it computes other "
            "logits than the model"
        )


def _by_cache(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Return the last logits, where the second half reads the first from a KV cache."""
    half = tokens.shape[1] // 2
    output = model(tokens[:, :half], use_cache=True)
    named = {cache_name(model.forward, output): cache_of(output)}
    logits: torch.Tensor = model(tokens[:, half:], use_cache=True, **named).logits
    return logits


def push_with_code(model: Any, repo_id: str, **options: Any) -> Any:
    """Upload a looped model with its code to the hub; return the address of the commit.

    Args:
        repo_id: name of the repository; made where there is none.
        options: ``private``, ``token``, ``revision``, ``create_pr``, ``commit_message``,
            ``commit_description``, ``tags`` and ``max_shard_size`` of Hugging Face's
            ``push_to_hub``.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=options.pop("token", None))
    private, sizes = options.pop("private", None), {}
    if (size := options.pop("max_shard_size", None)) is not None:
        sizes["max_shard_size"] = size
    tags = options.pop("tags", None)
    name = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    with tempfile.TemporaryDirectory() as folder:
        card = {"name": name, "tags": tags or (), **options.pop("card", {})}
        model.save_pretrained(folder, self_contained=True, card=card, **sizes)
        options.setdefault("commit_message", f"Upload {type(model).__name__}")
        return api.upload_folder(repo_id=name, folder_path=folder, **options)
