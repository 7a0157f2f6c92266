"""Data loaders that lm-eval calls for the benchmarks."""

from __future__ import annotations

from typing import Any

from .catalog import BENCHMARKS
from .dataset import load
from .sources import DATASETS


def custom_dataset(
    growloop: dict[str, Any], data_dir: str | None = None, **metadata: Any
) -> dict[str, Any]:
    """Load the splits of the benchmark ``growloop["benchmark"]``.

    ``data_dir`` comes from ``--metadata '{"data_dir": "…"}'``. Source and fingerprint are written
    back into ``growloop``, and so into lm-eval's results.
    """
    del metadata  # lm-eval adds the model's arguments
    import datasets

    benchmark = BENCHMARKS[growloop["benchmark"]]
    assert benchmark.dataset is not None  # primitives have a loader of their own
    splits = {}
    for split in benchmark.splits:
        loaded = load(DATASETS[benchmark.dataset], split, data_dir)
        splits[split] = datasets.Dataset.from_list(loaded.rows)
        if split == benchmark.splits[0]:
            growloop |= {
                "source": loaded.source,
                "fingerprint": loaded.fingerprint,
                "rows": len(loaded.rows),
                "published": loaded.published,
            }
    return splits


def english(dataset: Any) -> Any:
    """Select TyDiQA's English questions, restructured as by lm-eval's task."""
    from lm_eval.tasks.tydiqa.utils import process_docs_en

    return process_docs_en(dataset)


def as_list(documents: Any) -> list[dict[str, Any]]:
    """Convert few-shot examples to a list: the sampler copies its pool for every document."""
    return list(documents)
