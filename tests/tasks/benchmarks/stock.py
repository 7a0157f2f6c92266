"""lm-eval's own tasks on given documents, to compare ours with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lm_eval
from growloop.tasks.benchmarks import BENCHMARKS
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

FILES = {
    "paper_triviaqa": "triviaqa/default.yaml",
    "paper_nq_open": "nq_open/nq_open.yaml",
    "paper_webqs": "webqs/webqs.yaml",
    "paper_tydiqa_goldp": "tydiqa/tydiqa_goldp_en.yaml",
    "paper_drop": "drop/default.yaml",
    "paper_coqa": "coqa/default.yaml",
    "paper_lambada": "lambada/lambada_openai.yaml",
    "paper_hellaswag": "hellaswag/hellaswag.yaml",
    "paper_asdiv": "asdiv/default.yaml",
    "paper_gsm8k": "gsm8k/gsm8k.yaml",
}
# tasks whose metric is lm-eval's; of the others the prompts and answers are the same
SAME_METRIC = {
    "paper_tydiqa_goldp": ("f1", "exact_match"),
    "paper_drop": ("f1", "em"),
    "paper_lambada": ("acc",),
    "paper_hellaswag": ("acc", "acc_norm"),
    "paper_asdiv": ("acc",),
    "paper_gsm8k": ("exact_match",),
    "paper_triviaqa": (),
    "paper_nq_open": (),
}


def config(name: str, resolve: bool = True) -> dict[str, Any]:
    path = Path(lm_eval.__file__).parent / "tasks" / FILES[name]
    found: dict[str, Any] = load_yaml(path, resolve_func=resolve, recursive=True)
    return found


def task(name: str, rows: dict[str, list[dict[str, Any]]]) -> Any:
    """lm-eval's task for ours of that name; all it changes is where documents come from."""
    import datasets

    given = {key: value for key, value in config(name).items() if key not in ("tag", "include")}
    given["task"] = f"stock_{name}"
    given["num_fewshot"] = BENCHMARKS[name].shots
    splits = {split: datasets.Dataset.from_list(found) for split, found in rows.items()}
    given["custom_dataset"] = lambda **_: splits
    if "train" not in rows:  # it is named for few-shot examples, which are not asked for
        given |= {"training_split": None, "fewshot_split": None}
    return ConfigurableTask(config=given)
