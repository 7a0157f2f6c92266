"""Decoder layers of a Hugging Face model, and the per-layer fields of its config.

There is no table of architectures. The layers are the one ``ModuleList`` of ``num_hidden_layers``
entries; per-layer fields are the config's lists of that length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from ...core.errors import InputError
from ...core.schedule import Schedule
from .native import NativeLoops, loops_by_itself, native_loops
from .views import LoopedLayers

NOT_PER_LAYER = {
    "architectures",
    "growth_history",
    "keys_to_ignore_at_inference",
    "moe_layers",  # layer indices, not one entry per layer
}
FINAL_NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm", "norm_f", "final_norm")


@dataclass(frozen=True)
class Decoder:
    """Location of the layer list in a model.

    Args:
        owner: module that holds the layer list.
        name: attribute of ``owner`` that is the layer list.
        path: dotted path of the layer list from the top of the model, such as ``model.layers``.
    """

    owner: nn.Module
    name: str
    path: str

    @property
    def layers(self) -> nn.ModuleList:
        """Layer list; :class:`LoopedLayers` where the model loops."""
        layers: nn.ModuleList = getattr(self.owner, self.name)
        return layers

    def put(self, layers: nn.ModuleList) -> None:
        """Replace the layer list of the model."""
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
        """Norm between the last layer and the head.

        Raises:
            InputError: a decoder without one.
        """
        for name in FINAL_NORMS:
            if isinstance(norm := getattr(self.owner, name, None), nn.Module):
                return norm
        raise InputError(f"no final norm beside {self.path} (looked for {', '.join(FINAL_NORMS)})")


def decoder_config(config: PretrainedConfig) -> PretrainedConfig:
    """Return the part of a config that describes the text decoder."""
    decoder: PretrainedConfig = config.get_text_config(decoder=True)
    return decoder


def find_decoder(model: nn.Module) -> Decoder:
    """Find the layer list of a Hugging Face model.

    Raises:
        InputError: no Hugging Face decoder, or not exactly one list of as many layers as its config
            says.
    """
    if not isinstance(model, PreTrainedModel):
        raise InputError(
            f"a Hugging Face causal language model is needed, not {type(model).__name__}: "
            "unwrap what is wrapped (accelerator.unwrap_model, .module, .get_base_model)"
        )
    if loops_by_itself(model.config):
        raise InputError(
            f"{type(model).__name__} is not supported here: {model.config.model_type} loops by "
            "itself, and must not be looped again"
        )
    if model.config.is_encoder_decoder:
        raise InputError(f"{type(model).__name__} has an encoder: only decoders can loop or grow")
    depth = getattr(decoder_config(model.config), "num_hidden_layers", None)
    candidates: list[tuple[str, nn.ModuleList]] = []
    for path, module in model.named_modules():
        if isinstance(module, LoopedLayers):
            return _decoder(model, path)
        same = isinstance(module, nn.ModuleList) and len(module) == depth
        if same and not any(path.startswith(outer + ".") for outer, _ in candidates):
            candidates.append((path, module))
    if len(candidates) > 1:  # a vision tower may be as deep: the decoder proper decides
        inner = set(model.get_decoder().modules())
        candidates = [pair for pair in candidates if pair[1] in inner] or candidates
    if len(candidates) != 1:
        paths = ", ".join(path for path, _ in candidates) or "none"
        raise InputError(
            f"{type(model).__name__} is not supported: looked for one ModuleList of {depth} layers "
            f"(config.num_hidden_layers), found {paths}"
        )
    return _decoder(model, candidates[0][0])


def find_layers(model: nn.Module) -> Decoder | NativeLoops:
    """Find the layers of a Hugging Face model, also of one that loops by itself.

    Raises:
        InputError: as :func:`find_decoder`.
    """
    return native_loops(model) or find_decoder(model)


def _decoder(model: nn.Module, path: str) -> Decoder:
    owner, _, name = path.rpartition(".")
    return Decoder(model.get_submodule(owner), name, path)


def per_layer_fields(config: PretrainedConfig) -> dict[str, list[Any]]:
    """Return the per-layer fields of a decoder's config: ``layer_types``, ``no_rope_layers``, …"""
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
    """Return the fields of a config whose layers are copies of ``config``'s layers ``layers``."""
    fields: dict[str, Any] = {"num_hidden_layers": len(layers)}
    for name, value in per_layer_fields(config).items():
        fields[name] = [value[layer] for layer in layers]
    return fields


def set_fields(config: PretrainedConfig, fields: dict[str, Any]) -> None:
    """Set fields of a config, lists first: some configs compare lengths with the depth."""
    for name in sorted(fields, key=lambda name: name == "num_hidden_layers"):
        setattr(config, name, fields[name])


def replace_config(model: nn.Module, old: PretrainedConfig, new: PretrainedConfig) -> None:
    """Replace a config in all modules of a model; other models may share the old one."""
    pairs = [(old, new), (decoder_config(old), decoder_config(new))]
    for module in model.modules():
        for name, value in list(module.__dict__.items()):
            for before, after in pairs:
                if value is before:
                    module.__dict__[name] = after
