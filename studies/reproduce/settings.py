"""Settings of a reproduction, from the command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReproductionSettings:
    """Scale, output folder and device of a reproduction.

    Args:
        scale: name of the scale: laptop, 360m, 1.7b.
        out: output folder.
        seeds: training runs per architecture.
        fast: few steps and items, to try it out.
        device: device to compute on; None for a GPU if there is one.
        data_dir: folder of the benchmarks.
        command: command line, copied into the records.
    """

    scale: str
    out: str
    seeds: int = 3
    fast: bool = False
    device: str | None = None
    data_dir: str = "benchmarks"
    command: str = ""
