"""Limits on the time and memory of code that comes with a model, such as its chat template.

Both limits act within the running process: time by an alarm, on the main thread only; memory by the
address space, on Linux only.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn


class TimeIsUpError(BaseException):
    """Time limit exceeded; not an ``Exception``, because template compilers catch those."""


@contextlib.contextmanager
def bounded(seconds: float, memory: int) -> Iterator[None]:
    """Limit the time and the additional memory of a ``with`` block.

    Args:
        seconds: most wall-clock time.
        memory: most bytes beyond the memory in use now.

    Raises:
        TimeIsUpError: the block takes longer.
        MemoryError: the block needs more memory.

    Example::

        with bounded(seconds=10, memory=2**30):
            text = template.render(messages=messages)
    """
    with _limited_time(seconds), _limited_memory(memory):
        yield


@contextlib.contextmanager
def _limited_time(seconds: float) -> Iterator[None]:
    """Raise :class:`TimeIsUpError` in the block by SIGALRM; restore an alarm of the caller."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return

    def ring(*_: object) -> NoReturn:
        raise TimeIsUpError(f"not done after {seconds:g} s")

    started, handler = time.monotonic(), signal.signal(signal.SIGALRM, ring)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:  # restart the caller's alarm
            rest = max(left - (time.monotonic() - started), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, rest, interval)


@contextlib.contextmanager
def _limited_memory(memory: int) -> Iterator[None]:
    if sys.platform != "linux":
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + memory
    if soft == resource.RLIM_INFINITY or limit < soft:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
