"""Programs: the steps of candidates as a trie, in which damped repeats share layers too.

A step of a program is a layer, or a :class:`Mix` of the state before a pass of a block with the
state after it. Mixing comes after the pass, so a damped repeat shares the pass with the plain one::

    0 … 9 ┬ 10 … 29                          the model as it is
          └ 6 7 8 9 ┬ 10 … 29                block 6:10 again
                    └ mix ─ 10 … 29          the same, damped
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ...models import Recurrence, Schedule


@dataclass(frozen=True)
class Mix:
    """``h + share (h' - h)``, with h the state after the first ``start`` steps of the program."""

    start: int
    share: float


Step = int | Mix
Program = tuple[Step, ...]


def program(schedule: Schedule, recurrence: Recurrence | None = None) -> Program:
    """Compile a schedule, as the looped model runs it under a recurrence.

    >>> program(Schedule.parse("1-1x2-1"), Recurrence(damping=0.5))
    (0, 1, 1, Mix(start=2, share=0.5), 2)
    """
    recurrence = recurrence or Recurrence()
    steps: list[Step] = []
    for start, size, loops in schedule.sections:
        for loop in range(loops):
            before = len(steps)
            steps += schedule.layers[start : start + size]
            share = recurrence.applied_share(loop, loops) if loops > 1 else 1.0
            steps += [] if share == 1 else [Mix(before, share)]
    return tuple(steps)


@dataclass
class Node:
    """Node of the trie of programs.

    Attributes:
        slot: cache slot of the step into this node; unique in the trie.
        depth: steps from the root.
        children: next step -> node.
        ends: indices of the programs that end here.
    """

    slot: int
    depth: int
    children: dict[Step, Node] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class ProgramTrie:
    """Trie of programs; the base program runs as the model's own forward pass.

    Args:
        root: node before the first step.
        base: nodes along the base program, the root first.
        programs: the programs.
        sources: depths that a later :class:`Mix` reads.
    """

    root: Node
    base: tuple[Node, ...]
    programs: tuple[Program, ...]
    sources: frozenset[int]

    @classmethod
    def build(cls, base: Program, programs: Sequence[Program]) -> ProgramTrie:
        """Build the trie; ``base`` is part of it whether or not it is one of the programs."""
        root, slots = Node(-1, 0), iter(range(10**9))
        path = [root, *_insert(root, base, slots)]
        for number, steps in enumerate(programs):
            [*_, last] = _insert(root, steps, slots)
            last.ends.append(number)
        sources = {step.start for steps in programs for step in steps if isinstance(step, Mix)}
        return cls(root, tuple(path), tuple(programs), frozenset(sources))

    @property
    def layer_steps(self) -> int:
        """Number of layer forwards that all programs need together."""
        todo, count = [self.root], 0
        while todo:
            node = todo.pop()
            count += sum(isinstance(step, int) for step in node.children)
            todo += node.children.values()
        return count


def _insert(root: Node, steps: Program, slots: Iterator[int]) -> list[Node]:
    node, path = root, []
    for step in steps:
        if step not in node.children:
            node.children[step] = Node(next(slots), node.depth + 1)
        node = node.children[step]
        path.append(node)
    return path
