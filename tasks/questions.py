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
from ..core.published_code import check_start
from ..primitives import Source
from ..primitives.uniqueness import check_capacity
from . import harness_questions
from .catalog import GROUPS, resolve
from .documents import config, pool_size

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
        version: version of the task; of lm-eval's as text.
        fingerprint: SHA-256 of the items.
        chance: accuracy of guessing.
        questions: the questions, in the order of their items.
        prompting: ``fixed shots`` if all questions have the same examples, else None.
    """

    task: str
    version: int | str
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
    """Expand groups in ``names``, growloop's and lm-eval's.

    Raises:
        InputError: a task that neither growloop nor lm-eval has, or one that is not multiple
            choice.

    >>> task_names(["reasoning_primitives"])[:2]
    ('copying_random_words', 'copying_real_words')
    """
    expanded: list[str] = []
    for name in names:
        group, *params = name.split(":")
        for member in GROUPS.get(group, [group]):
            expanded.append(":".join([member, *params]))
    leaves: list[str] = []
    for name in expanded:
        leaves += [name] if resolve(name) is not None else harness_questions.expand(name)
    return tuple(dict.fromkeys(leaves))


def check_questions(name: str, count: int, split: str, seed: int, shots: int) -> None:
    """Refuse more items or shots than a task of growloop has; of lm-eval's, all items are used.

    Raises:
        InputError: with the number it has.
    """
    task = resolve(name)
    whole("shots", shots, 0, 10**5)
    if task is None:
        if split == "validation":
            harness_questions.choice_split(harness_questions.loaded(name), name)
        return
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
        name: a task of growloop, with parameters after colons, or a multiple-choice task of lm-eval
            (a result of :func:`task_names`).
        count: number of questions; of a task of lm-eval at most all.
        split: ``test``, or ``validation`` for model selection.
        seed: seed of items and few-shot examples.
        shots: few-shot examples per question.
        fixed_shots: use the same examples for all questions.
        pool: largest number of shots of an in-context curve, for nested examples; None for the
            examples of ``growloop eval --shots``.

    Raises:
        InputError: a question longer than the model's context; fixed shots or nested examples of
            lm-eval's tasks.

    Example::

        lm = scorer(model, tokenizer)
        some = questions(lm, "variable_assignment_code_d1", 100, shots=0)
        some.questions[0].options  # token ids of the five options
    """
    from lm_eval.api.task import ConfigurableTask

    from .shots import NestedSampler, NestedTask

    task = resolve(name)
    if task is None:
        if fixed_shots or pool is not None:
            raise InputError(
                f"{name} is a task of lm-eval, which draws examples for each question anew: fixed "
                "and nested examples are for growloop's tasks"
            )
        return _harness_questions(scorer, name, count, split, seed, shots)
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


def _harness_questions(
    scorer: TrieLM, name: str, count: int, split: str, seed: int, shots: int
) -> Questions:
    """Tokenize questions of a multiple-choice task of lm-eval."""
    task = harness_questions.loaded(name)
    label = str(task.config.task)
    shots = harness_questions.shots_of(label, shots)
    task.set_config(key="num_fewshot", value=shots)
    task.set_fewshot_seed(seed=FEWSHOT_SEED)
    rows = harness_questions.requests(task, label, split, count, seed)
    texts = [request.args for row in rows for request in row]
    encoded = iter(scorer.encoded(texts, tasks=[label] * len(texts)))
    tokenized = []
    for row in rows:
        pairs = list(itertools.islice(encoded, len(row)))
        scorer.check(pairs)
        options = [option for _, _, option in pairs]
        answer = harness_questions.answer_of(task, row[0])
        tokenized.append(Question(pairs[0][1], options, answer))
    chances = [1 / len(question.options) for question in tokenized]
    return Questions(
        label,
        str(task.VERSION),
        harness_questions.fingerprint(rows),
        split,
        seed,
        shots,
        sum(chances) / len(chances),
        tuple(tokenized),
    )


def scorer(model: Any, tokenizer: Any) -> TrieLM:
    """Wrap a loaded model and its tokenizer in the lm-eval model that ``growloop eval`` uses.

    Args:
        model: Hugging Face causal language model.
        tokenizer: its tokenizer.

    Raises:
        InputError: a model whose scores would not repeat.
    """
    from .scoring.scorer import TrieLM

    check_start(model)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    logging.getLogger("lm-eval").setLevel(logging.ERROR)
    return TrieLM(pretrained=model, tokenizer=tokenizer, batch_size=1)
