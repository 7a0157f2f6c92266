"""Named model configurations: the paper's, and small ones for laptops.

The paper's models have SmolLM-v1 configurations (appendix E): Llama with tied embeddings.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel
from transformers.activations import ACT2FN

from ..core.errors import InputError, one_of, unknown, whole
from ..core.schedule import Schedule, as_schedule
from .looping.loop import loop

SHARED: dict[str, Any] = {
    "vocab_size": 49152,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "attention_bias": False,
    "tie_word_embeddings": True,
    "initializer_range": 0.02,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}


def _sizes(
    width: int, depth: int, heads: int, kv_heads: int, mlp: int, vocabulary: int = 49152
) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": width // heads,
        "intermediate_size": mlp,
        "vocab_size": vocabulary,
    }


SIZES = tuple(_sizes(1, 1, 1, 1, 1))
"""Config fields that are whole numbers."""

PRESETS: dict[str, dict[str, Any]] = {
    # width, depth, heads, key-value heads, MLP width, vocabulary
    "smollm-1.7b": _sizes(2048, 24, 32, 32, 8192),  # 1,711,376,384
    "smollm-360m": _sizes(960, 32, 15, 5, 2560),  # 361,821,120
    "smollm-135m": _sizes(576, 30, 9, 3, 1536),  # 134,515,008
    "laptop-30m": _sizes(384, 12, 6, 2, 1024),
    "laptop-10m": _sizes(256, 8, 4, 2, 640, 8192),
    "lessons": _sizes(64, 6, 4, 4, 256, 384),  # for training.lessons
    "tiny": _sizes(64, 4, 4, 2, 128, 512),
}


MOST_LAYERS = 10_000  # each is a Python object, also on the meta device


def preset(name: str, **changes: Any) -> LlamaConfig:
    """Return a configuration by name, with any fields of ``LlamaConfig`` changed.

    Raises:
        InputError: an unknown name or field.
    """
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    fields = SHARED | PRESETS[name]
    field_names = set(LlamaConfig().to_dict()) | set(fields)
    for field in changes:
        if field not in field_names:
            raise unknown("field", field, sorted(field_names))
    fields |= changes
    for field in SIZES:
        whole(field, fields[field], 1)
    whole("num_hidden_layers", fields["num_hidden_layers"], 1, MOST_LAYERS)
    heads, shared = fields["num_attention_heads"], fields["num_key_value_heads"]
    if heads % shared:
        raise InputError(f"{heads} heads do not divide among {shared} key-value heads")
    one_of("hidden_act", fields["hidden_act"], ACT2FN)
    if "head_dim" not in changes:
        width = fields["hidden_size"]
        if width % heads:
            raise InputError(f"a width of {width} does not divide among {heads} heads")
        fields["head_dim"] = width // heads
    try:
        return LlamaConfig(**fields)
    except Exception as error:  # transformers checks types, with errors of its own
        lines = " ".join(line.strip() for line in str(error).splitlines())
        raise InputError(f"invalid fields of {name}: {lines}") from error


def build(
    name: str, schedule: Schedule | str | int | None = None, seed: int = 0, **changes: Any
) -> PreTrainedModel:
    """Build a randomly initialised model.

    Args:
        name: one of ``PRESETS``.
        schedule: sets the number of layers, and loops the model if it loops; by default the
            preset's plain stack.
        seed: seed of the weights; the global random state is not changed.
        changes: fields of ``LlamaConfig``, such as ``hidden_size=512``.

    Returns:
        A float32 model on the CPU, or on the device of an enclosing ``with torch.device(...)``.

    >>> model = build("tiny", "1-1x3-1")
    >>> model.config.num_unique_layers, model.config.effective_depth
    (3, 5)
    """
    whole("the seed", seed, 0, 2**63 - 1)
    target = None
    if schedule is not None:
        if "num_hidden_layers" in changes:
            raise InputError("give a schedule or num_hidden_layers, not both")
        target = as_schedule(schedule)
        changes = changes | {"num_hidden_layers": target.needs}
    config = preset(name, **changes)
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    if target is not None and target != Schedule.plain(target.needs):
        loop(model, target)
    return model


def byte_tokenizer() -> Any:
    """Build the tokenizer of 256 bytes and an end token, for models that read bytes.

    >>> tokenizer = byte_tokenizer()
    >>> len(tokenizer), tokenizer.decode(tokenizer.encode("a=1, b=a"))
    (257, 'a=1, b=a')
    """
    from transformers import PreTrainedTokenizerFast

    from .training.data.tokenization import byte_tokenizer as of_bytes

    end = "<|endoftext|>"
    names = {"eos_token": end, "bos_token": end, "pad_token": end}
    return PreTrainedTokenizerFast(tokenizer_object=of_bytes(), **names)
