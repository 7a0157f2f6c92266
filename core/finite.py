"""Localisation of NaN and infinity: the first module of a forward pass that outputs one.

Works by duck typing, without importing torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def first_not_finite(model: Any, run: Callable[[], Any]) -> str | None:
    """Describe the first module whose output is not finite; None if all outputs are finite.

    Logits of -inf are valid where a model masks part of its vocabulary: where the head's own
    output is finite, or its weights hold the -inf.

    Args:
        model: a torch module.
        run: runs the failing forward pass once and returns its output.

    Returns:
        A phrase such as ``model.layers.1.mlp.down_proj gives NaN (its weights hold NaN or
        infinity)``.
    """
    faults: list[str] = []
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None

    def watch(name: str) -> Callable[[Any, Any, Any], None]:
        def after(module: Any, args: Any, output: Any) -> None:
            if faults or (what := _not_finite(output)) is None:
                return
            if what == "-infinity" and module is head and not _all_finite(module):
                return
            faults.append(f"{name} gives {what}{_reason(module, output)}")

        return after

    named = [(name, module) for name, module in model.named_modules() if name]
    handles = [module.register_forward_hook(watch(name)) for name, module in named]
    try:
        output = run()
    finally:
        for handle in handles:
            handle.remove()
    if not faults and _not_finite(output) not in (None, "-infinity"):
        faults.append(f"the head gives {_not_finite(output)}")
    return faults[0] if faults else None


def _not_finite(output: Any) -> str | None:
    """Return the worst of ``NaN``, ``infinity``, ``-infinity`` in an output, or None."""
    problems = {_kind(tensor) for tensor in _tensors(output)}
    return next((kind for kind in ("NaN", "infinity", "-infinity") if kind in problems), None)


def _kind(tensor: Any) -> str | None:
    if not tensor.is_floating_point() or bool(tensor.isfinite().all()):
        return None
    if bool(tensor.isnan().any()):
        return "NaN"
    return "infinity" if bool(tensor.isposinf().any()) else "-infinity"


def _tensors(output: Any) -> Iterator[Any]:
    if hasattr(output, "is_floating_point"):
        yield output
    elif isinstance(output, Mapping):
        yield from _tensors(tuple(output.values()))
    elif isinstance(output, (tuple, list)):
        for part in output:
            yield from _tensors(part)


def _all_finite(module: Any) -> bool:
    return all(_kind(weight) is None for weight in module.parameters())


def _reason(module: Any, output: Any) -> str:
    """Return a reason in brackets: bad weights, or an overflow of float16; else nothing."""
    half = any(str(tensor.dtype) == "torch.float16" for tensor in _tensors(output))
    if not _all_finite(module):
        return f" (its weights hold NaN or infinity{', in float16' if half else ''})"
    return " (an overflow of float16: try bfloat16 or float32)" if half else ""
