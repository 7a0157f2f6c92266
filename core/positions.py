"""Rotary embeddings whose frequencies depend on the length of the sequence.

LongRoPE uses one set of frequencies up to some length and another for longer sequences. Dynamic NTK
scaling has its own frequencies for every length beyond the trained one. transformers takes the
length from the largest position of a forward pass. So all sequences of a batch get the frequencies
of the longest one, and a sequence that runs in parts gets different frequencies for each part.
Dynamic scaling also remembers the longest sequence of earlier passes.

``Regimes.of`` identifies lengths with the same frequencies, ``fixed_rope_length`` fixes the
length, and ``reset_rope_length`` resets the remembered length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Regimes:
    """Sequence lengths that a model reads with the same rotary frequencies.

    Args:
        switches: lengths after which other frequencies begin.
        grows: lengths after which every length has frequencies of its own.

    >>> regimes = Regimes(switches=(4096,))
    >>> regimes.of(11) == regimes.of(4096), regimes.of(11) == regimes.of(4097)
    (True, False)
    """

    switches: tuple[int, ...] = ()
    grows: tuple[int, ...] = ()

    def of(self, length: int) -> tuple[int, ...]:
        """Return a key that is equal for lengths with the same frequencies.

        Args:
            length: tokens that the model reads.
        """
        own = (max(length, start) for start in self.grows)
        return (*(int(length > switch) for switch in self.switches), *own)

    def groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Group the indices of sequences that may share a batch, shortest sequences first."""
        members_of: dict[tuple[int, ...], list[int]] = {}
        for i, length in sorted(enumerate(lengths), key=lambda item: (item[1], item[0])):
            members_of.setdefault(self.of(length), []).append(i)
        return [sorted(members) for members in members_of.values()]

    @property
    def short(self) -> int:
        """Longest sequence of the first regime, in tokens."""
        return min((*self.switches, *self.grows))


def regimes(model: Any) -> Regimes | None:
    """Return the regimes of a Hugging Face model; None if frequencies never depend on length.

    Example::

        regimes(phi3_with_longrope)  # Regimes(switches=(4096,), grows=())
        regimes(llama)  # None
    """
    switches: set[int] = set()
    grows: set[int] = set()
    for module in _rotary(model):
        for kind, name in _kinds(module):
            if "dynamic" in kind:
                grows.add(int(module.original_max_seq_len))
            else:
                parameters = module.config.rope_parameters
                parameters = parameters if name is None else parameters[name]
                switches.add(int(parameters["original_max_position_embeddings"]))
    return Regimes(tuple(sorted(switches)), tuple(sorted(grows))) if switches or grows else None


def uses_token_index(model: Any) -> bool:
    """Return whether layers use a token's index in the forward pass instead of its position id.

    Llama 4 scales queries of its layers without rotation by that index.
    """
    return any(
        getattr(module, "attn_temperature_tuning", False) and not getattr(module, "use_rope", True)
        for module in model.modules()
    )


@contextmanager
def fixed_rope_length(model: Any, length: int) -> Iterator[None]:
    """Use the rotary frequencies of a sequence of ``length`` tokens inside a ``with`` block.

    A last position ``length - 1`` is appended to the input of the rotary embeddings and removed
    from their output.

    Example::

        with fixed_rope_length(model, 5000):  # a prefix, as part of a text of 5,000 tokens
            model(ids[:, :100])
    """

    def longer(positions: Any) -> Any:
        *rows, tokens = positions.shape
        extended = positions.new_full((*rows, tokens + 1), length - 1)
        extended[..., :-1] = positions
        return extended

    def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if "position_ids" in kwargs:
            return args, kwargs | {"position_ids": longer(kwargs["position_ids"])}
        return (args[0], longer(args[1]), *args[2:]), kwargs

    def after(_: Any, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return tuple(part[..., :-1, :] for part in output)
        return output[..., :-1, :]

    reset_rope_length(model)
    with ExitStack() as stack:
        stack.callback(reset_rope_length, model)
        for module in _rotary(model):
            first = module.register_forward_pre_hook(before, with_kwargs=True)
            last = module.register_forward_hook(after)
            stack.callback(first.remove)
            stack.callback(last.remove)
        yield


def reset_rope_length(model: Any) -> None:
    """Reset a model with dynamic scaling to its state before it read any sequence."""
    for module in _rotary(model):
        for kind, name in _kinds(module):
            if "dynamic" not in kind:
                continue
            prefix = "" if name is None else f"{name}_"
            now = getattr(module, f"{prefix}inv_freq")
            original = getattr(module, f"{prefix}original_inv_freq").to(now.device)
            module.register_buffer(f"{prefix}inv_freq", original.clone(), persistent=False)
            setattr(module, f"{prefix}max_seq_len_cached", module.original_max_seq_len)


def _rotary(model: Any) -> list[Any]:
    """Return the rotary embeddings whose frequencies depend on length."""
    return [module for module in model.modules() if _kinds(module)]


def _kinds(module: Any) -> list[tuple[str, str | None]]:
    """Return length-dependent scaling types of a module, each with its layer type or None."""
    rope_type = getattr(module, "rope_type", None)
    named = rope_type.items() if isinstance(rope_type, dict) else [(None, rope_type)]
    return [
        (kind, name)
        for name, kind in named
        if isinstance(kind, str) and ("dynamic" in kind or kind == "longrope")
    ]
