"""The data sets behind the lm-eval tasks: generated here, never downloaded."""

from __future__ import annotations

from typing import Any

from ..primitives import Item, Source, Task, different, fingerprint
from .catalog import FEWSHOT_POOL, ITEMS, SHOTS, resolve


def _document(item: Item) -> dict[str, Any]:
    fields = ("id", "index", "prompt", "target", "choices", "answer")
    return {name: getattr(item, name) for name in fields}


def splits(task: Task, count: int = ITEMS, seed: int = 0) -> dict[str, Any]:
    """The test and few-shot splits as ``datasets.Dataset`` with ``count`` test items."""
    import datasets

    # a small task may have fewer examples to draw shots from
    pool = min(FEWSHOT_POOL, task.capacity("fewshot") // 2)
    return {
        split: datasets.Dataset.from_list(
            [_document(item) for item in different(Source(task, split, seed), size)]
        )
        for split, size in (("test", count), ("fewshot", pool))
    }


def load(growloop: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """The splits of the task named by ``growloop["task"]``: lm-eval's ``custom_dataset``.

    ``--metadata '{"depth": 3}'`` changes parameters; ``items`` and ``seed`` are understood too.
    What was generated is written back into ``growloop``: it is a part of the task's
    configuration, and so of lm-eval's results.
    """
    given = {k: v for k, v in metadata.items() if isinstance(v, (str, int, bool))}
    task = resolve(growloop["task"], given | growloop.get("params", {}))
    if task is None:
        raise ValueError(f"{growloop['task']} is not a task of growloop")
    count = int(growloop.get("items", given.get("items", ITEMS)))
    seed = int(growloop.get("seed", given.get("seed", 0)))
    growloop |= {
        "label": task.label,
        "version": task.version,
        "params": task.params,
        "split": "test",
        "seed": seed,
        "items": count,
        "chance": task.chance,
        "fingerprint": fingerprint(Source(task, "test", seed), count),
    }
    return splits(task, count, seed)


def as_list(documents: Any) -> list[dict[str, Any]]:
    """Few-shot examples as a list: the sampler copies what it draws from for every document."""
    return list(documents)


def config(task: Task, count: int, seed: int, fixed_shots: bool) -> dict[str, Any]:
    """The lm-eval configuration of a task; for standard tasks, what the YAML file says."""
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
            "growloop": {"task": task.name, "params": task.params, "items": count, "seed": seed},
        },
    }
