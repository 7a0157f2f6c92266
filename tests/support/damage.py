"""Checkpoints as they get damaged: weights that are lost, renamed, cut, or no numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Change = Callable[[dict[str, Any]], object]


def changed(folder: Path, out: Path, change: Change) -> Path:
    """A copy of a checkpoint whose tensors by name were changed in place."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, out)
    weights = load_file(out / "model.safetensors")
    change(weights)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    return out


def sharded(folder: Path, out: Path) -> Path:
    """A copy whose weights lie in two files that an index names."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, out)
    weights = load_file(out / "model.safetensors")
    (out / "model.safetensors").unlink()
    places = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(weights)}
    for shard in set(places.values()):
        some = {name: weights[name] for name, place in places.items() if place == shard}
        save_file(some, out / shard, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (out / "model.safetensors.index.json").write_text(json.dumps(index))
    return out


def without(*parts: str) -> Change:
    """Lose the tensors whose names hold one of ``parts``."""

    def change(weights: dict[str, Any]) -> None:
        for name in [n for n in weights if any(part in n for part in parts)]:
            del weights[name]

    return change


def renamed(before: str, after: str) -> Change:
    """Call tensors otherwise."""

    def change(weights: dict[str, Any]) -> None:
        for name in [n for n in weights if before in n]:
            weights[name.replace(before, after)] = weights.pop(name)

    return change


def extra_layer(weights: dict[str, Any]) -> None:
    """Add a layer that the config does not count."""
    for name in [n for n in weights if ".layers.0." in n]:
        weights[name.replace(".0.", ".9.")] = weights[name].clone()


def with_tensor(name: str) -> Change:
    """Add a tensor of this name."""

    def change(weights: dict[str, Any]) -> None:
        import torch

        weights[name] = torch.zeros(3)

    return change


def cut(name: str) -> Change:
    """Lose the last row of a tensor."""

    def change(weights: dict[str, Any]) -> None:
        weights[name] = weights[name][:-1].clone()

    return change


def put(name: str, value: float, row: int = 0) -> Change:
    """Make one number of a tensor another."""

    def change(weights: dict[str, Any]) -> None:
        weights[name][row].view(-1)[0] = value

    return change


def scaled(name: str, factor: float) -> Change:
    """Make a tensor larger."""

    def change(weights: dict[str, Any]) -> None:
        weights[name] *= factor

    return change


LOST: dict[str, tuple[Change, str]] = {
    "all": (lambda weights: (weights.clear(), with_tensor("x")(weights)), "not all weights"),
    "a layer": (without(".layers.1."), "9 are missing, the first model.layers.1.input_layernorm"),
    "a tensor": (without("layers.2.mlp.up"), "1 is missing, model.layers.2.mlp.up_proj.weight"),
    "the norm": (without("model.norm"), "1 is missing, model.norm.weight"),
    "renamed": (renamed(".layers.", ".blocks."), "are missing, the first model.layers.0"),
    "one layer more": (extra_layer, "config does not have: 9, the first model.layers.9."),
    "a stray tensor": (with_tensor("value_head.weight"), "does not have: value_head.weight"),
    "another shape": (cut("model.norm.weight"), "other shapes than its config: model.norm.weight"),
}
"""What a checkpoint of a Llama may have lost or gained: how, and what the refusal says."""


def write_gguf(path: Path, without: str = "", extra: str = "", seed: int = 0) -> Path:
    """A tiny random Llama of two layers as a GGUF file, without one tensor or with one more."""
    import gguf
    import numpy as np

    dim, inner, vocabulary = 32, 48, 99
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(dim)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(1e4)
    writer.add_rope_dimension_count(dim // 4)
    writer.add_vocab_size(vocabulary)
    layer = {"attn_norm": (dim,), "ffn_norm": (dim,), "attn_q": (dim, dim)}
    layer |= {"attn_k": (dim // 2, dim), "attn_v": (dim // 2, dim), "attn_output": (dim, dim)}
    layer |= {"ffn_gate": (inner, dim), "ffn_up": (inner, dim), "ffn_down": (dim, inner)}
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (vocabulary, dim)}
    shapes |= {"output_norm.weight": (dim,), "output.weight": (vocabulary, dim)}
    shapes |= {f"blk.{i}.{name}.weight": shape for i in (0, 1) for name, shape in layer.items()}
    if extra:
        shapes[extra] = (dim,)
    random = np.random.default_rng(seed)
    for name, shape in shapes.items():
        tensor = random.standard_normal(shape).astype(np.float32)
        if name != without:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
