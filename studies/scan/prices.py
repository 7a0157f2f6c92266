"""Price of an edit elsewhere: held-out negative log-likelihood, and guard tasks of lm-eval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core.errors import InputError
from ...core.statistics import interval_pairs, ratio_intervals
from ...models import loop
from ...tasks.evaluate import evaluate
from ...tasks.scoring.trie import build
from ..measure.prompts import read_prompts
from .candidates import Candidate
from .measure import Meter
from .program import program

SHOWN = ("acc_norm,none", "acc,none", "exact_match,strict-match", "exact_match,none", "f1,none",
         "perplexity,none", "word_perplexity,none")  # fmt: skip


def held_out(
    meter: Meter, some: Sequence[Candidate], text: str, documents: int, tokens: int
) -> list[dict[str, Any]]:
    """Measure the negative log-likelihood of documents, in nats a token.

    Args:
        some: the model as it is, then other candidates.
        text: file of documents (see ``--text`` of studies).
        documents, tokens: number of documents, and tokens that each is cut to.

    Returns:
        Per candidate ``nll`` and, but for the first, ``increase`` with ``low`` and ``high``: the
        paired 95 % interval over documents.
    """
    prompts = read_prompts(meter.lm.tokenizer, text, documents, tokens, 0, model=meter.model)
    rows = [ids[0].tolist() for ids in prompts.ids]
    totals, _ = meter.scan.run(
        build([(row[:1], row[1:]) for row in rows]),
        [program(c.schedule, c.recurrence) for c in some],
    )
    sizes = np.array([len(row) - 1.0 for row in rows])
    losses = -totals.T  # (documents, candidates)
    increases = losses - losses[:, :1]
    ends = interval_pairs(ratio_intervals(increases, sizes))
    found = []
    for number in range(len(some)):
        entry: dict[str, Any] = {"nll": float(losses[:, number].sum() / sizes.sum())}
        if number:
            low, high = ends[number] or (None, None)
            mean = float(increases[:, number].sum() / sizes.sum())
            entry |= {"increase": mean, "low": low, "high": high}
        found.append(entry)
    return found


def guard_scores(
    model: str,
    some: Sequence[Candidate],
    guards: Sequence[str],
    limit: int,
    dtype: str,
    device: str,
) -> list[dict[str, Any]]:
    """Score guard tasks through lm-eval.

    Args:
        model: path of the model, which is loaded again for each candidate.
        guards: lm-eval tasks or groups.
        limit: most questions a task.
        dtype, device: what the model is loaded to.

    Returns:
        Per task ``task``, ``metric``, and the ``values`` and ``errors`` of the candidates.

    Raises:
        InputError: a task that cannot be scored.
    """
    scored: list[dict[str, Any]] = []
    for candidate in some:

        def prepare(loaded: Any, candidate: Candidate = candidate) -> object:
            return loop(loaded, candidate.schedule, recurrence=candidate.recurrence)

        found = evaluate(
            model, list(guards), prepare=prepare, limit=limit, dtype=dtype, device=device
        )
        if found is None:
            raise InputError("a scan runs in one process")
        scored.append(found["results"])
    rows = []
    for task, first in scored[0].items():
        metric = next((name for name in SHOWN if name in first), None)
        if metric is None:
            continue
        error = metric.replace(",", "_stderr,")
        errors = [results[task].get(error) for results in scored]
        rows.append(
            {
                "task": task,
                "metric": metric.removesuffix(",none"),
                "values": [float(results[task][metric]) for results in scored],
                "errors": [float(e) if isinstance(e, (int, float)) else None for e in errors],
            }
        )
    return rows
