"""What lm-eval calls for the data of a benchmark."""

from __future__ import annotations

from typing import Any

from .catalog import BENCHMARKS
from .sources import DATASETS, load


def custom_dataset(
    growloop: dict[str, Any], data_dir: str | None = None, **metadata: Any
) -> dict[str, Any]:
    """The splits of the benchmark ``growloop["benchmark"]``.

    ``data_dir`` comes from ``--metadata '{"data_dir": "…"}'``. Where the rows came from is
    written back into ``growloop``, and so into lm-eval's results.
    """
    del metadata  # lm-eval adds the model's arguments
    import datasets

    benchmark = BENCHMARKS[growloop["benchmark"]]
    assert benchmark.dataset is not None  # primitives have a loader of their own
    found = {}
    for split in benchmark.splits:
        loaded = load(DATASETS[benchmark.dataset], split, data_dir)
        found[split] = datasets.Dataset.from_list(loaded.rows)
        if split == benchmark.splits[0]:
            growloop |= {
                "source": loaded.source,
                "fingerprint": loaded.fingerprint,
                "rows": len(loaded.rows),
                "published": loaded.published,
            }
    return found


def english(dataset: Any) -> Any:
    """TyDiQA's English questions, as lm-eval's task restructures them."""
    from lm_eval.tasks.tydiqa.utils import process_docs_en

    return process_docs_en(dataset)


def as_list(documents: Any) -> list[dict[str, Any]]:
    """Few-shot examples as a list: the sampler copies what it draws from for every document."""
    return list(documents)
