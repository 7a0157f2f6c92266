"""Tokenized questions of the evaluation tasks, with lm-eval's prompts, from any split."""

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
FIXED = "fixed shots"  # value of `prompting` in records


@dataclass(frozen=True)
class Question:
    """Multiple-choice question as token ids.

    Args:
        context: tokens of the prompt.
        options: tokens of each option.
        answer: index of the right option.
    """

    context: list[int]
    options: list[list[int]]
    answer: int


@dataclass(frozen=True)
class Questions:
    """Questions of a task with their provenance.

    Args:
        fingerprint: SHA-256 of the items.
        chance: accuracy of guessing.
        questions: the questions, in the order of their items.
        prompting: ``fixed shots`` if all questions have the same examples, else None.
    """

    task: str
    version: int
    fingerprint: str
    split: str
    seed: int
    shots: int
    chance: float
    questions: tuple[Question, ...]
    prompting: str | None = None

    @property
    def about(self) -> dict[str, Any]:
        """Provenance fields of records."""
        names = ("task", "version", "fingerprint", "split", "seed", "shots", "chance")
        fields = {name: getattr(self, name) for name in names} | {"n": len(self.questions)}
        return fields | ({"prompting": self.prompting} if self.prompting else {})


def task_names(names: Sequence[str]) -> tuple[str, ...]:
    """Expand groups in ``names`` and check that all tasks are growloop's.

    Raises:
        InputError: a task that is not one of growloop's own.

    >>> task_names(["reasoning_primitives"])[:2]
    ('copying_random_words', 'copying_real_words')
    """
    expanded: list[str] = []
    for name in names:
        group, *params = name.split(":")
        for member in GROUPS.get(group, [group]):
            expanded.append(":".join([member, *params]))
    for name in expanded:
        if resolve(name) is None:
            from ..primitives import STANDARD, TASKS

            raise unknown_task(name, [*STANDARD, *TASKS, *GROUPS])
    return tuple(dict.fromkeys(expanded))


def check_questions(name: str, count: int, split: str, seed: int, shots: int) -> None:
    """Refuse more items or shots than a task has.

    Raises:
        InputError: with the number it has.
    """
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
    """Tokenize the first ``count`` questions of a task.

    Args:
        scorer: result of :func:`scorer`, which tokenizes.
        name: a task of growloop, with parameters after colons.
        count: number of questions.
        split: ``test``, or ``validation`` for model selection.
        seed: seed of items and few-shot examples.
        shots: few-shot examples per question.
        fixed_shots: use the same examples for all questions.
        pool: largest number of shots of an in-context curve, for nested examples; None for the
            examples of ``growloop eval --shots``.

    Raises:
        InputError: a question longer than the model's context.

    Example::

        lm = scorer(model, tokenizer)
        some = questions(lm, "variable_assignment_code_d1", 100, shots=0)
        some.questions[0].options  # token ids of the five options
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
    with contextlib.redirect_stderr(io.StringIO()):  # lm-eval's progress bar cannot be turned off
        built.build_all_requests()
    by_item: dict[int, list[Any]] = defaultdict(list)
    for request in built.instances:
        by_item[request.doc_id].append(request)
    in_order = [sorted(by_item[item], key=lambda request: request.idx) for item in sorted(by_item)]
    texts = [request.args for requests in in_order for request in requests]
    encoded = iter(scorer.encoded(texts, tasks=[task.label] * len(texts)))
    tokenized = []
    for requests in in_order:
        pairs = list(itertools.islice(encoded, len(requests)))
        scorer.check(pairs)
        options = [option for _, _, option in pairs]
        tokenized.append(Question(pairs[0][1], options, int(requests[0].doc["answer"])))
    about = built.config.metadata["growloop"]
    return Questions(
        task.label,
        task.version,
        about["fingerprint"],
        split,
        seed,
        shots,
        task.chance,
        tuple(tokenized),
        FIXED if fixed_shots else None,
    )


def scorer(model: Any, tokenizer: Any) -> TrieLM:
    """Wrap a loaded model and its tokenizer in the lm-eval model that ``growloop eval`` uses.

    Args:
        model: Hugging Face causal language model.
        tokenizer: its tokenizer.
    """
    from .scoring.scorer import TrieLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    logging.getLogger("lm-eval").setLevel(logging.ERROR)
    return TrieLM(pretrained=model, tokenizer=tokenizer, batch_size=1)
