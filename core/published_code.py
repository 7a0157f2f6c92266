"""Published code of looped models that was written for transformers 4, under transformers 5.

Ouro and Huginn come with code of their own (``--trust-remote-code``), which their authors wrote
for transformers 4. Between the versions, arguments of the mask functions were renamed, the
default rotary frequencies moved, tied weights became a mapping, and caches are asked by number of
tokens. Nothing that the code computes is changed.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from .errors import InputError
from .remote_code import trusted

CODE = {"ouro": "OuroForCausalLM", "huginn_raven": "RavenForCausalLM"}
"""``model_type`` -> causal language model class of the published code."""
RANDOM_START = ("huginn_raven",)
"""``model_type`` of code whose forward draws a state from the global random generator."""
CHECKS = "rope_config_validation", "layer_type_validation"  # every config checks itself now
MASKS = "create_causal_mask", "create_sliding_window_causal_mask"


def understand(pretrained: str, **options: Any) -> None:
    """Adapt the code of a checkpoint before it is loaded, if it is one of :data:`CODE`.

    Nothing happens for other models, without permission to run remote code, or where the config
    cannot be read: loading says what is wrong.

    Args:
        pretrained: hub id or folder.
        options: keyword arguments of ``from_pretrained``.
    """
    if not options.get("trust_remote_code", trusted()):
        return
    from transformers import PretrainedConfig
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    where = {k: v for k, v in options.items() if k in ("revision", "subfolder", "cache_dir")}
    try:
        fields, _ = PretrainedConfig.get_config_dict(pretrained, **where)
    except Exception:
        return
    references = fields.get("auto_map") or {}
    if fields.get("model_type") not in CODE or not isinstance(references, Mapping):
        return
    for reference in references.values():
        if isinstance(reference, str):
            found = get_class_from_dynamic_module(reference, pretrained, **where)
            package = found.__module__.rpartition(".")[0]
            for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
                adapt(sys.modules[name])  # it may import files beside it


def check_start(model: Any) -> None:
    """Refuse to score a model whose logits differ from forward pass to forward pass.

    Args:
        model: loaded model; after ``growloop.models.loop(model)`` its start depends on the position
            of a token alone.

    Raises:
        InputError: naming the architecture.
    """
    kind = getattr(getattr(model, "config", None), "model_type", None)
    if kind in RANDOM_START and not getattr(model, "loops_by_itself", False):
        raise InputError(
            f"{kind} draws the start of its loops at random in each forward pass, so its scores "
            "would not repeat: use growloop.evaluate, or give prepare=growloop.models.loop"
        )


def adapt(module: Any) -> None:
    """Adapt a module of published code, in place.

    Args:
        module: imported module with the model classes, or with the config class.
    """
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    for name in MASKS:
        if callable(function := vars(module).get(name)):
            setattr(module, name, _with_old_names(function))
    for name in CHECKS:
        if name in vars(module):
            setattr(module, name, lambda *_, **__: None)
    if "ROPE_INIT_FUNCTIONS" in vars(module) and "default" not in ROPE_INIT_FUNCTIONS:
        module.ROPE_INIT_FUNCTIONS = {"default": _default_frequencies, **ROPE_INIT_FUNCTIONS}
    for found in list(vars(module).values()):
        if isinstance(found, type) and found.__module__ == module.__name__:
            _adapt_class(module, found)


def _adapt_class(module: Any, found: Any) -> None:
    """Adapt a class of a module of published code."""
    from transformers import PretrainedConfig, PreTrainedModel
    from transformers.cache_utils import Cache

    if issubclass(found, PreTrainedModel) and isinstance(found._tied_weights_keys, list):
        found._tied_weights_keys = _tied(module, found._tied_weights_keys)
    if "initialize_state" in vars(found):  # Huginn
        _adapt_generation(found)
    if "RotaryEmbedding" in found.__name__:  # where transformers 5 looks for them
        found.compute_default_rope_parameters = staticmethod(_default_frequencies)
    if issubclass(found, PretrainedConfig):
        _adapt_config(found)
    if issubclass(found, Cache) and "get_mask_sizes" in vars(found):
        _adapt_cache(found)


def _tied(module: Any, names: list[str]) -> dict[str, str]:
    """Return tied weights as the mapping that transformers 5 needs: weight -> its source."""
    source = "transformer.wte.weight" if hasattr(module, "RavenForCausalLM") else ""
    return dict.fromkeys(names, source or "model.embed_tokens.weight")


def _adapt_config(kind: Any) -> None:
    """Give a config class the token ids it relies on, and let it read what it has written."""
    if "_growloop" in vars(kind):
        return
    kind._growloop = True
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        if not hasattr(kind, name):
            setattr(kind, name, None)
    plain = kind.__init__
    own = plain.__code__.co_varnames[: plain.__code__.co_argcount]

    @functools.wraps(plain)
    def build(self: Any, *args: Any, **kwargs: Any) -> None:
        if "tie_embeddings" in own:  # Huginn passes it on under both names
            tied = kwargs.pop("tie_word_embeddings", None)
            if tied is not None:
                kwargs.setdefault("tie_embeddings", tied)
        with warnings.catch_warnings():  # about names that the code's authors chose
            warnings.simplefilter("ignore", FutureWarning)
            plain(self, *args, **kwargs)

    kind.__init__ = build


def _adapt_cache(kind: Any) -> None:
    """Let a cache answer for a number of tokens, where it expects their positions."""
    plain = kind.get_mask_sizes
    if hasattr(plain, "__wrapped__"):
        return

    @functools.wraps(plain)
    def sizes(self: Any, query: Any, layer_idx: int = 0) -> Any:
        if isinstance(query, int):
            return self.get_seq_length(layer_idx) + query, 0
        return plain(self, query, layer_idx)

    kind.get_mask_sizes = sizes


def _adapt_generation(kind: Any) -> None:
    """Give Huginn's ``prepare_inputs_for_generation`` the positions that transformers 4 gave it."""
    plain = kind.prepare_inputs_for_generation
    if hasattr(plain, "__wrapped__"):
        return

    @functools.wraps(plain)
    def prepare(self: Any, input_ids: Any, past_key_values: Any = None, **kwargs: Any) -> Any:
        import torch

        if kwargs.get("cache_position") is None:
            start = 0 if past_key_values is None else int(past_key_values.get_seq_length())
            positions = torch.arange(start, input_ids.shape[1], device=input_ids.device)
            kwargs["cache_position"] = positions
        for name in ("position_ids", "next_sequence_length", "is_first_iteration"):
            kwargs.pop(name, None)
        return plain(self, input_ids, past_key_values=past_key_values, **kwargs)

    kind.prepare_inputs_for_generation = prepare


def _with_old_names(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a mask function take the argument names of transformers 4."""
    if getattr(function, "old_names", False):
        return function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if "input_embeds" in kwargs:
            kwargs["inputs_embeds"] = kwargs.pop("input_embeds")
        kwargs.pop("cache_position", None)
        return function(*args, **kwargs)

    call.old_names = True  # type: ignore[attr-defined]
    return call


def _default_frequencies(config: Any, device: Any = None, **_: Any) -> tuple[Any, float]:
    """Compute rotary frequencies without scaling: ``theta^(-2i/d)``, ``(d / 2,)``."""
    import torch

    parameters = getattr(config, "rope_parameters", None) or {}
    theta = parameters.get("rope_theta") or config.rope_theta
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    powers = torch.arange(0, width, 2, dtype=torch.float32, device=device) / width
    return 1.0 / (theta**powers), 1.0
