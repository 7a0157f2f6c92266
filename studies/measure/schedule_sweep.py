"""Score prompts under many schedules of one model at once, and questions at every early exit.

Schedules form a prefix tree: layers that several schedules start with run once. The model's own
forward pass runs first; every other schedule branches off where it first differs and continues from
that hidden state. So a grid of repeats shares the layers before the block and the earlier repeats,
and an early exit costs only the head::

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
from ...core.positions import regimes, uses_token_index
from ...models import Schedule
from ...models.diagnostics import Lens, Replay, Trace, exit_logits, trace
from ...models.looping.config import current_schedule
from ...models.looping.decoder import decoder_config, find_decoder
from ...tasks.questions import Question


@dataclass
class ScheduleNode:
    """Node of the prefix tree of schedules.

    Attributes:
        children: next layer -> node.
        ends: indices of the schedules that end at this node.
    """

    children: dict[int, ScheduleNode] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class OptionSheet:
    """Token sequence of a context and one or more answer options, for one forward pass.

    Args:
        tokens: token ids of the context, then of the options.
        rows: option index -> positions whose logits predict the option's tokens.
        sees: attention mask, ``(tokens, tokens)`` bool, True where a row sees a column; None for
            causal attention.
        positions: position ids; None for 0, 1, 2, …
    """

    tokens: list[int]
    rows: dict[int, list[int]]
    sees: Tensor | None = None
    positions: list[int] | None = None


class ScheduleSweep:
    """Run a model under many schedules.

    Args:
        model: decoder without computation between its layers.
        schedules: schedules over the model's unique layers.

    Attributes:
        layer_calls: number of layer forwards, including the model's own forward pass.
    """

    def __init__(self, model: Any, schedules: Sequence[Schedule]) -> None:
        self.model, self.schedules = model, list(schedules)
        self.layer_calls = 0
        decoder = find_decoder(model)
        for schedule in self.schedules:
            schedule.check_fits(len(decoder.unique))
        self.base = decoder.schedule
        needed = {layer for schedule in self.schedules for layer in schedule}
        if not needed <= set(self.base):  # the base pass must run every layer once
            self.base = Schedule.plain(len(decoder.unique))
        self.root = ScheduleNode()
        for number, schedule in enumerate(self.schedules):
            node = self.root
            for layer in schedule:
                node = node.children.setdefault(layer, ScheduleNode())
            node.ends.append(number)
        self._packs: bool | None = None
        self._accepts_logits_to_keep = (
            "logits_to_keep" in inspect.signature(model.forward).parameters
        )

    def exit_log_probs(self, question: Question, lenses: Sequence[Lens | None] = (None,)) -> Tensor:
        """Log-probability of every option at an early exit before each step, and at the end.

        Args:
            lenses: tuned lenses; None for the logit lens.

        Returns:
            ``(lenses, steps + 1, options)``.
        """
        log_probs = torch.zeros(len(lenses), len(self.base) + 1, len(question.options))
        for sheet, base in self._sheets(question):
            for number, lens in enumerate(lenses):
                if lens is not None:
                    lens.check_fits(base)
                for step, state in enumerate((*base.inputs, base.outputs[-1])):
                    scores = option_log_probs(base, sheet, question, state[0], step, lens)
                    log_probs[number, step] += scores
        return log_probs

    @torch.no_grad()
    def final_states(self, question: Question) -> Iterator[tuple[OptionSheet, Trace, int, Tensor]]:
        """Yield sheet, trace of the base pass, schedule index and final state ``(tokens, dim)``."""
        for sheet, base in self._sheets(question):
            for number, state in self._final_states(base):
                yield sheet, base, number, state[0]

    @torch.no_grad()
    def losses(self, ids: Tensor) -> Tensor:
        """Mean next-token loss in nats under each schedule, ``(schedules,)``.

        Args:
            ids: token ids, ``(1, tokens)``.
        """
        base = self._trace(ids)
        base.check_flow()
        base.check_readout()
        losses = torch.zeros(len(self.schedules))
        for number, state in self._final_states(base):
            log_probs = base.readout(state[0, :-1]).float().log_softmax(-1)
            losses[number] = -log_probs.gather(1, ids[0, 1:, None]).mean().cpu()
        for number in (~losses.isfinite()).nonzero().flatten().tolist()[:1]:
            raise InputError(
                f"under the schedule {self.schedules[number]} the loss of a prompt is "
                f"{float(losses[number])}: its logits are not finite"
            )
        return losses

    def _final_states(self, base: Trace) -> Iterator[tuple[int, Tensor]]:
        """Yield schedule index and final hidden state ``(batch, tokens, dim)``."""
        replay = Replay(base)
        self.layer_calls += base.steps
        todo = [(self.root, 0, base.inputs[0], True)]
        while todo:
            node, depth, state, on_base = todo.pop()
            if node.ends and not bool(state.isfinite().all()):
                self._raise_not_finite(base, self.schedules[node.ends[0]])
            for number in node.ends:
                yield number, state
            for layer, child in node.children.items():
                same = on_base and depth < base.steps and base.schedule.layers[depth] == layer
                new = base.outputs[depth] if same else replay.layer(layer, state)
                todo.append((child, depth + 1, new, same))
        self.layer_calls += replay.layer_calls

    def _raise_not_finite(self, base: Trace, schedule: Schedule) -> None:
        """Raise an error that names the first step whose output is NaN or infinite."""
        replay, state = Replay(base), base.inputs[0]
        for step, layer in enumerate(schedule):
            state = replay.layer(layer, state)
            if not bool(state.isfinite().all()):
                raise InputError(
                    f"under the schedule {schedule} the output of layer {layer} (step {step}) "
                    f"is not finite in {str(state.dtype).removeprefix('torch.')}"
                )

    def _trace(self, ids: Tensor, mask: Tensor | None = None, **more: Any) -> Trace:
        scheduled: Any = contextlib.nullcontext()
        if self.base != current_schedule(self.model):
            scheduled = self.model.scheduled(self.base)
        with scheduled:
            return trace(self.model, ids, mask, **more)

    def _sheets(self, question: Question) -> Iterator[tuple[OptionSheet, Trace]]:
        """Run a question and yield its sheets: one for all options if the model supports it."""
        if self._packs is None:
            self._packs = self._supports_packing(question)
        length = len(question.context) + sum(map(len, question.options))
        together = self._packs and length <= (self._window or length)
        for sheet in [pack_options(question)] if together else separate_options(question):
            yield sheet, self._run(sheet, all_logits=False)

    @property
    def _window(self) -> int | None:
        """Smallest attention window of a layer in tokens; None if all attend to everything."""
        config = decoder_config(self.model.config)
        names = ("sliding_window", "attention_chunk_size")
        windows = [getattr(config, name, None) for name in names]
        return min((window for window in windows if window), default=None)

    def _run(self, sheet: OptionSheet, all_logits: bool) -> Trace:
        device = self.model.device
        ids = torch.tensor([sheet.tokens], device=device)
        kwargs: dict[str, Any] = {}
        if self._accepts_logits_to_keep and not all_logits:
            kwargs["logits_to_keep"] = 1
        if sheet.sees is None:
            return self._trace(ids, **kwargs)
        mask = torch.zeros(sheet.sees.shape, dtype=self.model.dtype)
        mask.masked_fill_(~sheet.sees, torch.finfo(mask.dtype).min)
        kwargs["position_ids"] = torch.tensor([sheet.positions], device=device)
        return self._trace(ids, mask[None, None].to(device), **kwargs)

    @torch.no_grad()
    def _supports_packing(self, question: Question) -> bool:
        """Compare one packed sheet with separate options on a question.

        Raises:
            InputError: the model's layers cannot be replayed.
        """
        expected = torch.zeros(len(question.options))
        for sheet in separate_options(question):
            base = self._run(sheet, all_logits=True)
            base.check_flow()
            base.check_readout()
            expected += option_log_probs(base, sheet, question, base.outputs[-1][0])
        if regimes(self.model) is not None or uses_token_index(self.model):
            return False  # packed options would have other positions than separate ones
        sheet = pack_options(question)
        if len(sheet.tokens) > (self._window or len(sheet.tokens)):
            return False
        try:
            base = self._run(sheet, all_logits=False)
        except Exception:  # each architecture rejects a mask in its own way
            return False
        packed = option_log_probs(base, sheet, question, base.outputs[-1][0])
        tolerance = 1e-3 if self.model.dtype == torch.float32 else 0.3  # nats per token
        longest = max(map(len, question.options))
        return bool(((packed - expected).abs() <= tolerance * longest).all())


def pack_options(question: Question) -> OptionSheet:
    """Pack the context and all options in one sheet; options do not see each other."""
    length = len(question.context)
    tokens, positions = list(question.context), list(range(length))
    rows, branch = {}, [-1] * length
    for number, option in enumerate(question.options):
        rows[number] = [length - 1, *range(len(tokens), len(tokens) + len(option) - 1)]
        tokens += option[:-1]
        positions += range(length, length + len(option) - 1)
        branch += [number] * (len(option) - 1)
    option_of = torch.tensor(branch)  # -1: context
    sees = torch.ones(len(tokens), len(tokens), dtype=torch.bool).tril_()
    sees &= (option_of[None] == option_of[:, None]) | (option_of[None] == -1)
    return OptionSheet(tokens, rows, sees, positions)


def separate_options(question: Question) -> list[OptionSheet]:
    """Return one sheet per option, each with the whole context."""
    length = len(question.context)
    return [
        OptionSheet(
            [*question.context, *option[:-1]],
            {i: list(range(length - 1, length - 1 + len(option)))},
        )
        for i, option in enumerate(question.options)
    ]


@torch.no_grad()
def option_log_probs(
    base: Trace,
    sheet: OptionSheet,
    question: Question,
    states: Tensor,
    step: int = 0,
    lens: Lens | None = None,
) -> Tensor:
    """Log-probabilities of the options on a sheet, ``(options,)``; 0 for options elsewhere.

    Args:
        states: hidden states of the sheet, ``(tokens, dim)``.
        step: index of the step that would run next, which selects the lens's translator.
        lens: tuned lens; None for final norm and head only.
    """
    rows_used = sorted({row for rows in sheet.rows.values() for row in rows})
    logits = exit_logits(base, step, states[rows_used], lens)
    log_probs = logits.float().log_softmax(-1).cpu()
    index = {row: i for i, row in enumerate(rows_used)}
    sums = torch.zeros(len(question.options))
    for number, rows in sheet.rows.items():
        option = torch.tensor(question.options[number])
        sums[number] = log_probs[[index[row] for row in rows]].gather(1, option[:, None]).sum()
    if bool(sums.isnan().any()):
        by = "the head" if lens is None else "the tuned lens"
        raise InputError(f"what {by} reads off the state before step {step} is not finite")
    return sums
