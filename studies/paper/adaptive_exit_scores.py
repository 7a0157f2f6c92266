"""Correctness of a question at every early exit, and the score of each exit criterion there."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from ...models import EarlyExit
from ...models.diagnostics import Lens, Trace, exit_logits
from ...models.looping.early_exit import exit_signal, initial_signal, signal_change
from ...tasks.questions import Question
from ..measure.schedule_sweep import ScheduleSweep, option_log_probs
from .adaptive_exit_costs import CRITERIA


def score_exits(
    sweep: ScheduleSweep, question: Question, exits: int, options: Any, lens: Lens | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Score a question at every exit.

    Args:
        sweep: schedules of the exits, then of the exit checks, then of the block's input.
        question: tokenized question.
        exits: number of exits.
        options: options of the study, ``judged``, ``exits`` and ``rule``.
        lens: tuned lens; None for the logit lens.

    Returns:
        Per-exit correctness, ``(exits,)`` bool; and criterion -> score at each exit, ``(exits,)``.
        Under the rule ``ours`` the first exit has no score: ``(exits - 1,)``.
    """
    log_probs = torch.zeros(exits, len(question.options))
    length = len(question.context)
    judged = slice(length - 1 if options.judged == "answer" else 0, length)
    states: dict[int, Tensor] = {}
    ends: dict[int, Tensor] = {}  # of every schedule, on the context
    for sheet, base, number, state in sweep.final_states(question):
        step = len(sweep.schedules[number])
        if number < exits:
            log_probs[number] += option_log_probs(base, sheet, question, state, step, lens)
        if options.exits == "step" or number >= exits:
            states.setdefault(number % exits, state[judged])
        ends.setdefault(number, state[:length])
    if options.rule == "geiping":
        return log_probs.argmax(1) == question.answer, _geiping_scores(base, ends, exits)
    logits = [
        exit_logits(base, len(sweep.schedules[number]), states[number], lens)
        for number in range(exits)
    ]
    scores = {}
    for name in CRITERIA:
        signals = [
            exit_signal(name, states[i], lambda _, i=i: logits[i])  # type: ignore[misc]
            for i in range(exits)
        ]
        changes = torch.stack([signal_change(name, *pair) for pair in itertools.pairwise(signals)])
        scores[name] = (
            _run_lengths(changes).amin(1) if name == "argmax" else changes.amax(1)
        ).cpu()
    return log_probs.argmax(1) == question.answer, scores


def _geiping_scores(base: Trace, ends: dict[int, Tensor], exits: int) -> dict[str, Tensor]:
    """Return scores of Geiping et al.'s criteria after each loop: criterion -> ``(exits,)``.

    Args:
        ends: states on the context ``(tokens, dim)``: the model's last state at each exit, then
            the state after each loop, then the input of the block.
    """
    block_input = ends[2 * exits]
    scores = {}
    for name in CRITERIA:
        rule = EarlyExit.geiping(name)
        places = range(exits) if rule.through_coda else range(exits, 2 * exits)
        judged = slice(-1, None) if rule.judged == "last" else slice(None)
        signals = [exit_signal(name, ends[place][judged], base.readout) for place in places]
        signals.insert(0, initial_signal(name, block_input[judged], signals[0]))
        changes = torch.stack(
            [signal_change(name, *pair, rule.direction) for pair in itertools.pairwise(signals)]
        )
        scores[name] = (_agreements(changes) if name == "argmax" else changes).mean(1).cpu()
    return scores


def _agreements(changed: Tensor) -> Tensor:
    """Count consecutive agreements with the previous check, ``(checks, tokens)``.

    Args:
        changed: 0 where a token equals that of the check before, ``(checks, tokens)``.
    """
    count, counts = torch.zeros_like(changed[0]), []
    for row in changed:
        count = torch.where(row == 0, count + 1, torch.zeros_like(count))
        counts.append(count)
    return torch.stack(counts)


def _run_lengths(changed: Tensor) -> Tensor:
    """Count the consecutive checks with the same token, this one included.

    Args:
        changed: 0 where a token equals that of the check before, ``(checks - 1, tokens)``.
    """
    count = torch.ones_like(changed[0])
    counts = []
    for row in changed:
        count = torch.where(row == 0, count + 1, torch.ones_like(count))
        counts.append(count)
    return torch.stack(counts)
