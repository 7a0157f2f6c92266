"""Build models of the described architectures, plain, and with layers physically copied."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from .description import (
    DEPTH,
    LEFT_OUT,
    SIZES,
    Architecture,
    At,
)
from .fully_checked import ARCHITECTURES
from .limits import KEPT, REFUSED
from .others import OTHERS


def installed(table: Iterable[str]) -> list[str]:
    """Those of a table that the installed transformers has."""
    return [kind for kind in table if hasattr(transformers, architecture(kind).config)]


def architecture(kind: str) -> Architecture:
    return (ARCHITECTURES | OTHERS | KEPT | REFUSED)[kind]


def config(kind: str, layers: Iterable[int] = range(DEPTH)) -> Any:
    """The config of a model with these layers."""
    name, fields, *_ = architecture(kind)
    made = getattr(transformers, name)
    at, default = At(layers), made()
    sizes = SIZES | {"num_hidden_layers": len(at.layers)}
    given = {name: size for name, size in sizes.items() if hasattr(default, name)} | fields(at)
    named = {made.attribute_map.get(name, name): value for name, value in given.items()}
    found = made(**{name: value for name, value in named.items() if value is not LEFT_OUT})
    for part in (found, found.get_text_config(decoder=True)):
        for name, value in vars(part).items():
            if "drop" in name and isinstance(value, float):
                setattr(part, name, 0.0)
    return found


def _made(kind: str, layers: Iterable[int] = range(DEPTH)) -> Any:
    name, described = architecture(kind).model, config(kind, layers)
    if name is None:
        return transformers.AutoModelForCausalLM.from_config(described)
    return getattr(transformers, name)(described)


@functools.cache
def _template(kind: str) -> Any:
    torch.manual_seed(0)
    model = _made(kind)
    with torch.no_grad():
        for weight in model.parameters():  # states that move, so that mistakes show
            if weight.dim() > 1:
                weight.normal_(std=0.2)
            else:
                weight.add_(0.1 * torch.randn_like(weight))
    return model.eval()


def plain(kind: str) -> Any:
    """A model of ``DEPTH`` layers, the same each time."""
    return copy.deepcopy(_template(kind))


SCALED = ("llama", "phi3", "phi", "gpt_neox", "phimoe", "minicpm3", "glm4", "gemma3, text")
"""Those that are tried with positions that depend on the length of a text."""
SWITCH = 12  # tokens; longer texts are read by other positions


def scaled(kind: str, rope_type: str) -> Any:
    """A small model of an architecture, its positions scaled by length."""
    described = config(kind)
    text = described.get_text_config(decoder=True)
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads

    def with_scaling(plain: dict[str, Any]) -> dict[str, Any]:
        share = max(0.5, plain.get("partial_rotary_factor", 1.0))
        pairs = int(head * share) // 2
        return {
            **plain,
            "partial_rotary_factor": share,
            "rope_type": rope_type,
            "factor": 4.0,
            "original_max_position_embeddings": SWITCH,
            "short_factor": [1.0] * pairs,
            "long_factor": [3.0] * pairs,
            "short_mscale": 1.0,
            "long_mscale": 1.3,
        }

    text.max_position_embeddings = text.original_max_position_embeddings = SWITCH
    plain = text.rope_parameters
    if "rope_theta" in plain:
        text.rope_parameters = with_scaling(plain)
    else:  # by kind of layer
        text.rope_parameters = {name: with_scaling(own) for name, own in plain.items()}
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(described).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(std=0.2)
    return model


def layer_of(kind: str, name: str) -> tuple[int, str] | None:
    """The layer that a weight belongs to, and its name in there."""
    before, mark, after = name.partition(architecture(kind).path + ".")
    if before or not mark:
        return None
    layer, _, rest = after.partition(".")
    return int(layer), rest


def unrolled(kind: str, layers: Sequence[int]) -> Any:
    """An ordinary model with a copy of a layer of ``plain(kind)`` for each step."""
    return copy.deepcopy(_unrolled(kind, tuple(layers)))


@functools.cache
def _unrolled(kind: str, layers: tuple[int, ...]) -> Any:
    weights: dict[str, Tensor] = _template(kind).state_dict()
    model = _made(kind, layers)
    copied = {}
    for name in model.state_dict():
        place = layer_of(kind, name)
        if place is None:
            copied[name] = weights[name]
        else:
            step, rest = place
            copied[name] = weights[f"{architecture(kind).path}.{layers[step]}.{rest}"]
    model.load_state_dict(copied)
    return model.eval()


def copied(kind: str, layers: Sequence[int]) -> Any:
    """``plain(kind)`` with layers that were built in its own places; without a cache only."""
    model, described = plain(kind), config(kind, layers)
    above, _, name = architecture(kind).path.rpartition(".")
    owner = model.get_submodule(above)
    stack = [copy.deepcopy(getattr(owner, name)[layer]) for layer in layers]
    setattr(owner, name, nn.ModuleList(stack))
    for field in ("layer_types", "mlp_layer_types", "num_hidden_layers"):
        if hasattr(described, field):
            setattr(model.config, field, getattr(described, field))
    return model.eval()


def tokens(rows: int = 2, length: int = 9) -> Tensor:
    return torch.randint(5, 90, (rows, length), generator=torch.Generator().manual_seed(1))


def left_padded(ids: Tensor, gap: int = 3) -> dict[str, Tensor]:
    """A batch whose first text is shorter."""
    mask = torch.ones_like(ids)
    mask[0, :gap] = 0
    return {"input_ids": ids * mask, "attention_mask": mask}
