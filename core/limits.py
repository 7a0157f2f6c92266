"""Bounds on the time and memory of code that comes with a model, such as its chat template.

Both are bounds of a running process: they hold where the system has them (an alarm on the main
thread, an address space on Linux), and nothing is started for them.
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
    """What ran took longer than it may: not an ``Exception``, which templates' compilers catch."""


@contextlib.contextmanager
def bounded(seconds: float, memory: int) -> Iterator[None]:
    """Run a ``with`` block for so long, and with so much more memory, at most.

    Args:
        seconds: of wall-clock time.
        memory: bytes.

    Raises:
        TimeIsUpError: it took longer.
        MemoryError: it wanted more memory.
    """
    with _within(seconds), _below(memory):
        yield


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # alarms reach the main thread alone
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
        if left:  # an alarm of somebody else goes on
            rest = max(left - (time.monotonic() - started), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, rest, interval)


@contextlib.contextmanager
def _below(memory: int) -> Iterator[None]:
    if sys.platform != "linux":
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + memory
    if soft == resource.RLIM_INFINITY or most < soft:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
