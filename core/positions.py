"""Positions whose meaning depends on the length of the text they stand in.

LongRoPE rotates by one set of frequencies in texts up to some length and by another in longer ones;
dynamic NTK scaling has frequencies of its own for every length beyond the trained one.
transformers takes the length from the largest position of a forward pass. So texts that run
together all get what the longest of them needs, and a text that runs in parts gets something else
for each part. Dynamic scaling also remembers the longest text of the passes before.

``Regimes.of`` says which lengths are read alike, ``as_long_as`` fixes the length for a while, and
``forget`` takes back what was remembered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Regimes:
    """Which lengths of a text a model reads alike.

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
        """Equal for lengths that are read alike.

        Args:
            length: tokens that the model reads.
        """
        own = (max(length, start) for start in self.grows)
        return (*(int(length > switch) for switch in self.switches), *own)

    def groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Indices of the texts that may run together, the shortest texts first."""
        found: dict[tuple[int, ...], list[int]] = {}
        for i, length in sorted(enumerate(lengths), key=lambda item: (item[1], item[0])):
            found.setdefault(self.of(length), []).append(i)
        return [sorted(members) for members in found.values()]

    @property
    def short(self) -> int:
        """The longest text of the first regime, in tokens."""
        return min((*self.switches, *self.grows))


def regimes(model: Any) -> Regimes | None:
    """The regimes of a Hugging Face model; None where positions mean the same at every length."""
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


def counts_places(model: Any) -> bool:
    """Whether layers count tokens by their place in the pass, from some place on.

    Llama 4 scales the queries of its layers without rotation so; position ids do not matter to it.
    """
    return any(
        getattr(module, "attn_temperature_tuning", False) and not getattr(module, "use_rope", True)
        for module in model.modules()
    )


@contextmanager
def as_long_as(model: Any, length: int) -> Iterator[None]:
    """Inside, positions mean what they mean in a text of ``length`` tokens, whatever runs.

    A last position is added to what the rotary embeddings are asked for, and taken off again.
    """

    def longer(positions: Any) -> Any:
        *rows, tokens = positions.shape
        found = positions.new_full((*rows, tokens + 1), length - 1)
        found[..., :-1] = positions
        return found

    def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if "position_ids" in kwargs:
            return args, kwargs | {"position_ids": longer(kwargs["position_ids"])}
        return (args[0], longer(args[1]), *args[2:]), kwargs

    def after(_: Any, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return tuple(part[..., :-1, :] for part in output)
        return output[..., :-1, :]

    forget(model)
    with ExitStack() as stack:
        stack.callback(forget, model)
        for module in _rotary(model):
            first = module.register_forward_pre_hook(before, with_kwargs=True)
            last = module.register_forward_hook(after)
            stack.callback(first.remove)
            stack.callback(last.remove)
        yield


def forget(model: Any) -> None:
    """Make a model with dynamic scaling what it was before it read anything."""
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
    """Rotary embeddings whose frequencies depend on length."""
    return [module for module in model.modules() if _kinds(module)]


def _kinds(module: Any) -> list[tuple[str, str | None]]:
    """Kinds of scaling that depend on length, and the kind of layer each is for, if it says."""
    given = getattr(module, "rope_type", None)
    named = given.items() if isinstance(given, dict) else [(None, given)]
    return [
        (kind, name)
        for name, kind in named
        if isinstance(kind, str) and ("dynamic" in kind or kind == "longrope")
    ]
