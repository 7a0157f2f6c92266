"""Table of the lm-eval options that growloop forwards, with the effect of each.

``growloop eval`` validates options against it, records use it to identify results, and
docs/evaluation.md shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["flag", "flag or text", "text", "text or whole", "whole", "dtype", "object"]
Goes = Literal["harness", "model", "weights"]
Changes = Literal["prompt", "run", "model", "nothing"]


@dataclass(frozen=True)
class Option:
    """Option of lm-eval.

    Args:
        name: lm-eval's name.
        kind: type; an ``object`` is JSON, or ``name=value,name=value``.
        goes: receiver: ``lm_eval.simple_evaluate`` (harness), lm-eval's ``hf`` model (model), or
            through it ``from_pretrained`` (weights).
        changes: effect on results. ``prompt``: the model's input or the scored part of its answer,
            which makes it another task; ``run``: numerics; ``model``: weights or tokenizer;
            ``nothing``: none.
        about: description for the docs.
        default: value that is equivalent to leaving the option out.
    """

    name: str
    kind: Kind
    goes: Goes
    changes: Changes
    about: str
    default: Any = None


OPTIONS: dict[str, Option] = {
    option.name: option
    for option in (
        Option(
            "apply_chat_template", "flag or text", "harness", "prompt",
            "put questions into the tokenizer's chat template, or the one of this name", False,
        ),
        Option("system_instruction", "text", "harness", "prompt", "text before every question"),
        Option(
            "fewshot_as_multiturn", "flag", "harness", "prompt",
            "examples as turns of the chat (the default with a template), or all in one", True,
        ),
        Option("chat_template_args", "object", "model", "prompt", "arguments of the template"),
        Option("enable_thinking", "flag", "model", "prompt", "argument of the template"),
        Option(
            "think_end_token", "text or whole", "model", "prompt",
            "what an answer is read after: a text, or the number of a token",
        ),
        Option(
            "gen_kwargs", "object", "harness", "prompt",
            "how answers are generated, e.g. temperature=0.7,do_sample=true",
        ),
        Option("add_bos_token", "flag", "model", "prompt", "begin with the tokenizer's BOS token"),
        Option(
            "prefix_token_id", "whole", "model", "prompt", "token before a text without a context"
        ),
        Option("max_length", "whole", "model", "prompt", "tokens the model reads at most"),
        Option("truncation", "flag", "model", "prompt", "cut what is longer, on the left", False),
        Option("use_fast_tokenizer", "flag", "model", "prompt", "the fast tokenizer", True),
        Option("fewshot_random_seed", "whole", "harness", "prompt", "draws the examples", 1234),
        Option("random_seed", "whole", "harness", "prompt", "of Python, for tasks that draw", 0),
        Option("numpy_random_seed", "whole", "harness", "prompt", "the same, of NumPy", 1234),
        Option("torch_random_seed", "whole", "harness", "prompt", "the same, of torch", 1234),
        Option(
            "samples", "object", "harness", "prompt", 'which questions, e.g. {"lambada": [0, 7]}'
        ),
        Option("metadata", "object", "harness", "prompt", "arguments of lm-eval's own tasks"),
        Option("softmax_dtype", "dtype", "model", "run", "of the log-probabilities"),
        Option("mixed_precision_dtype", "dtype", "model", "run", "compute in it (autocast)"),
        Option("attn_implementation", "text", "weights", "run", "e.g. eager or sdpa"),
        Option("experts_implementation", "text", "weights", "run", "of a mixture of experts"),
        Option("revision", "text", "model", "model", "branch, tag or commit on the hub", "main"),
        Option("subfolder", "text", "model", "model", "folder within a hub repository", ""),
        Option("variant", "text", "weights", "model", "files of this variant, e.g. fp16"),
        Option("tokenizer", "text", "model", "model", "another tokenizer: folder or hub id"),
        Option("peft", "text", "model", "model", "adapter on top: folder or hub id"),
        Option("delta", "text", "model", "model", "weights that are added: folder or hub id"),
        Option("autogptq", "flag or text", "model", "model", "load with AutoGPTQ", False),
        Option("gptqmodel", "flag", "model", "model", "load with GPTQModel", False),
        Option("load_in_8bit", "flag", "weights", "model", "quantize with bitsandbytes", False),
        Option("load_in_4bit", "flag", "weights", "model", "quantize with bitsandbytes", False),
        Option("bnb_4bit_quant_type", "text", "weights", "model", "nf4 or fp4"),
        Option("bnb_4bit_compute_dtype", "dtype", "weights", "model", "of its arithmetic"),
        Option("bnb_4bit_use_double_quant", "flag", "weights", "model", "quantize scales", False),
        Option("trust_remote_code", "flag", "model", "nothing", "run code that is with it", False),
        Option("use_cache", "text", "harness", "nothing", "keep answers in files of this name"),
        Option("bootstrap_iters", "whole", "harness", "nothing", "for standard errors", 100_000),
        Option("write_out", "flag", "harness", "nothing", "print the first prompt", False),
        Option(
            "confirm_run_unsafe_code", "flag", "harness", "nothing",
            "run tasks that execute what the model wrote", False,
        ),
        Option("logits_cache", "flag", "model", "nothing", "of --backend hf", True),
        Option("max_batch_size", "whole", "model", "nothing", "of --batch-size auto", 64),
        Option("parallelize", "flag", "model", "nothing", "spread the layers over GPUs", False),
        Option("max_memory_per_gpu", "text or whole", "model", "nothing", "with parallelize"),
        Option("max_cpu_memory", "text or whole", "model", "nothing", "with parallelize"),
        Option("offload_folder", "text", "model", "nothing", "with parallelize", "./offload"),
        Option("tp_plan", "text", "model", "nothing", "tensor parallelism under torchrun"),
    )
}  # fmt: skip

OWN: dict[str, str] = {
    "pretrained": "--model",
    "model": "--model",
    "gguf_file": "--model",
    "dtype": "--dtype",
    "device": "--device",
    "batch_size": "--batch-size",
    "backend": "--backend",
    "num_fewshot": "--shots",
    "limit": "--items",
    "tasks": "--tasks",
    "output_path": "--out",
}
"""lm-eval's name -> growloop's own option for the same thing."""

IN_RESULTS: dict[str, str] = {
    "gen_kwargs": "gen_kwargs",
    "fewshot_random_seed": "fewshot_seed",
    "random_seed": "random_seed",
    "numpy_random_seed": "numpy_seed",
    "torch_random_seed": "torch_seed",
}
"""Harness option -> its name under ``config`` in lm-eval's result files."""
