"""Which cache slot each step of a looped model uses, and what is in it.

With every step in a slot of its own nothing is to do here: Hugging Face's caches are indexed by
``layer_idx``, which is the step. Two variants need more:

- loops that share a slot (``last``, or the last ``n`` loops): within one forward each loop replaces
  the entries of the loop before it, so the slot is first put back to what it held;
- early exit: loops that did not run leave the entries of the last loop that did.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from ...core.errors import InputError
from ...core.schedule import Schedule

Entries = tuple[Tensor, Tensor]
"""Keys and values of the new tokens: ``(batch, heads, tokens, head_dim)`` each."""


def slots_of(schedule: Schedule, budget: int | None) -> list[int]:
    """The cache slot of each step, if the loops of a layer share ``budget`` slots.

    A slot has the number of the first step that uses it.

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
    """The cache among the arguments of a layer, or None."""
    for value in arguments:
        if isinstance(value, Cache):
            return getattr(value, "self_attention_cache", value)
    return None


class Slots:
    """The slots of one forward pass.

    Args:
        slots: cache slot of each step.
        exits: whether loops may be left out.
    """

    def __init__(self, slots: Sequence[int], exits: bool) -> None:
        self.slots, self.exits = slots, exits
        self.before: dict[int, tuple[Any, ...]] = {}  # slot: what it held when the forward began
        self.last: dict[int, Entries] = {}  # layer: entries of its last run

    def open(self, cache: Any, step: int) -> None:
        """Make the slot of a step ready to be written."""
        slot = self.slots[step]
        if slot in self.before:
            _put_back(cache.layers[slot], self.before[slot])
        elif slot < len(cache.layers):
            self.before[slot] = _held(cache.layers[slot])
        else:  # a cache that grows by itself: nothing was ever written there
            self.before[slot] = (False, None, None, None)

    def close(self, cache: Any, step: int, layer: int, tokens: int, gone: Tensor | None) -> None:
        """After a step: sequences that have left keep the entries of their last loop.

        Args:
            gone: which sequences have left, ``(batch,)``, bool; None if none has.
        """
        if not self.exits:
            return
        slot = cache.layers[self.slots[step]]
        new = _new(slot, tokens)
        if gone is not None:
            rows = gone[:, None, None, None]
            pairs = zip(self.last[layer], new, strict=True)
            keys, values = (torch.where(rows, before, after) for before, after in pairs)
            new = keys, values
            _overwrite(slot, new)
        self.last[layer] = new

    def skip(self, cache: Any, step: int, layer: int, tokens: int) -> None:
        """Instead of a step: its slot gets the entries of the layer's last loop."""
        self.open(cache, step)
        slot = self.slots[step]
        keys, values = self.last[layer]
        cache.update(keys, values, slot)
        if missing := tokens - keys.shape[2]:  # a window keeps fewer than came in
            cache.layers[slot].cumulative_length += missing

    @contextlib.contextmanager
    def trial(self, cache: Any, steps: Sequence[int]) -> Iterator[None]:
        """Let these steps run and write their slots; afterwards the slots are as before."""
        numbers = {self.slots[step] for step in steps}
        held = {i: _held(cache.layers[i]) for i in numbers if i < len(cache.layers)}
        try:
            for number in numbers & set(self.before) & set(held):  # an earlier loop wrote there
                _put_back(cache.layers[number], self.before[number])
            yield
        finally:
            for number in numbers:
                if number < len(cache.layers):
                    _put_back(cache.layers[number], held.get(number, (False, None, None, None)))


def _held(slot: Any) -> tuple[Any, ...]:
    if not hasattr(slot, "keys"):
        raise InputError(
            f"shared slots and early exit need keys and values in the cache, not a "
            f"{type(slot).__name__}"
        )
    length = getattr(slot, "cumulative_length", None)
    return slot.is_initialized, slot.keys, slot.values, _copy(length)


def _copy(length: Any) -> Any:
    return length.clone() if isinstance(length, Tensor) else length


def _put_back(slot: Any, held: tuple[Any, ...]) -> None:
    initialized, keys, values, length = held
    _refuse_static_window(slot)
    if getattr(slot, "is_compileable", False):  # written in place: what follows is overwritten
        slot.cumulative_length.copy_(length)
        return
    slot.is_initialized, slot.keys, slot.values = initialized, keys, values
    if length is not None:
        slot.cumulative_length = length


def _new(slot: Any, tokens: int) -> Entries:
    """The entries of the newest tokens; a window may keep fewer."""
    _refuse_static_window(slot)
    if getattr(slot, "is_compileable", False):  # the next loop may write over them
        new = slice(int(slot.cumulative_length) - tokens, int(slot.cumulative_length))
        return slot.keys[:, :, new].clone(), slot.values[:, :, new].clone()
    return slot.keys[:, :, -tokens:], slot.values[:, :, -tokens:]


def _overwrite(slot: Any, new: Entries) -> None:
    """Other entries for the newest tokens; in place only where the slot itself works in place."""
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
    """Refuse a cache that was made for fewer steps."""
    fixed = cache is not None and getattr(cache, "layer_class_to_replicate", None) is None
    if fixed and len(getattr(cache, "layers", ())) < len(schedule):
        raise InputError(
            f"the cache has {len(cache.layers)} slots and the schedule {schedule} "
            f"{len(schedule)} steps: make the cache under the schedule it is used with"
        )
