"""Runs a model once over every node of a trie, a pack at a time.

Packs follow each other in depth-first order, so that all the next one needs of those before is the
path to its first node: memory does not grow with the number of requests. Several schedules of a
looped model are scored in the same pass: they are a trie too, of layers, and what they begin with
in common runs once.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .packed_weights import packed_weights
from .transfer import moved
from .tree_attention import KeyValues, Pack, tree_attention
from .trie import Ints, Trie

logger = logging.getLogger("growloop")
SMALLEST = 16  # tokens; memory that does not suffice for so many will for none
LOGITS = 2**27  # numbers; of one pack
EVERY = 10.0  # seconds after which finished requests are handed out

Scores = list[tuple[float, bool]]
"""Of each request the summed log-probability, and whether it is what the model would say."""
Call = Callable[..., Any]
Found = tuple[int, slice, Tensor, Tensor]
"""Of a route and some tokens to predict: their log-probabilities, and whether they are greedy."""
Finished = Callable[[Sequence[int], Sequence[Scores]], object]
"""Is given numbers of finished requests and, for each route, the scores of all requests."""


@dataclass(frozen=True)
class Route:
    """One schedule among several: what of it runs after what it shares with the one before.

    Args:
        schedule: all its steps; None for the model as it is.
        shared: so many steps are those of the route before.
        slots: a number for each step, the same where routes share it.
    """

    schedule: tuple[int, ...] | None
    shared: int
    slots: tuple[int, ...]


def routes(schedules: Sequence[Sequence[int]]) -> list[Route]:
    """Schedules in an order in which each shares as many steps as it can with the one before.

    >>> [route.shared for route in routes([[0, 1, 2], [0, 1, 1, 2]])]
    [0, 2]
    """
    found: list[Route] = []
    numbers = itertools.count()
    before: tuple[int, ...] = ()
    slots: tuple[int, ...] = ()
    for schedule in sorted({tuple(s) for s in schedules}):
        pairs = itertools.takewhile(lambda p: p[0] == p[1], zip(before, schedule, strict=False))
        # what is kept are inputs of steps: the one before had to run a step after those shared
        shared = min(len(list(pairs)), max(len(before) - 1, 0))
        slots = (*slots[:shared], *itertools.islice(numbers, len(schedule) - shared))
        found.append(Route(schedule, shared, slots))
        before = schedule
    return found


class Scan:
    """One pass over a trie.

    Args:
        model: a Hugging Face causal language model, looped or not.
        trie: what to score.
        call: calls the model (under autocast, perhaps).
        dtype: of the log-probabilities; None for that of the logits.
        budget: tokens run at once; halved where memory does not suffice.
        schedules: of a looped model, all of which are scored; None for the model as it is.
        flex: attend by FlexAttention.
        finished: called now and then with the requests that are finished since, so that they can
            be stored before all are; reading them makes a GPU wait.
    """

    def __init__(
        self,
        model: Any,
        trie: Trie,
        call: Call,
        dtype: torch.dtype | None,
        budget: int,
        schedules: Sequence[Sequence[int]] | None = None,
        flex: bool = False,
        finished: Finished | None = None,
    ) -> None:
        self.flex = flex
        self.finished = finished
        self.model, self.trie, self.call, self.dtype = model, trie, call, dtype
        self.budget = budget
        self.device: torch.device = model.device
        self.routes = [Route(None, 0, ())] if schedules is None else routes(schedules)
        self.keeps = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.rows = max(1, LOGITS // int(model.config.get_text_config(decoder=True).vocab_size))
        shape = len(self.routes), len(trie.places)
        self.log_probs = np.zeros(shape)
        self.greedy = np.zeros(shape, dtype=bool)
        self.found: list[Found] = []
        self.handed_out = 0  # nodes

    @torch.inference_mode()
    def run(self, progress: Callable[[int], object] = lambda nodes: None) -> list[Scores]:
        """The scores of all requests, for each route.

        Args:
            progress: told how many nodes were run, pack by pack.
        """
        start, path, past = 0, np.empty(0, dtype=np.int64), dict[int, KeyValues]()
        handed_out = time.monotonic()
        packed = packed_weights(self.model, len(self.trie), self.budget)
        with packed, tree_attention(self.model) as eager:
            while start < len(self.trie):
                stop = self._stop(start)
                pack = Pack(self.trie, start, stop, path, past, self.device, eager, self.flex)
                try:
                    self._score(pack, start, stop)
                except (torch.OutOfMemoryError, RuntimeError) as error:
                    if not _out_of_memory(error) or self.budget <= SMALLEST:
                        raise
                    del pack  # and what it has kept so far
                    self.budget = max(SMALLEST, min(self.budget, stop - start) // 2)
                    logger.warning("out of memory: going on with %d tokens at once", self.budget)
                    continue
                path, past = pack.next_path, pack.kept
                progress(stop - start)
                start = stop
                if self.finished is not None and time.monotonic() - handed_out >= EVERY:
                    self._hand_out(self.finished, stop)
                    handed_out = time.monotonic()
        return self._read()

    def _read(self) -> list[Scores]:
        """The scores of all requests for each route; of unfinished ones so far."""
        for number, wanted, log_probs, greedy in self.found:
            self.log_probs[number, wanted] = log_probs.cpu()
            self.greedy[number, wanted] = greedy.cpu()
        self.found.clear()
        pairs = zip(self.log_probs, self.greedy, strict=True)
        return [self.trie.sums(log_probs, greedy) for log_probs, greedy in pairs]

    def _hand_out(self, finished: Finished, stop: int) -> None:
        """Give out the requests that are predicted from nodes before ``stop`` and were not yet."""
        last = self.trie.last
        done = np.flatnonzero((last >= self.handed_out) & (last < stop))
        self.handed_out = stop
        if len(done):
            finished(done.tolist(), self._read())

    def _stop(self, start: int) -> int:
        """Where a pack that begins at ``start`` ends."""
        stop = min(start + self.budget, len(self.trie))
        wanted = self.trie.wanted(start, stop)
        places = np.unique(self.trie.places[wanted])
        return int(places[self.rows]) if len(places) > self.rows else stop

    def _score(self, pack: Pack, start: int, stop: int) -> None:
        wanted = self.trie.wanted(start, stop)
        places, which = np.unique(self.trie.places[wanted], return_inverse=True)
        targets = moved(self.trie.targets[wanted], self.device)
        which_row = moved(which, self.device)
        kept = places - start if len(places) else np.zeros(1, dtype=np.int64)
        states: dict[int, Tensor] = {}
        for number, route in enumerate(self.routes):
            logits = self._logits(pack, start, stop, kept, route, states)
            if not len(places):
                continue
            found = torch.log_softmax(logits, dim=-1, dtype=self.dtype)  # (places, vocabulary)
            greedy = found.argmax(dim=-1)[which_row] == targets
            # read at the end: reading now, a GPU would wait for the next pack to be laid out
            self.found.append((number, wanted, found[which_row, targets].float(), greedy))

    def _logits(
        self,
        pack: Pack,
        start: int,
        stop: int,
        kept: Ints,
        route: Route,
        states: dict[int, Tensor],
    ) -> Tensor:
        """Of some nodes of a pack under a route: ``(kept, vocabulary)``."""
        ids = moved(self.trie.tokens[None, start:stop], self.device)
        positions = moved(self.trie.depth[None, start:stop], self.device)
        rows = moved(kept, self.device)
        some = {"logits_to_keep": rows} if self.keeps else {}
        with ExitStack() as stack:
            slots: Iterator[int] = itertools.count()
            if route.schedule is not None:
                slots = iter(route.slots[route.shared :])
                stack.enter_context(self._resumed(route, states))
            stack.enter_context(pack.running(slots))
            output = self.call(ids, position_ids=positions, use_cache=False, **some)
        logits: Tensor = output.logits[0]
        return logits if self.keeps else logits[rows]

    @contextmanager
    def _resumed(self, route: Route, states: dict[int, Tensor]) -> Iterator[None]:
        """The model runs the steps of a route that are its own, from the states kept before.

        Args:
            states: by step, its input; those that a later route begins with are added.
        """
        assert route.schedule is not None
        steps = itertools.count(route.shared)
        wanted = {other.shared for other in self.routes if other.shared > route.shared}

        def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            step = next(steps)
            if step == route.shared and step > 0:
                if args:
                    return (states[step], *args[1:]), kwargs
                return args, kwargs | {"hidden_states": states[step]}
            if step in wanted:
                states[step] = args[0] if args else kwargs["hidden_states"]
            return None

        own = type(self.model.schedule)(route.schedule[route.shared :])
        layers = [m for m in self.model.looped_layers._modules.values() if m is not None]
        with self.model.scheduled(own), ExitStack() as stack:
            for layer in layers:
                handle = layer.register_forward_pre_hook(before, with_kwargs=True)
                stack.callback(handle.remove)
            yield


def _out_of_memory(error: Exception) -> bool:
    words = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, torch.OutOfMemoryError) or any(w in str(error) for w in words)
