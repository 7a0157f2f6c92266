"""Curriculum of generated lessons: the next stage begins when the current one is learned.

Stages of fixed length do not work: models advanced too early fail later stages. A stage therefore
lasts until the running loss of its main lesson is low enough. A model that learns late would leave
no steps for the last stage, so a stage may have a limit too: a share of the run's steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....core.errors import InputError
from ....primitives.bits import draw, stream_key
from ..runfile_sections import Stage
from .batches import IGNORED, Batch, process_rows
from .lessons import GROUP, lesson
from .mixture import Phase
from .symbols import END, symbol_tokenizer, vocabulary

MEMORY = 0.95  # decay of the running loss per step


class Curriculum:
    """Source of generated rows, in stages that each last until they are learned.

    Args:
        stages: at least one; the last lasts to the end of the run.
        batch_size: rows per step over all processes; a multiple of 8.
        seq_len: longest row; longer lessons are refused.
        seed: seed of the items and their surface forms.
        phases: lesson shares from a step on, in place of those of the stage.
        steps: optimizer steps of the run; needed if a stage has a ``max_share``.

    >>> source = Curriculum([Stage(lessons={"repeats": 1.0})], batch_size=8, seq_len=128)
    >>> source.batch(0).tokens.shape[0]
    8

    Raises:
        InputError: unknown lessons, shares that do not sum to 1, a batch that is not a multiple
            of 8, a limit of the last stage.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        batch_size: int,
        seq_len: int,
        seed: int = 0,
        phases: Sequence[Phase] = (),
        steps: int | None = None,
    ) -> None:
        if not stages:
            raise InputError("a curriculum has at least one stage")
        if batch_size % GROUP:
            raise InputError(f"a batch of lessons is a multiple of {GROUP}, not {batch_size}")
        self.stages, self.batch_size, self.seq_len, self.seed = stages, batch_size, seq_len, seed
        self.phases = sorted(phases, key=lambda phase: phase.start)
        if stages[-1].max_share < 1:
            raise InputError("the last stage lasts to the end of the run: it takes no max_share")
        if steps is None and any(stage.max_share < 1 for stage in stages):
            raise InputError("a max_share is a share of the run's steps: give steps")
        self.steps = steps
        every = [*(stage.lessons for stage in stages), *(phase.weights for phase in self.phases)]
        names = dict.fromkeys(name for lessons in every for name in lessons)
        self.kinds = tuple(names)
        self.lessons = [lesson(name) for name in self.kinds]
        for lessons in every:
            if abs(sum(lessons.values()) - 1) > 1e-6 or min(lessons.values(), default=0) < 0:
                raise InputError(f"the shares of lessons sum to 1: {dict(lessons)} do not")
        self.vocabulary = len(vocabulary())
        self.end: int | None = vocabulary()[END]
        self.special: tuple[int, ...] = ()
        self.state: dict[str, Any] = {"stage": 0, "begun": [0], "loss": None}

    @property
    def stage(self) -> Stage:
        """Current stage."""
        number: int = self.state["stage"]
        if number >= len(self.stages):
            raise InputError(
                f"the run is in stage {number + 1} of its lessons, its file has {len(self.stages)}"
            )
        return self.stages[number]

    def _phase(self, step: int) -> Phase | None:
        """Return the phase that replaces the stage at a step, or None."""
        return next((phase for phase in reversed(self.phases) if phase.start <= step), None)

    def batch(self, step: int, rank: int = 0, processes: int = 1) -> Batch:
        """Return the rows of a step, shorter ones first, padded on the right."""
        phase = self._phase(step)
        lessons = self.stage.lessons if phase is None else phase.weights
        shares = [lessons.get(name, 0.0) for name in self.kinds]
        bounds = np.cumsum(shares) / sum(shares) * 2**32
        first = step * self.batch_size // GROUP
        groups = range(first, first + self.batch_size // GROUP)
        dice = draw(stream_key("lesson order", self.seed), first, len(groups), [2**32])[0]
        kinds = np.minimum(np.searchsorted(bounds, dice, side="right"), len(shares) - 1)
        rows = [self.lessons[k](self.seed, g) for k, g in zip(kinds, groups, strict=True)]
        order = np.argsort([tokens.shape[1] for tokens, _ in rows], kind="stable")
        length = rows[order[-1]][0].shape[1]
        self._check_length(int(kinds[order[-1]]), length)
        tokens = np.zeros((self.batch_size, length), np.int64)
        targets = np.full_like(tokens, IGNORED)
        for place, group in enumerate(order):
            here = slice(place * GROUP, (place + 1) * GROUP)
            inputs, wanted = rows[group]
            tokens[here, : inputs.shape[1]], targets[here, : inputs.shape[1]] = inputs, wanted
        mine = process_rows(self.batch_size, rank, processes)
        return Batch(
            tokens[mine],
            targets[mine],
            int((targets != IGNORED).sum()),
            kinds=np.repeat(kinds[order], GROUP)[mine],
        )

    def check(self) -> None:
        """Refuse lessons whose first rows are longer than ``seq_len``.

        Raises:
            InputError: naming the lesson.
        """
        for kind, lesson_of in enumerate(self.lessons):
            self._check_length(kind, lesson_of(self.seed, 0)[0].shape[1])

    def _check_length(self, kind: int, length: int) -> None:
        if length > self.seq_len:
            raise InputError(
                f"lesson {self.kinds[kind]} has rows of {length} tokens: seq_len {self.seq_len} is "
                "too small"
            )

    def observe_losses(self, step: int, losses: dict[str, float]) -> str | None:
        """Update the running loss of the main lesson; begin the next stage once it is low.

        The next stage begins too once the stage has lasted its share of the run's steps.
        """
        if self._phase(step) is not None:
            return None
        main = next(iter(self.stage.lessons))
        now = self.state["loss"]
        if main in losses:
            now = losses[main] if now is None else MEMORY * now + (1 - MEMORY) * losses[main]
            self.state["loss"] = now
        learned = main in losses and now < self.stage.until
        if self.state["stage"] + 1 == len(self.stages) or not (learned or self._expired(step)):
            return None
        loss = "" if now is None else f" ({now:.3f})"
        reason = f"{main} is learned{loss}"
        if not learned:
            reason = f"{main} is not learned{loss}, but its share of the steps is used up"
        if not learned:  # absent from the checkpoints of curricula without limits
            self.state["not_learned"] = [*self.state.get("not_learned", ()), self.state["stage"]]
        self.state |= {
            "stage": self.state["stage"] + 1,
            "begun": [*self.state["begun"], step],
            "loss": None,
        }
        return f"step {step}: {reason}; now {', '.join(self.stage.lessons)}"

    def _expired(self, step: int) -> bool:
        """Return whether the stage has lasted its share of the run's steps, ``step`` included."""
        share, begun = self.stage.max_share, self.state["begun"]
        if share == 1 or self.steps is None:
            return False
        first = begun[-1] + 1 if len(begun) > 1 else 0  # ``begun`` has the step before a stage
        limit = share * self.steps - 1e-6  # 0.07 of 100 steps is 7.000000000000001
        return bool(step + 1 - first >= limit)

    def tokenizer(self) -> Any:
        """Return the symbol tokenizer."""
        return symbol_tokenizer()
