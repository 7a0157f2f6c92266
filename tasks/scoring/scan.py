"""Scan: one forward pass over every node of a trie, one pack of nodes at a time.

Packs follow each other in depth-first order. A pack needs only the KV cache of the path to its
first node from earlier packs, so memory does not grow with the number of requests. Several
schedules of a looped model are scored in the same scan: schedules form a trie of layers, and steps
that they share at the beginning run once.
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
from .transfer import to_device
from .tree_attention import KeyValues, Pack, tree_attention
from .trie import Ints, Trie

logger = logging.getLogger("growloop")
SMALLEST = 16  # tokens of the smallest pack that is tried after running out of memory
LOGITS = 2**27  # logits of one pack, at most
EVERY = 10.0  # seconds between two reports of finished requests

Scores = list[tuple[float, bool]]
"""Per request: summed log-probability, and whether greedy decoding gives the continuation."""
Call = Callable[..., Any]
Result = tuple[int, slice, Tensor, Tensor]
"""Route, slice of predicted tokens, their log-probabilities, and whether each is greedy."""
Finished = Callable[[Sequence[int], Sequence[Scores]], object]
"""Callback for finished requests: their numbers and, per route, the scores of all requests."""


@dataclass(frozen=True)
class Route:
    """One schedule among several that are scored together.

    Args:
        schedule: layers of all steps; None for the model's current schedule.
        shared: number of first steps shared with the previous route.
        slots: KV-cache slot of each step; shared steps have the same slot.
    """

    schedule: tuple[int, ...] | None
    shared: int
    slots: tuple[int, ...]


def routes(schedules: Sequence[Sequence[int]]) -> list[Route]:
    """Order schedules so that each shares as many first steps as possible with the previous one.

    >>> [route.shared for route in routes([[0, 1, 2], [0, 1, 1, 2]])]
    [0, 2]
    """
    ordered: list[Route] = []
    numbers = itertools.count()
    before: tuple[int, ...] = ()
    slots: tuple[int, ...] = ()
    for schedule in sorted({tuple(s) for s in schedules}):
        pairs = itertools.takewhile(lambda p: p[0] == p[1], zip(before, schedule, strict=False))
        # the inputs of steps are stored: the previous route must have run a step after the shared
        shared = min(len(list(pairs)), max(len(before) - 1, 0))
        slots = (*slots[:shared], *itertools.islice(numbers, len(schedule) - shared))
        ordered.append(Route(schedule, shared, slots))
        before = schedule
    return ordered


class Scan:
    """Scorer of all requests of a trie.

    Args:
        model: a Hugging Face causal language model, looped or not.
        trie: requests to score.
        call: the model's forward, perhaps under autocast.
        dtype: dtype of the log-probabilities; None for that of the logits.
        budget: most tokens of a pack; halved when memory runs out.
        schedules: schedules of a looped model to score; None for the current one.
        flex: use FlexAttention.
        finished: called every few seconds with newly finished requests, so that they can be stored
            early; reading scores synchronises with the GPU.
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
        self.selects_logits = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.rows = max(1, LOGITS // int(model.config.get_text_config(decoder=True).vocab_size))
        shape = len(self.routes), len(trie.places)
        self.log_probs = np.zeros(shape)
        self.greedy = np.zeros(shape, dtype=bool)
        self.results: list[Result] = []  # still on the device
        self.reported = 0  # nodes whose requests were passed to `finished`

    @torch.inference_mode()
    def run(self, progress: Callable[[int], object] = lambda nodes: None) -> list[Scores]:
        """Score all requests and return the scores of each route.

        Args:
            progress: called with the number of nodes of each pack.
        """
        start, path, past = 0, np.empty(0, dtype=np.int64), dict[int, KeyValues]()
        last_report = time.monotonic()
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
                    del pack  # and its keys and values
                    self.budget = max(SMALLEST, min(self.budget, stop - start) // 2)
                    logger.warning("out of memory: going on with %d tokens at once", self.budget)
                    continue
                path, past = pack.next_path, pack.next_past
                progress(stop - start)
                start = stop
                if self.finished is not None and time.monotonic() - last_report >= EVERY:
                    self._report(self.finished, stop)
                    last_report = time.monotonic()
        return self._read()

    def _read(self) -> list[Scores]:
        """Move results to the CPU; return the scores per route, partial for unfinished requests."""
        for number, predicted, log_probs, greedy in self.results:
            self.log_probs[number, predicted] = log_probs.cpu()
            self.greedy[number, predicted] = greedy.cpu()
        self.results.clear()
        pairs = zip(self.log_probs, self.greedy, strict=True)
        return [self.trie.sums(log_probs, greedy) for log_probs, greedy in pairs]

    def _report(self, finished: Finished, stop: int) -> None:
        """Pass requests that finished before node ``stop``, and not before, to the callback."""
        last = self.trie.last
        done = np.flatnonzero((last >= self.reported) & (last < stop))
        self.reported = stop
        if len(done):
            finished(done.tolist(), self._read())

    def _stop(self, start: int) -> int:
        """Return the end of the pack that begins at node ``start``."""
        stop = min(start + self.budget, len(self.trie))
        predicted = self.trie.predicted(start, stop)
        nodes = np.unique(self.trie.places[predicted])
        return int(nodes[self.rows]) if len(nodes) > self.rows else stop

    def _score(self, pack: Pack, start: int, stop: int) -> None:
        """Run a pack under every route and store the results, without reading them."""
        predicted = self.trie.predicted(start, stop)
        nodes, inverse = np.unique(self.trie.places[predicted], return_inverse=True)
        targets = to_device(self.trie.targets[predicted], self.device)
        row = to_device(inverse, self.device)
        rows = nodes - start if len(nodes) else np.zeros(1, dtype=np.int64)
        states: dict[int, Tensor] = {}
        for number, route in enumerate(self.routes):
            logits = self._logits(pack, start, stop, rows, route, states)
            if not len(nodes):
                continue
            log_probs = torch.log_softmax(logits, dim=-1, dtype=self.dtype)  # (nodes, vocabulary)
            greedy = log_probs.argmax(dim=-1)[row] == targets
            # read at the end: reading now would stall a GPU until the next pack is prepared
            self.results.append((number, predicted, log_probs[row, targets].float(), greedy))

    def _logits(
        self,
        pack: Pack,
        start: int,
        stop: int,
        nodes: Ints,
        route: Route,
        states: dict[int, Tensor],
    ) -> Tensor:
        """Compute the logits of some nodes of a pack under a route: ``(nodes, vocabulary)``.

        Args:
            nodes: indices into the pack.
            states: step -> input state, shared between routes.
        """
        ids = to_device(self.trie.tokens[None, start:stop], self.device)
        positions = to_device(self.trie.depth[None, start:stop], self.device)
        rows = to_device(nodes, self.device)
        some = {"logits_to_keep": rows} if self.selects_logits else {}
        with ExitStack() as stack:
            slots: Iterator[int] = itertools.count()
            if route.schedule is not None:
                slots = iter(route.slots[route.shared :])
                stack.enter_context(self._resuming(route, states))
            stack.enter_context(pack.running(slots))
            output = self.call(ids, position_ids=positions, use_cache=False, **some)
        logits: Tensor = output.logits[0]
        return logits if self.selects_logits else logits[rows]

    @contextmanager
    def _resuming(self, route: Route, states: dict[int, Tensor]) -> Iterator[None]:
        """Run only the unshared steps of a route inside a ``with`` block, from stored states.

        Args:
            states: step -> input state; inputs that a later route starts from are added.
        """
        assert route.schedule is not None
        steps = itertools.count(route.shared)
        stored = {other.shared for other in self.routes if other.shared > route.shared}

        def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            step = next(steps)
            if step == route.shared and step > 0:
                if args:
                    return (states[step], *args[1:]), kwargs
                return args, kwargs | {"hidden_states": states[step]}
            if step in stored:
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
