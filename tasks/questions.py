"""Questions of the evaluation tasks as tokens: lm-eval's own prompts, of any split."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError, whole
from ..primitives import Source
from ..primitives.uniqueness import check_capacity
from .catalog import GROUPS, resolve
from .documents import config, pool_size
from .evaluate import unknown_task

if TYPE_CHECKING:
    from .scoring.scorer import TrieLM

FEWSHOT_SEED = 1234  # lm-eval's own
FIXED = "fixed shots"  # as records of evaluations say it


@dataclass(frozen=True)
class Question:
    """Tokens of a prompt and of its options; which option is right."""

    context: list[int]
    options: list[list[int]]
    answer: int


@dataclass(frozen=True)
class Questions:
    """The questions of a task, and what identifies them."""

    task: str
    version: int
    fingerprint: str
    split: str
    seed: int
    shots: int
    chance: float
    asked: tuple[Question, ...]
    prompting: str | None = None

    @property
    def about(self) -> dict[str, Any]:
        """What a record says of them."""
        names = ("task", "version", "fingerprint", "split", "seed", "shots", "chance")
        found = {name: getattr(self, name) for name in names} | {"n": len(self.asked)}
        return found | ({"prompting": self.prompting} if self.prompting else {})


def task_names(names: Sequence[str]) -> tuple[str, ...]:
    """Our tasks among ``names``, groups written out.

    Raises:
        InputError: a task that is not one of growloop's own.
    """
    found: list[str] = []
    for name in names:
        group, *params = name.split(":")
        for member in GROUPS.get(group, [group]):
            found.append(":".join([member, *params]))
    for name in found:
        if resolve(name) is None:
            from ..primitives import STANDARD, TASKS

            raise unknown_task(name, [*STANDARD, *TASKS, *GROUPS])
    return tuple(dict.fromkeys(found))


def check_questions(name: str, count: int, split: str, seed: int, shots: int) -> None:
    """Refuse a task that has not so many items, before the slow part."""
    task = resolve(name)
    assert task is not None
    whole("shots", shots, 0, 10**5)
    check_capacity(Source(task, split, seed), count)
    if shots >= (pool := pool_size(task, shots)):
        raise InputError(f"{task.label} has {pool} examples to draw shots from, not {shots}")


def questions(
    scorer: TrieLM,
    name: str,
    count: int,
    *,
    split: str = "test",
    seed: int = 0,
    shots: int = 5,
    fixed_shots: bool = False,
    pool: int | None = None,
) -> Questions:
    """The first ``count`` questions of a task.

    Args:
        scorer: of :func:`scorer`.
        name: a task of ours, with parameters after colons.
        split: ``test``, or ``validation`` for choices.
        seed: which items and examples are drawn.
        shots: examples before each question.
        fixed_shots: the same before all.
        pool: the largest number of examples in a curve: those of fewer are the first of those of
            more. By default they are those of ``growloop eval --shots``.

    Raises:
        InputError: a question that does not fit into the model's context.
    """
    from lm_eval.api.task import ConfigurableTask

    from .shots import NestedSampler, NestedTask

    task = resolve(name)
    if task is None:
        raise unknown_task(name, [])
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    settings = config(task, count, seed, fixed_shots, shots if pool is None else pool)
    settings["metadata"]["growloop"]["split"] = split
    if pool is None:
        built = ConfigurableTask(config=settings)
    else:
        settings["fewshot_config"] |= {"sampler": NestedSampler}
        built = NestedTask(config=settings)
    built.set_config(key="num_fewshot", value=shots)
    built.set_fewshot_seed(seed=FEWSHOT_SEED)
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar, of a second, cannot be told
        built.build_all_requests()
    by_item: dict[int, list[Any]] = defaultdict(list)
    for request in built.instances:
        by_item[request.doc_id].append(request)
    in_order = [sorted(by_item[item], key=lambda request: request.idx) for item in sorted(by_item)]
    texts = [request.args for requests in in_order for request in requests]
    encoded = iter(scorer.encoded(texts, tasks=[task.label] * len(texts)))
    asked = []
    for requests in in_order:
        pairs = list(itertools.islice(encoded, len(requests)))
        scorer.check(pairs)
        options = [option for _, _, option in pairs]
        asked.append(Question(pairs[0][1], options, int(requests[0].doc["answer"])))
    about = built.config.metadata["growloop"]
    return Questions(
        task.label,
        task.version,
        about["fingerprint"],
        split,
        seed,
        shots,
        task.chance,
        tuple(asked),
        FIXED if fixed_shots else None,
    )


def scorer(model: Any, tokenizer: Any) -> TrieLM:
    """Turns texts into tokens and scores them, as ``growloop eval`` does with this model."""
    from .scoring.scorer import TrieLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    logging.getLogger("lm-eval").setLevel(logging.ERROR)
    return TrieLM(pretrained=model, tokenizer=tokenizer, batch_size=1)
