"""Numbers of loops that the micro-batches of a step run, for its FLOPs."""

from __future__ import annotations

from collections import Counter

from ..looping.random_loops import RandomLoops


def loops_of_step(
    random_loops: RandomLoops,
    step: int,
    rows: int,
    micro: int,
    processes: int = 1,
    together: bool = False,
) -> dict[int, float]:
    """Return the numbers of loops of a step and the share of the batch that runs each.

    With loops per sequence, a micro-batch runs those of its longest sequence.

    Args:
        step: number of the step.
        rows: sequences of a process.
        micro: sequences of a micro-batch.
        processes: number of processes.
        together: whether all processes run the loops of the longest sequence among them (FSDP2).

    >>> loops_of_step(RandomLoops(choices=(3,)), step=0, rows=4, micro=2)
    {3: 1.0}
    """
    if random_loops.per == "step":
        return {random_loops.at(step): 1.0}
    shares: Counter[int] = Counter()
    for start in range(0, rows, micro):
        count = min(micro, rows - start)
        firsts = [rank * rows + start for rank in range(processes)]
        most = [int(random_loops.of_rows(step, first, count).max()) for first in firsts]
        shares.update(dict.fromkeys(most, 0))
        for loops in most:
            shares[max(most) if together else loops] += count
    return {loops: count / (rows * processes) for loops, count in shares.items() if count}
