"""Data sets of growloop's lm-eval tasks, generated and never downloaded."""

from __future__ import annotations

from typing import Any

from ..core.errors import InputError
from ..primitives import STANDARD, TASKS, Item, Source, Task, different, fingerprint
from .catalog import FEWSHOT_POOL, ITEMS, SHOTS, resolve


def _document(item: Item) -> dict[str, Any]:
    fields = ("id", "index", "prompt", "target", "choices", "answer")
    return {name: getattr(item, name) for name in fields}


def pool_size(task: Task, shots: int) -> int:
    """Return the number of examples that few-shot prompts are drawn from."""
    return min(max(FEWSHOT_POOL, shots + 1), task.capacity("fewshot") // 2)


def splits(
    task: Task, count: int = ITEMS, seed: int = 0, shots: int = SHOTS, split: str = "test"
) -> dict[str, Any]:
    """Generate the test and few-shot splits as ``datasets.Dataset``, with ``count`` test items.

    Few-shot examples are those of the uncontrolled task.

    Args:
        split: split that the test items are drawn from, such as ``validation`` for model selection.
    """
    import datasets

    return {
        name: datasets.Dataset.from_list(
            [_document(item) for item in different(Source(source, drawn, seed), size)]
        )
        for name, source, drawn, size in (
            ("test", task, split, count),
            ("fewshot", task.uncontrolled, "fewshot", pool_size(task, shots)),
        )
    }


def load(growloop: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """Load the splits of the task ``growloop["task"]``: lm-eval's ``custom_dataset``.

    ``--metadata '{"depth": 3}'`` changes parameters; ``items`` and ``seed`` are accepted too. The
    description of the data is written back into ``growloop``, which is part of the task's
    configuration and so of lm-eval's results.

    Raises:
        InputError: an unknown task, or a parameter that is part of its name.
    """
    fixed = STANDARD.get(growloop["task"], ("", {}))[1]
    for name in sorted((fixed.keys() & metadata.keys()) - {"depth"}):
        raise InputError(f"{growloop['task']}: its {name} is part of its name")
    task = resolve(growloop["task"], metadata | growloop.get("params", {}))
    if task is None:
        raise InputError(f"{growloop['task']} is not a task of growloop")
    count = int(growloop.get("items", metadata.get("items", ITEMS)))
    seed = int(growloop.get("seed", metadata.get("seed", 0)))
    split = str(growloop.get("split", "test"))
    growloop |= {
        "label": task.label,
        "version": task.version,
        "params": task.params,
        "split": split,
        "seed": seed,
        "items": count,
        "chance": task.chance,
        "fingerprint": fingerprint(Source(task, split, seed), count),
    }
    if (origin := TASKS.origin(task.name)) is not None:
        growloop["plugin"] = f"{origin.name} {origin.identity}"
    return splits(task, count, seed, growloop.get("shots", SHOTS), split)


def as_list(documents: Any) -> list[dict[str, Any]]:
    """Convert few-shot examples to a list: the sampler copies its pool for every document."""
    return list(documents)


def config(
    task: Task, count: int, seed: int, fixed_shots: bool, shots: int = SHOTS
) -> dict[str, Any]:
    """Return the lm-eval configuration of a task; for standard tasks that of the YAML file.

    Args:
        count: number of test items.
        seed: seed of test items and examples.
        fixed_shots: use the same examples for all questions.
        shots: most few-shot examples per question, which decides the size of their pool.
    """
    metric = {"aggregation": "mean", "higher_is_better": True}
    return {
        "task": task.label,
        "custom_dataset": load,
        "output_type": "multiple_choice",
        "test_split": "test",
        "fewshot_split": "fewshot",
        "fewshot_config": {
            "process_docs": as_list,
            "sampler": "first_n" if fixed_shots else "default",
        },
        "doc_to_text": "prompt",
        "doc_to_target": "answer",
        "doc_to_choice": "choices",
        "target_delimiter": task.delimiter,
        "num_fewshot": SHOTS,
        "metric_list": [{"metric": "acc", **metric}, {"metric": "acc_norm", **metric}],
        "metadata": {
            "version": task.version,
            "growloop": {
                "task": task.name,
                "params": task.params,
                "items": count,
                "seed": seed,
                "shots": shots,
                "fixed_shots": fixed_shots,
            },
        },
    }
