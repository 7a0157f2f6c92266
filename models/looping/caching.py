"""KV cache of a looped model: the slot of each step, and its content.

With one slot per step there is nothing to do: Hugging Face's caches are indexed by ``layer_idx``,
which is the step. Two variants need more:

- Loops that share a slot. Within one forward pass each loop replaces the entries of the previous
  loop, so the slot is first restored to its content before the forward pass.
- Early exit. Skipped loops get the entries of the last loop that ran.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from ...core.caches import NAMES
from ...core.errors import InputError
from ...core.schedule import Schedule

Entries = tuple[Tensor, Tensor]
"""Keys and values of the new tokens: ``(batch, heads, tokens, head_dim)`` each."""


def slots_of(schedule: Schedule, budget: int | None) -> list[int]:
    """Assign a cache slot to each step, where the loops of a layer share ``budget`` slots.

    A slot is numbered after the first step that uses it.

    >>> slots_of(Schedule.parse("2x3"), None), slots_of(Schedule.parse("2x3"), 1)
    ([0, 1, 2, 3, 4, 5], [0, 1, 0, 1, 0, 1])
    >>> slots_of(Schedule.parse("1x5"), 2)  # loop modulo 2
    [0, 1, 0, 1, 0]
    """
    if budget is None:
        return list(range(len(schedule)))
    first: dict[tuple[int, int], int] = {}
    return [
        first.setdefault((layer, loop % budget), step)
        for step, (layer, loop) in enumerate(schedule.coordinates)
    ]


def find_cache(arguments: Sequence[Any]) -> Any:
    """Return the cache among the arguments of a layer, or None."""
    for value in arguments:
        if isinstance(value, Cache):
            return getattr(value, "self_attention_cache", value)
    return None


def refuse_foreign_cache(arguments: Sequence[Any], named: Mapping[str, Any]) -> None:
    """Refuse a KV cache that is not a ``Cache`` of transformers: its slots cannot be managed.

    Args:
        arguments: positional arguments of a layer.
        named: keyword arguments of a layer, or fields of a model's output, by name.

    Raises:
        InputError: with the class of the cache.
    """
    # an output of a model warns where the old name is read
    caches = [value for name, value in named.items() if name in NAMES]
    caches += [value for value in (*arguments, *named.values()) if _acts_as_cache(value)]
    for cache in caches:
        if cache is not None and not isinstance(cache, Cache):
            raise InputError(
                "shared slots and early exit need a cache derived from transformers' Cache, and "
                f"this model's is a {type(cache).__name__}: pass use_cache=False"
            )


def _acts_as_cache(value: Any) -> bool:
    return callable(getattr(value, "update", None)) and hasattr(value, "get_seq_length")


class Slots:
    """Cache slots during one forward pass.

    Args:
        slots: cache slot of each step.
        exits: whether loops may be skipped (early exit).
    """

    def __init__(self, slots: Sequence[int], exits: bool) -> None:
        self.slots, self.exits = slots, exits
        self.initial: dict[int, tuple[Any, ...]] = {}  # slot -> content before the forward pass
        self.latest: dict[int, Entries] = {}  # layer -> entries of its latest run

    def open(self, cache: Any, step: int) -> None:
        """Prepare the slot of a step for writing."""
        slot = self.slots[step]
        if slot in self.initial:
            _restore(cache.layers[slot], self.initial[slot])
        elif slot < len(cache.layers):
            self.initial[slot] = _content(cache.layers[slot])
        else:  # a cache that grows by itself: nothing was ever written there
            self.initial[slot] = (False, None, None, None)

    def close(self, cache: Any, step: int, layer: int, tokens: int, exited: Tensor | None) -> None:
        """Finish the slot of a step: exited sequences keep the entries of their last loop.

        Args:
            exited: sequences that have exited, ``(batch,)`` bool; None if none has.
        """
        if not self.exits:
            return
        slot = cache.layers[self.slots[step]]
        new = _new_entries(slot, tokens)
        if exited is not None:
            rows = exited[:, None, None, None]
            pairs = zip(self.latest[layer], new, strict=True)
            keys, values = (torch.where(rows, before, after) for before, after in pairs)
            new = keys, values
            _overwrite(slot, new)
        self.latest[layer] = new

    def skip(self, cache: Any, step: int, layer: int, tokens: int) -> None:
        """Fill the slot of a skipped step with the entries of the layer's latest run."""
        self.open(cache, step)
        slot = self.slots[step]
        keys, values = self.latest[layer]
        cache.update(keys, values, slot)
        if missing := tokens - keys.shape[2]:  # a sliding window holds fewer tokens than came in
            cache.layers[slot].cumulative_length += missing

    @contextlib.contextmanager
    def restored_after(self, cache: Any, steps: Sequence[int]) -> Iterator[None]:
        """Let steps write their slots inside a ``with`` block, and restore the slots after it."""
        numbers = {self.slots[step] for step in steps}
        contents = {i: _content(cache.layers[i]) for i in numbers if i < len(cache.layers)}
        try:
            for number in numbers & set(self.initial) & set(contents):  # written by an earlier loop
                _restore(cache.layers[number], self.initial[number])
            yield
        finally:
            for number in numbers:
                if number < len(cache.layers):
                    content = contents.get(number, (False, None, None, None))
                    _restore(cache.layers[number], content)


def _content(slot: Any) -> tuple[Any, ...]:
    """Return the content of a slot: initialised or not, keys, values, cumulative length."""
    if not hasattr(slot, "keys"):
        raise InputError(
            f"shared slots and early exit need keys and values in the cache, not a "
            f"{type(slot).__name__}"
        )
    length = getattr(slot, "cumulative_length", None)
    return slot.is_initialized, slot.keys, slot.values, _copy(length)


def _copy(length: Any) -> Any:
    return length.clone() if isinstance(length, Tensor) else length


def _restore(slot: Any, content: tuple[Any, ...]) -> None:
    initialized, keys, values, length = content
    _refuse_static_window(slot)
    if getattr(slot, "is_compileable", False):  # written in place: later entries are overwritten
        slot.cumulative_length.copy_(length)
        return
    slot.is_initialized, slot.keys, slot.values = initialized, keys, values
    if length is not None:
        slot.cumulative_length = length


def _new_entries(slot: Any, tokens: int) -> Entries:
    """Return the entries of the newest tokens; a sliding window may hold fewer."""
    _refuse_static_window(slot)
    if getattr(slot, "is_compileable", False):  # the next loop may write over them
        new = slice(int(slot.cumulative_length) - tokens, int(slot.cumulative_length))
        return slot.keys[:, :, new].clone(), slot.values[:, :, new].clone()
    return slot.keys[:, :, -tokens:], slot.values[:, :, -tokens:]


def _overwrite(slot: Any, new: Entries) -> None:
    """Replace the entries of the newest tokens, in place only in a slot that works in place."""
    tokens = new[0].shape[2]
    if getattr(slot, "is_compileable", False):
        end = int(slot.cumulative_length)
        slot.keys[:, :, end - tokens : end], slot.values[:, :, end - tokens : end] = new
        return
    slot.keys = torch.cat([slot.keys[:, :, :-tokens], new[0]], dim=2)
    slot.values = torch.cat([slot.values[:, :, :-tokens], new[1]], dim=2)


def _refuse_static_window(slot: Any) -> None:
    if getattr(slot, "is_sliding", False) and getattr(slot, "is_compileable", False):
        raise InputError(
            "shared slots and early exit do not work with a static sliding-window cache"
        )


def writable(cache: Any, schedule: Schedule) -> None:
    """Refuse a cache with fewer slots than the schedule has steps."""
    fixed = cache is not None and getattr(cache, "layer_class_to_replicate", None) is None
    if fixed and len(getattr(cache, "layers", ())) < len(schedule):
        raise InputError(
            f"the cache has {len(cache.layers)} slots and the schedule {schedule} "
            f"{len(schedule)} steps: make the cache under the schedule it is used with"
        )
