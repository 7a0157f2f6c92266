"""Storage of scores while scoring goes on, so that a stopped evaluation resumes from them.

lm-eval caches answers (``--use_cache``) once all requests are scored. Here a scoring strategy
passes each score on as soon as it is known. Strategies number the requests they were given; the
storage maps these numbers back to lm-eval's requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from .verify import Pair

Store = Callable[[int, tuple[float, bool]], object]
"""Callback for one score: the number of the request, and (log-probability, is greedy)."""


class EarlyStorage:
    """Callback that stores scores, with the requests that its numbers refer to.

    Requests are recognised by identity: scores of other lists (probes of a self-check, say) are
    never stored.
    """

    def __init__(self) -> None:
        self._current: tuple[Sequence[Pair], Store] | None = None

    def callback(self, pairs: Sequence[Pair]) -> Store | None:
        """Return the callback for these requests; None if their scores are not stored."""
        pairs_stored, store = self._current or (None, None)
        return store if pairs_stored is pairs else None

    @contextmanager
    def opened(self, pairs: Sequence[Pair], store: Store | None) -> Iterator[None]:
        """Store scores of these requests inside a ``with`` block, or none if ``store`` is None."""
        before = self._current
        self._current = None if store is None else (pairs, store)
        try:
            yield
        finally:
            self._current = before

    @contextmanager
    def subset(
        self, pairs: Sequence[Pair], some: Sequence[Pair], members: Sequence[int]
    ) -> Iterator[None]:
        """Store scores of a part of the requests inside a ``with`` block.

        Args:
            pairs: all requests.
            some: the part, which a strategy scores as a list of its own.
            members: index in ``pairs`` of each request of ``some``.
        """
        store = self.callback(pairs)
        if store is None:
            yield
            return

        def renumbered(number: int, score: tuple[float, bool]) -> None:
            store(members[number], score)

        with self.opened(some, renumbered):
            yield
