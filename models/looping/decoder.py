"""Finds the layers of a decoder, and what its config says about each of them.

There is no table of architectures: the layers are the one ``ModuleList`` that is as long as the
config says, and what the config lists for each layer are its lists of that length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from ...core.errors import InputError
from ...core.schedule import Schedule
from .views import LoopedLayers

NOT_PER_LAYER = {
    "architectures",
    "growth_history",
    "keys_to_ignore_at_inference",
    "moe_layers",  # numbers of layers, not one entry a layer
}
FINAL_NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm", "norm_f", "final_norm")


@dataclass(frozen=True)
class Decoder:
    """Where a model keeps its layers.

    Args:
        owner: the module whose attribute ``name`` is the list of layers.
        path: the same from the top of the model, as in ``model.layers``.
    """

    owner: nn.Module
    name: str
    path: str

    @property
    def layers(self) -> nn.ModuleList:
        """The list of layers (of *unique* layers where the model loops)."""
        found: nn.ModuleList = getattr(self.owner, self.name)
        return found

    def put(self, layers: nn.ModuleList) -> None:
        """Let the model run another list of layers."""
        setattr(self.owner, self.name, layers)

    @property
    def unique(self) -> list[nn.Module]:
        """Unique layers, in order."""
        return list(self.layers._modules.values())

    @property
    def schedule(self) -> Schedule:
        """Schedule the model runs now: that of its looped layers, else every layer once."""
        layers = self.layers
        return layers.schedule if isinstance(layers, LoopedLayers) else Schedule.plain(len(layers))

    @property
    def final_norm(self) -> nn.Module:
        """The norm between the last layer and the head."""
        for name in FINAL_NORMS:
            if isinstance(norm := getattr(self.owner, name, None), nn.Module):
                return norm
        raise InputError(f"no final norm beside {self.path} (looked for {', '.join(FINAL_NORMS)})")


def decoder_config(config: PretrainedConfig) -> PretrainedConfig:
    """The part of a config that describes the text decoder."""
    found: PretrainedConfig = config.get_text_config(decoder=True)
    return found


def find_decoder(model: nn.Module) -> Decoder:
    """The decoder of a Hugging Face model.

    Raises:
        InputError: naming what was looked for and not found.
    """
    if not isinstance(model, PreTrainedModel):
        raise InputError(
            f"a Hugging Face causal language model is needed, not {type(model).__name__}: "
            "unwrap what is wrapped (accelerator.unwrap_model, .module, .get_base_model)"
        )
    if model.config.is_encoder_decoder:
        raise InputError(f"{type(model).__name__} has an encoder: only decoders can loop or grow")
    depth = getattr(decoder_config(model.config), "num_hidden_layers", None)
    found: list[tuple[str, nn.ModuleList]] = []
    for path, module in model.named_modules():
        if isinstance(module, LoopedLayers):
            return _decoder(model, path)
        same = isinstance(module, nn.ModuleList) and len(module) == depth
        if same and not any(path.startswith(outer + ".") for outer, _ in found):
            found.append((path, module))
    if len(found) > 1:  # a vision tower may be as deep: the decoder proper decides
        inner = set(model.get_decoder().modules())
        found = [pair for pair in found if pair[1] in inner] or found
    if len(found) != 1:
        places = ", ".join(path for path, _ in found) or "none"
        raise InputError(
            f"{type(model).__name__} is not supported: looked for one ModuleList of {depth} layers "
            f"(config.num_hidden_layers), found {places}"
        )
    return _decoder(model, found[0][0])


def _decoder(model: nn.Module, path: str) -> Decoder:
    owner, _, name = path.rpartition(".")
    return Decoder(model.get_submodule(owner), name, path)


def per_layer_fields(config: PretrainedConfig) -> dict[str, list[Any]]:
    """What a decoder's config says layer by layer: ``layer_types``, ``no_rope_layers``, …"""
    depth = config.num_hidden_layers
    return {
        name: list(value)
        for name, value in vars(config).items()
        if isinstance(value, (list, tuple))
        and len(value) == depth
        and name not in NOT_PER_LAYER
        and not name.endswith(("token_id", "token_ids"))
    }


def gather_fields(config: PretrainedConfig, layers: Sequence[int]) -> dict[str, Any]:
    """The fields of a config whose layers are those of ``config`` at ``layers``."""
    fields: dict[str, Any] = {"num_hidden_layers": len(layers)}
    for name, value in per_layer_fields(config).items():
        fields[name] = [value[layer] for layer in layers]
    return fields


def set_fields(config: PretrainedConfig, fields: dict[str, Any]) -> None:
    """Write fields into a config, the lists first: some configs compare lengths."""
    for name in sorted(fields, key=lambda name: name == "num_hidden_layers"):
        setattr(config, name, fields[name])


def replace_config(model: nn.Module, old: PretrainedConfig, new: PretrainedConfig) -> None:
    """Give the parts of a model another config: the old one may belong to other models too."""
    pairs = [(old, new), (decoder_config(old), decoder_config(new))]
    for module in model.modules():
        for name, value in list(module.__dict__.items()):
            for before, after in pairs:
                if value is before:
                    module.__dict__[name] = after
