"""Generative probes: greedy answers of every candidate, scored by the task's own metric.

What a candidate writes depends on it from the first token on, so candidates share nothing here:
each generates with a KV cache under its own schedule, at the price that lm-eval pays for it.
Questions share their common beginning, but for candidates whose passes share keys and values: there
a token reads other ones in the same forward pass than in a later one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from ...models import Recurrence, Schedule, loop
from ...models.looping.decoder import find_decoder
from .candidates import OWN, Candidate
from .items import Floats, GeneratedItem

if TYPE_CHECKING:
    from ...tasks.scoring.scorer import TrieLM

BATCH = {"cpu": 8}  # answers that are generated together; 32 on other devices


@dataclass
class Tokens:
    """Tokens that generation ran.

    Args:
        layers: layer forwards times tokens.
        head: tokens that the head ran on.
        alone: layer forwards times tokens without shared beginnings.
    """

    layers: int = 0
    head: int = 0
    alone: int = 0


def generated_points(
    lm: TrieLM,
    base: Schedule,
    some: Sequence[Candidate],
    items: Sequence[GeneratedItem],
    progress: Callable[[float], object] = lambda share: None,
) -> tuple[Floats, Tokens]:
    """Generate the answers of candidates and score them by the items' metric.

    Args:
        lm: scorer of the looped model, which has its base schedule again afterwards.
        progress: called after each candidate with its share of the work.

    Returns:
        Points from 0 to 1, ``(candidates, items)``, and the cost.
    """
    points, cost = [], Tokens()
    requests = [item.request for item in items]
    prompts = sum(len(lm.tok_encode(request.args[0])) for request in requests)
    size = BATCH.get(lm.device.type, 32)
    for candidate in some:
        steps = len(candidate.schedule)
        generate = lm._generate if candidate.kv == OWN else lm._generated
        looped = _running(lm.model, base, candidate)
        with looped, _counting(lm.model) as run, lm._batches_of(size):
            texts = generate(requests, True)
        points.append([item.grade(text) for item, text in zip(items, texts, strict=True)])
        cost.layers += run.layers
        cost.head += run.head
        cost.alone += steps * prompts + run.alone
        progress(1 / len(some))
    return np.array(points), cost


@contextlib.contextmanager
def _running(model: Any, base: Schedule, candidate: Candidate) -> Iterator[None]:
    """Loop the model as a candidate inside a ``with`` block, and by its base schedule after it."""
    loop(model, candidate.schedule, recurrence=candidate.recurrence)
    try:
        yield
    finally:
        loop(model, base, recurrence=Recurrence())


@contextlib.contextmanager
def _counting(model: Any) -> Iterator[Tokens]:
    """Count layer forwards times tokens, padding included, inside a ``with`` block.

    ``alone`` counts the tokens after the prompts: those of forward passes over one token a row.
    """
    count = Tokens()

    def layer(module: nn.Module, args: Any, kwargs: Any) -> None:
        state: Tensor = args[0] if args else kwargs["hidden_states"]
        count.layers += state.shape[0] * state.shape[1]
        count.alone += state.shape[0] if state.shape[1] == 1 else 0

    def head(module: nn.Module, args: Any) -> None:
        count.head += args[0].shape[:-1].numel()

    with contextlib.ExitStack() as stack:
        for one in find_decoder(model).unique:
            stack.callback(one.register_forward_pre_hook(layer, with_kwargs=True).remove)
        if (top := model.get_output_embeddings()) is not None:
            stack.callback(top.register_forward_pre_hook(head).remove)
        yield count
