"""Settings of a reproduction, as typed on the command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """What is reproduced, and where and how it runs.

    Args:
        scale: its name.
        out: folder of everything.
        seeds: trainings of each kind of model.
        fast: few steps and items.
        device: to compute on; None for a GPU if there is one.
        data_dir: folder of the benchmarks.
        command: what was typed; records quote it.
    """

    scale: str
    out: str
    seeds: int = 3
    fast: bool = False
    device: str | None = None
    data_dir: str = "benchmarks"
    command: str = ""
