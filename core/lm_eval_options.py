"""Table of the lm-eval options that growloop forwards, with the effect of each.

``growloop eval`` validates options against it, records use it to identify results, and
docs/evaluation.md shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["flag", "flag or text", "text", "text or integer", "integer", "dtype", "object"]
Receiver = Literal["harness", "model", "weights"]
Effect = Literal["prompt", "run", "model", "nothing"]


@dataclass(frozen=True)
class Option:
    """Option of lm-eval.

    Args:
        name: lm-eval's name.
        kind: type; an ``object`` is JSON, or ``name=value,name=value``.
        receiver: ``harness`` (``lm_eval.simple_evaluate``), ``model`` (lm-eval's ``hf`` model) or
            ``weights`` (``from_pretrained``, called by the ``hf`` model).
        effect: part of the measurement that the option changes. ``prompt``: the model's input or
            the scored part of its answer, so that the result is of another task; ``run``:
            numerics; ``model``: weights or tokenizer; ``nothing``: no number.
        about: description for the docs.
        default: value that is equivalent to leaving the option out.

    >>> OPTIONS["softmax_dtype"].effect, OPTIONS["softmax_dtype"].receiver
    ('run', 'model')
    """

    name: str
    kind: Kind
    receiver: Receiver
    effect: Effect
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
            "think_end_token", "text or integer", "model", "prompt",
            "end of the reasoning, before the answer: a text or a token id",
        ),
        Option(
            "gen_kwargs", "object", "harness", "prompt",
            "generation arguments, e.g. temperature=0.7,do_sample=true",
        ),
        Option("add_bos_token", "flag", "model", "prompt", "begin with the tokenizer's BOS token"),
        Option(
            "prefix_token_id", "integer", "model", "prompt", "token before a text without a context"
        ),
        Option("max_length", "integer", "model", "prompt", "context length in tokens"),
        Option("truncation", "flag", "model", "prompt", "cut longer requests on the left", False),
        Option("use_fast_tokenizer", "flag", "model", "prompt", "use the fast tokenizer", True),
        Option(
            "fewshot_random_seed", "integer", "harness", "prompt",
            "seed of the few-shot examples", 1234,
        ),
        Option(
            "random_seed", "integer", "harness", "prompt",
            "seed of Python's generator, for tasks that sample", 0,
        ),
        Option(
            "numpy_random_seed", "integer", "harness", "prompt",
            "seed of NumPy's generator", 1234,
        ),
        Option(
            "torch_random_seed", "integer", "harness", "prompt",
            "seed of torch's generator", 1234,
        ),
        Option(
            "samples", "object", "harness", "prompt",
            'indices of the questions, e.g. {"lambada": [0, 7]}',
        ),
        Option("metadata", "object", "harness", "prompt", "arguments of lm-eval's own tasks"),
        Option("softmax_dtype", "dtype", "model", "run", "dtype of the log-probabilities"),
        Option("mixed_precision_dtype", "dtype", "model", "run", "dtype of autocast"),
        Option(
            "attn_implementation", "text", "weights", "run",
            "attention kernel, e.g. eager or sdpa",
        ),
        Option(
            "experts_implementation", "text", "weights", "run",
            "kernel of a mixture of experts",
        ),
        Option("revision", "text", "model", "model", "branch, tag or commit on the hub", "main"),
        Option("subfolder", "text", "model", "model", "folder within a hub repository", ""),
        Option("variant", "text", "weights", "model", "files of this variant, e.g. fp16"),
        Option("tokenizer", "text", "model", "model", "another tokenizer: folder or hub id"),
        Option("peft", "text", "model", "model", "adapter on top: folder or hub id"),
        Option(
            "delta", "text", "model", "model",
            "weights to add to the model's: folder or hub id",
        ),
        Option("autogptq", "flag or text", "model", "model", "load with AutoGPTQ", False),
        Option("gptqmodel", "flag", "model", "model", "load with GPTQModel", False),
        Option("load_in_8bit", "flag", "weights", "model", "quantize with bitsandbytes", False),
        Option("load_in_4bit", "flag", "weights", "model", "quantize with bitsandbytes", False),
        Option("bnb_4bit_quant_type", "text", "weights", "model", "4-bit format: nf4 or fp4"),
        Option(
            "bnb_4bit_compute_dtype", "dtype", "weights", "model",
            "dtype of products with 4-bit weights",
        ),
        Option(
            "bnb_4bit_use_double_quant", "flag", "weights", "model",
            "quantize the scales too", False,
        ),
        Option(
            "trust_remote_code", "flag", "model", "nothing",
            "run Python code that comes with the model", False,
        ),
        Option(
            "use_cache", "text", "harness", "nothing",
            "store answers in files with this prefix",
        ),
        Option(
            "include_path", "text", "harness", "nothing",
            "folder of further task files and groups",
        ),
        Option(
            "log_samples", "flag", "harness", "nothing",
            "write the answers to every question", True,
        ),
        Option(
            "predict_only", "flag", "harness", "nothing",
            "write the answers, and compute no metric", False,
        ),
        Option(
            "bootstrap_iters", "integer", "harness", "nothing",
            "bootstrap samples for standard errors", 100_000,
        ),
        Option("write_out", "flag", "harness", "nothing", "print the first prompt", False),
        Option(
            "confirm_run_unsafe_code", "flag", "harness", "nothing",
            "allow tasks that execute generated code", False,
        ),
        Option("logits_cache", "flag", "model", "nothing", "cache logits in --backend hf", True),
        Option(
            "max_batch_size", "integer", "model", "nothing",
            "upper limit of --batch-size auto", 64,
        ),
        Option("parallelize", "flag", "model", "nothing", "spread the layers over GPUs", False),
        Option(
            "max_memory_per_gpu", "text or integer", "model", "nothing",
            "memory limit of a GPU, with parallelize",
        ),
        Option(
            "max_cpu_memory", "text or integer", "model", "nothing",
            "CPU memory limit, with parallelize",
        ),
        Option(
            "offload_folder", "text", "model", "nothing",
            "folder for offloaded weights, with parallelize", "./offload",
        ),
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
