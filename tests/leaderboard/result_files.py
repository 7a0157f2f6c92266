"""Result files of lm-eval, its own and ours."""

from __future__ import annotations

from typing import Any

STOCK: dict[str, Any] = {
    "results": {
        "hellaswag": {
            "alias": "hellaswag",
            "acc,none": 0.4,
            "acc_stderr,none": 0.01,
            "acc_norm,none": 0.45,
            "acc_norm_stderr,none": "N/A",
        },
        "gsm8k": {"exact_match,flexible-extract": 0.1, "exact_match_stderr,flexible-extract": 0.02},
        "wikitext": {"word_perplexity,none": 21.5, "word_perplexity_stderr,none": float("nan")},
    },
    "configs": {"hellaswag": {"validation_split": "validation"}, "gsm8k": {"test_split": "test"}},
    "versions": {"hellaswag": 1.0, "gsm8k": 3},
    "n-shot": {"hellaswag": 0, "gsm8k": 5},
    "n-samples": {"hellaswag": {"original": 10042, "effective": 1000}},
    "higher_is_better": {"wikitext": {"word_perplexity": False}},
    "task_hashes": {"hellaswag": "abc"},
    "config": {"model_args": "pretrained=EleutherAI/pythia-160m,dtype=float16", "device": "cuda:0"},
    "date": 1795331527.5,
    "transformers_version": "5.23.0",
    "chat_template_sha": "0123456789abcdef",
}


OURS: dict[str, Any] = {
    "results": {
        name: {"acc,none": value, "acc_stderr,none": 0.01, "acc_norm,none": value}
        for name, value in (("copying_random_words", 0.5), ("copying_real_words", 0.7))
    },
    "groups": {"reasoning_primitives": {"acc,none": 0.6, "acc_stderr,none": 0.007}},
    "group_subtasks": {"reasoning_primitives": ["copying_random_words", "copying_real_words"]},
    "configs": {
        name: {
            "metadata": {
                "version": 1,
                "growloop": {"version": 1, "split": "test", "chance": 0.1, "fingerprint": mark}
                | {"seed": 0, "fixed_shots": True},
            }
        }
        for name, mark in (("copying_random_words", "aa"), ("copying_real_words", "bb"))
    },
    "versions": {"reasoning_primitives": 1},
    "n-shot": {"copying_random_words": 5, "copying_real_words": 5},
    "n-samples": {
        name: {"effective": 100} for name in ("copying_random_words", "copying_real_words")
    },
    "growloop": {
        "command": "growloop eval -m x --repeat 1:3",
        "schedule": "1-2x2-1",
        "model": {"name": "x", "family": "standard", "schedule": "4"},
        "cost": {"unique_parameters": 10},
    },
}
