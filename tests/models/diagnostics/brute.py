"""The diagnostics by brute force: a forward pass for each pair, the residual stream edited by hand.

On ordinary models, with a physical copy of a layer for each step.

Nothing here imports growloop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...support.architectures import architecture

SUBLAYERS = {  # names of attention and MLP in a layer
    "llama": ("self_attn", "mlp"),
    "gemma2": ("self_attn", "mlp"),
    "gemma3, text": ("self_attn", "mlp"),
    "olmo2": ("self_attn", "mlp"),
    "granite": ("self_attn", "mlp"),
    "glm4": ("self_attn", "mlp"),
    "gpt2": ("attn", "mlp"),
    "gpt_neox": ("attention", "mlp"),
    "falcon": ("self_attention", "mlp"),
    "phi": ("self_attn", "mlp"),
}


def layers_of(model: Any, kind: str) -> list[Any]:
    return list(model.get_submodule(architecture(kind).path))


def state(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def put(output: Any, new: Tensor) -> Any:
    return (new, *output[1:]) if isinstance(output, tuple) else new


def stream(
    model: Any,
    kind: str,
    given: dict[str, Tensor],
    before: dict[int, Callable[[Tensor], Tensor]] | None = None,
    after: dict[int, Callable[[Tensor, Tensor], Tensor]] | None = None,
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Inputs and outputs of all layers and the logits, the stream edited at some of them."""
    inputs: list[Any] = []
    outputs: list[Any] = []
    handles = []
    for i, layer in enumerate(layers_of(model, kind)):

        def enter(_: Any, args: Any, kwargs: Any, i: int = i) -> Any:
            hidden = args[0] if args else kwargs["hidden_states"]
            hidden = (before or {}).get(i, lambda h: h)(hidden)
            inputs.append(hidden.clone())
            if args:
                return (hidden, *args[1:]), kwargs
            return args, kwargs | {"hidden_states": hidden}

        def leave(_: Any, args: Any, output: Any, i: int = i) -> Any:
            new = (after or {}).get(i, lambda h, out: out)(inputs[-1], state(output))
            outputs.append(new.clone())
            return put(output, new)

        handles.append(layer.register_forward_pre_hook(enter, with_kwargs=True))
        handles.append(layer.register_forward_hook(leave))
    with torch.no_grad():
        logits = model(**given, use_cache=False).logits
    for handle in handles:
        handle.remove()
    return inputs, outputs, logits


def relative(changed: Tensor, usual: Tensor) -> Tensor:
    return (changed - usual).norm(dim=-1) / usual.norm(dim=-1).clamp_min(1e-6)


def windows(real: Tensor, cuts: Sequence[int] | None, front: int) -> list[tuple[Tensor, Tensor]]:
    """Pairs of where a contribution is removed and where effects are looked at: (texts, tokens).

    Args:
        front: real tokens at the front of each text that stay as they are.
    """
    place = torch.arange(real.shape[1])
    first = [row.nonzero()[0].item() + front for row in real]
    touched = torch.stack([place >= start for start in first]) & real
    if cuts is None:
        return [(touched, touched)]
    return [(touched & (place < cut), real & (place >= cut)) for cut in cuts]


def all_real(given: dict[str, Tensor]) -> Tensor:
    return given.get("attention_mask", torch.ones_like(given["input_ids"])).bool()


def local(
    model: Any, kind: str, given: dict[str, Tensor], cuts: Sequence[int] | None, front: int = 1
) -> Tensor:
    """A forward pass for every pair (and cut)."""
    inputs, outputs, _ = stream(model, kind, given)
    c = [after - before for before, after in zip(inputs, outputs, strict=True)]
    steps, rows = len(c), len(given["input_ids"])
    found = torch.zeros(rows, steps, steps)
    for source in range(steps):
        for target in range(source + 1, steps):
            for removed, looked in windows(all_real(given), cuts, front):
                gone = c[source] * removed[..., None]
                edit = {target: lambda h, gone=gone: h - gone}
                ins, outs, _ = stream(model, kind, given, before=edit)
                change = relative(outs[target] - ins[target], c[target])
                change = (change * looked).amax(1).float()
                found[:, source, target] = torch.maximum(found[:, source, target], change)
    return found


def skipping(
    model: Any, kind: str, given: dict[str, Tensor], cuts: Sequence[int] | None, front: int = 1
) -> tuple[Tensor, Tensor]:
    """Effects of skipping a step on later ones, and on the predictions."""
    inputs, outputs, logits = stream(model, kind, given)
    c = [after - before for before, after in zip(inputs, outputs, strict=True)]
    steps, rows = len(c), len(given["input_ids"])
    later, final = torch.zeros(rows, steps, steps), torch.zeros(rows, steps)
    for source in range(steps):
        for removed, looked in windows(all_real(given), cuts, front):
            gone = removed[..., None]
            edit = {source: lambda h, out, gone=gone: torch.where(gone, h, out)}
            ins, outs, changed = stream(model, kind, given, after=edit)
            for target in range(source + 1, steps):
                change = relative(outs[target] - ins[target], c[target]) * looked
                change = change.amax(1).float()
                later[:, source, target] = torch.maximum(later[:, source, target], change)
            apart = (changed.softmax(-1) - logits.softmax(-1)).norm(dim=-1) * looked
            final[:, source] = torch.maximum(final[:, source], apart.amax(1).float())
    return later, final


def sublayers(model: Any, kind: str, given: dict[str, Tensor], parallel: bool) -> list[Any]:
    """What attention and MLP add in each layer, found by silencing the MLP."""
    found = []
    for i, layer in enumerate(layers_of(model, kind)):
        _, mlp = (getattr(layer, name) for name in SUBLAYERS[kind])
        inputs, outputs, _ = stream(model, kind, given)
        silence = mlp.register_forward_hook(lambda _, args, out: put(out, state(out) * 0.0))
        _, without, _ = stream(model, kind, given)
        silence.remove()
        h, a = inputs[i], without[i] - inputs[i]
        m = outputs[i] - without[i]
        found.append((h, a, m, h if parallel else h + a))
    return found
