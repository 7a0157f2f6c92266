"""Processes that work together."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

SECONDS = 300


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def codes_of(processes: Sequence[Any]) -> list[int | None]:
    """The exit codes of processes that run beside each other."""
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
        process.kill()  # one that waits for the other
        process.join()
    return [process.exitcode for process in processes]


def environment(rank: int, port: int) -> dict[str, str]:
    """As ``accelerate launch`` sets it, for two processes."""
    known = {"LOCAL_RANK": rank, "RANK": rank, "WORLD_SIZE": 2, "OMP_NUM_THREADS": 1}
    known |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    return {name: str(value) for name, value in known.items()}
