"""Scores texts under many schedules of one model at once, and questions at every exit.

Schedules are the paths of a tree: a stretch of layers that several of them begin with runs once.
The model's own pass comes first; every other schedule leaves it where it first differs and goes on
from that state. So a grid of repeats shares what comes before the block, and the repeats before the
last; and leaving early costs nothing but the head::

    30 layers, block 6-9 once and twice more:   0 … 9 ┬ 10 … 29
                                                      └ 6 7 8 9 ┬ 10 … 29
                                                                └ 6 7 8 9 10 … 29
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...core.errors import InputError
from ...core.positions import counts_places, regimes
from ...models import Schedule
from ...models.diagnostics import Lens, Replay, Trace, exit_logits, trace
from ...models.looping.config import current_schedule
from ...models.looping.decoder import decoder_config, find_decoder
from ...tasks.questions import Question


@dataclass
class Node:
    """A layer in the tree: what follows it, and the schedules that end there."""

    after: dict[int, Node] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Sheet:
    """Tokens that run together, and where in them the tokens of options are predicted.

    Args:
        tokens: of the context and of options.
        rows: of each option, the places whose logits predict its tokens.
        sees: which place sees which, ``(tokens, tokens)``; None for all before it.
        positions: of the tokens; None for their places.
    """

    tokens: list[int]
    rows: dict[int, list[int]]
    sees: Tensor | None = None
    positions: list[int] | None = None


class Sweep:
    """A model under many schedules.

    Args:
        model: any decoder that changes nothing between its steps.
        schedules: over its unique layers.

    Attributes:
        layer_calls: how many layers ran, the model's own pass included.
    """

    def __init__(self, model: Any, schedules: Sequence[Schedule]) -> None:
        self.model, self.schedules = model, list(schedules)
        self.layer_calls = 0
        decoder = find_decoder(model)
        for schedule in self.schedules:
            schedule.check_fits(len(decoder.unique))
        self.base = decoder.schedule
        needed = {layer for schedule in self.schedules for layer in schedule}
        if not needed <= set(self.base):  # every layer must have been called once
            self.base = Schedule.plain(len(decoder.unique))
        self.root = Node()
        for number, schedule in enumerate(self.schedules):
            node = self.root
            for layer in schedule:
                node = node.after.setdefault(layer, Node())
            node.ends.append(number)
        self._packs: bool | None = None
        self._keeps = "logits_to_keep" in inspect.signature(model.forward).parameters

    def exit_scores(self, question: Question, lenses: Sequence[Lens | None] = (None,)) -> Tensor:
        """Log-probability of every option for leaving before each step, and for the model itself.

        Args:
            lenses: tuned lenses to read with; None for the logit lens.

        Returns:
            ``(lenses, steps + 1, options)``.
        """
        found = torch.zeros(len(lenses), len(self.base) + 1, len(question.options))
        for sheet, base in self._sheets(question):
            for number, lens in enumerate(lenses):
                if lens is not None:
                    lens.check_fits(base)
                for step, state in enumerate((*base.inputs, base.outputs[-1])):
                    scores = option_scores(base, sheet, question, state[0], step, lens)
                    found[number, step] += scores
        return found

    @torch.no_grad()
    def ends(self, question: Question) -> Iterator[tuple[Sheet, Trace, int, Tensor]]:
        """The last state of every schedule on each sheet: the schedule's number, the state."""
        for sheet, base in self._sheets(question):
            for number, state in self._ends(base):
                yield sheet, base, number, state[0]

    @torch.no_grad()
    def losses(self, ids: Tensor) -> Tensor:
        """Mean next-token loss of a text in nats, ``(schedules,)``.

        Args:
            ids: ``(1, tokens)``.
        """
        base = self._trace(ids)
        base.check_flow()
        base.check_readout()
        found = torch.zeros(len(self.schedules))
        for number, state in self._ends(base):
            chances = base.readout(state[0, :-1]).float().log_softmax(-1)
            found[number] = -chances.gather(1, ids[0, 1:, None]).mean().cpu()
        for number in (~found.isfinite()).nonzero().flatten().tolist()[:1]:
            raise InputError(
                f"under the schedule {self.schedules[number]} the loss of a text is "
                f"{float(found[number])}: the head puts out what is not finite"
            )
        return found

    def _ends(self, base: Trace) -> Iterator[tuple[int, Tensor]]:
        """The last state of every schedule, ``(batch, tokens, dim)``."""
        again = Replay(base)
        self.layer_calls += base.steps
        todo = [(self.root, 0, base.inputs[0], True)]
        while todo:
            node, depth, state, own = todo.pop()
            if node.ends and not bool(state.isfinite().all()):
                self._refuse(base, self.schedules[node.ends[0]])
            for number in node.ends:
                yield number, state
            for layer, after in node.after.items():
                same = own and depth < base.steps and base.schedule.layers[depth] == layer
                new = base.outputs[depth] if same else again.layer(layer, state)
                todo.append((after, depth + 1, new, same))
        self.layer_calls += again.layer_calls

    def _refuse(self, base: Trace, schedule: Schedule) -> None:
        """Say which step of a schedule puts out a state that is NaN or infinite."""
        again, state = Replay(base), base.inputs[0]
        for step, layer in enumerate(schedule):
            state = again.layer(layer, state)
            if not bool(state.isfinite().all()):
                raise InputError(
                    f"under the schedule {schedule} the output of layer {layer} (step {step}) "
                    f"is not finite in {str(state.dtype).removeprefix('torch.')}"
                )

    def _trace(self, ids: Tensor, mask: Tensor | None = None, **more: Any) -> Trace:
        change: Any = contextlib.nullcontext()
        if self.base != current_schedule(self.model):
            change = self.model.scheduled(self.base)
        with change:
            return trace(self.model, ids, mask, **more)

    def _sheets(self, question: Question) -> Iterator[tuple[Sheet, Trace]]:
        """What to run for a question: all options as one sheet where the model can."""
        if self._packs is None:
            self._packs = self._tried(question)
        length = len(question.context) + sum(map(len, question.options))
        together = self._packs and length <= (self._window or length)
        for sheet in [packed(question)] if together else alone(question):
            yield sheet, self._run(sheet, whole=False)

    @property
    def _window(self) -> int | None:
        """The fewest tokens that some layer sees, if not all."""
        text = decoder_config(self.model.config)
        found = [getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size")]
        return min((window for window in found if window), default=None)

    def _run(self, sheet: Sheet, whole: bool) -> Trace:
        device = self.model.device
        ids = torch.tensor([sheet.tokens], device=device)
        more: dict[str, Any] = {} if whole or not self._keeps else {"logits_to_keep": 1}
        if sheet.sees is None:
            return self._trace(ids, **more)
        mask = torch.zeros(sheet.sees.shape, dtype=self.model.dtype)
        mask.masked_fill_(~sheet.sees, torch.finfo(mask.dtype).min)
        more["position_ids"] = torch.tensor([sheet.positions], device=device)
        return self._trace(ids, mask[None, None].to(device), **more)

    @torch.no_grad()
    def _tried(self, question: Question) -> bool:
        """Whether one sheet gives what options alone do; refuses models without access."""
        wanted = torch.zeros(len(question.options))
        for sheet in alone(question):
            base = self._run(sheet, whole=True)
            base.check_flow()
            base.check_readout()
            wanted += option_scores(base, sheet, question, base.outputs[-1][0])
        if regimes(self.model) is not None or counts_places(self.model):
            return False  # positions on a sheet are not those of its options alone
        sheet = packed(question)
        if len(sheet.tokens) > (self._window or len(sheet.tokens)):
            return False
        try:
            base = self._run(sheet, whole=False)
        except Exception:  # a model refuses a mask in its own way
            return False
        found = option_scores(base, sheet, question, base.outputs[-1][0])
        each = 1e-3 if self.model.dtype == torch.float32 else 0.3  # nats a token
        longest = max(map(len, question.options))
        return bool(((found - wanted).abs() <= each * longest).all())


def packed(question: Question) -> Sheet:
    """The context, then the options as branches that do not see each other."""
    length = len(question.context)
    tokens, positions = list(question.context), list(range(length))
    rows, branch = {}, [-1] * length
    for number, option in enumerate(question.options):
        rows[number] = [length - 1, *range(len(tokens), len(tokens) + len(option) - 1)]
        tokens += option[:-1]
        positions += range(length, length + len(option) - 1)
        branch += [number] * (len(option) - 1)
    own = torch.tensor(branch)
    sees = torch.ones(len(tokens), len(tokens), dtype=torch.bool).tril_()
    sees &= (own[None] == own[:, None]) | (own[None] == -1)
    return Sheet(tokens, rows, sees, positions)


def alone(question: Question) -> list[Sheet]:
    """The context with one option at a time."""
    length = len(question.context)
    return [
        Sheet(
            [*question.context, *option[:-1]],
            {i: list(range(length - 1, length - 1 + len(option)))},
        )
        for i, option in enumerate(question.options)
    ]


@torch.no_grad()
def option_scores(
    base: Trace,
    sheet: Sheet,
    question: Question,
    states: Tensor,
    step: int = 0,
    lens: Lens | None = None,
) -> Tensor:
    """Log-probabilities of the options on a sheet, 0 for the others: ``(options,)``.

    Args:
        states: of its tokens, ``(tokens, dim)``.
        step: before which they are, for the lens.
        lens: a tuned lens; None for norm and head alone.
    """
    places = sorted({place for rows in sheet.rows.values() for place in rows})
    chances = exit_logits(base, step, states[places], lens).float().log_softmax(-1).cpu()
    place = {p: i for i, p in enumerate(places)}
    found = torch.zeros(len(question.options))
    for number, rows in sheet.rows.items():
        option = torch.tensor(question.options[number])
        found[number] = chances[[place[row] for row in rows]].gather(1, option[:, None]).sum()
    if bool(found.isnan().any()):
        by = "the head" if lens is None else "the tuned lens"
        raise InputError(f"what {by} reads off the state before step {step} is not finite")
    return found
