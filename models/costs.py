"""Parameters and FLOPs of a model under a schedule, and of a whole training run.

A multiply-add is two FLOPs. Matrix products are counted: projections, attention scores and values,
the head. Attention is counted over the full ``seq_len x seq_len`` square (with a sliding window,
over the window), as ``torch.utils.flop_counter`` does; causal kernels do about half of that. Not
counted are norms, activations, rotary positions, the softmax, and the state updates of linear
attention and state-space layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from ..core.errors import InputError, whole
from ..core.schedule import Schedule, as_schedule
from .checkpoints import empty
from .growing.prop_schedule import prop_schedule
from .looping.config import LoopedConfig
from .looping.decoder import decoder_config, find_layers
from .looping.native import NativeLoops
from .looping.recurrence import Recurrence

EXPERT_COUNTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
EXPERTS_USED = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k")


@dataclass(frozen=True)
class Cost:
    """Cost of a model under a schedule. FLOPs are per token of a sequence of ``seq_len`` tokens.

    Args:
        schedule: schedule that the model runs by.
        unique_parameters: weights that are used, each counted once.
        stored_parameters: the same plus layers that the schedule never runs.
        effective_parameters: weights, with each layer counted as often as it runs.
        embedding_parameters: weights of token and position embeddings, and of an untied head.
        forward_flops: forward pass, attention included.
        attention_flops: part of ``forward_flops`` that grows with ``seq_len``.
        seq_len: tokens of a sequence.
        backward_flops: twice the forward pass, less what ``backward_loops`` saves, plus what an
            objective adds: readouts of earlier loops, loops that run again.
    """

    schedule: Schedule
    unique_parameters: int
    stored_parameters: int
    effective_parameters: int
    embedding_parameters: int
    forward_flops: float
    attention_flops: float
    seq_len: int
    backward_flops: float

    @property
    def unique_non_embedding(self) -> int:
        """Unique weights without embeddings."""
        return self.unique_parameters - self.embedding_parameters

    @property
    def effective_non_embedding(self) -> int:
        """Effective weights without embeddings."""
        return self.effective_parameters - self.embedding_parameters

    @property
    def training_flops(self) -> float:
        """Forward and backward FLOPs per token."""
        return self.forward_flops + self.backward_flops


@dataclass(frozen=True)
class Stage:
    """Stage of a training run.

    Args:
        schedule: schedule of the stage; in a growth stage the plain stack of its depth.
        tokens: number of training tokens.
        backward_loops: number of final loops that gradients flow through; by default that of the
            model's recurrence.
    """

    schedule: Schedule | str | int
    tokens: int
    backward_loops: int | None = None


@dataclass(frozen=True)
class _Parts:
    """Costs per unique layer and of the rest of the model.

    Args:
        layers: ``(parameters, FLOPs per token, of these attention FLOPs)`` of each unique layer.
        rest: parameters outside the layers.
        embeddings: parameters of embeddings and of an untied head.
        head: FLOPs per token of the head.
        each_loop: FLOPs per token of what runs once a loop besides the layers, in a model that
            loops by itself.
        native: its loops; None for any other model.
    """

    layers: list[tuple[int, float, float]]
    rest: int
    embeddings: int
    head: float
    each_loop: float = 0.0
    native: NativeLoops | None = None


def cost(
    model: PreTrainedModel | PretrainedConfig,
    schedule: Schedule | str | int | None = None,
    seq_len: int = 2048,
) -> Cost:
    """Count parameters and FLOPs of a model or config under a schedule.

    Args:
        model: a model, or a config (then no weight is allocated).
        schedule: by default the model's current schedule.
        seq_len: tokens of a sequence.

    Raises:
        InputError: a schedule that needs more layers than the model has.

    >>> from transformers import LlamaConfig
    >>> counted = cost(LlamaConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=4,
    ...     num_attention_heads=4, vocab_size=100), "2x4")
    >>> counted.schedule.num_unique_layers, counted.schedule.effective_depth
    (2, 8)
    """
    whole("seq_len", seq_len, 1)
    parts, own, runner = _parts(model, seq_len)
    counted = own if schedule is None else as_schedule(schedule)
    counted.check_fits(len(parts.layers))
    per_layer = sum(parameters for parameters, _, _ in parts.layers)
    used = sum(parts.layers[layer][0] for layer in set(counted))
    applied = sum(parts.layers[layer][0] for layer in counted)
    flops = _flops(counted, parts) + _part_flops(counted, runner)
    return Cost(
        schedule=counted,
        unique_parameters=used + parts.rest,
        stored_parameters=per_layer + parts.rest,
        effective_parameters=applied + parts.rest,
        embedding_parameters=parts.embeddings,
        forward_flops=flops,
        attention_flops=sum(parts.layers[layer][2] for layer in counted),
        seq_len=seq_len,
        backward_flops=_trained(counted, parts, runner, None) - flops,
    )


def training_flops(
    model: PreTrainedModel | PretrainedConfig, stages: Sequence[Stage], seq_len: int = 2048
) -> float:
    """Count the FLOPs of a training run: growth stages, cooldown, retrofit, truncated backward.

    A token costs ``2 N`` FLOPs in the ``N`` weights that run without a gradient (forward only) and
    ``6 N`` in those that run with one (forward and backward): ``(2 N1 + 6 N2) D`` for ``D`` tokens,
    plus attention. ``backward_loops`` moves the earlier loops from ``N2`` to ``N1``; without
    injection no gradient reaches the layers before the block, so they move too.

    Args:
        model: the model at full depth, or its config.
        stages: schedule and number of tokens of each stage.
        seq_len: tokens of a sequence.

    Raises:
        InputError: a schedule that needs more layers than the model has.

    Example::

        training_flops(config, growth_stages(24, 4, tokens=10**9, cooldown_tokens=10**8))
    """
    parts, _, runner = _parts(model, seq_len)
    total = 0.0
    for stage in stages:
        schedule = as_schedule(stage.schedule)
        schedule.check_fits(len(parts.layers))
        whole("the tokens of a stage", stage.tokens, 0)
        last = stage.backward_loops
        total += stage.tokens * _trained(schedule, parts, runner, last)
    return total


def _trained(schedule: Schedule, parts: _Parts, runner: Any, last: int | None) -> float:
    """Count training FLOPs per token; ``last`` overrides the recurrence's ``backward_loops``."""
    recurrence = Recurrence() if runner is None else runner.recurrence
    last = last or recurrence.backward_loops
    silent = _without_gradient(schedule, last, recurrence.injects)
    saved = sum(parts.layers[schedule.layers[step]][1] for step in silent)
    total = 3 * _flops(schedule, parts) - 2 * saved + _part_flops(schedule, runner, last, True)
    return total + 3 * _objective_flops(schedule, parts, runner)


def growth_stages(
    depth: int,
    block_size: int,
    tokens: int,
    cooldown_tokens: int = 0,
    alpha: float = 1.0,
) -> list[Stage]:
    """Return the stages of MIDAS or LIDAS: stage i at depth ``i block_size``, then the cooldown.

    Args:
        depth: final number of layers, a multiple of ``block_size``.
        block_size: number of layers of the first stage, and added by each growth step.
        tokens: training tokens before the cooldown, split by PROP-alpha (paper appendix F).
        cooldown_tokens: training tokens of the cooldown at full depth.
        alpha: exponent of the split.

    >>> [stage.tokens for stage in growth_stages(24, 4, 170_000, 30_000)]
    [8095, 16191, 24285, 32381, 40477, 48571, 30000]
    """
    whole("block_size", block_size, 1)
    if depth % block_size:
        raise InputError(f"{depth} layers are not a multiple of the block size {block_size}")
    parts = prop_schedule(tokens, depth // block_size, alpha)
    stages = [Stage((i + 1) * block_size, part) for i, part in enumerate(parts)]
    return [*stages, Stage(depth, cooldown_tokens)] if cooldown_tokens else stages


def _flops(schedule: Schedule, parts: _Parts) -> float:
    between = 0.0 if parts.native is None else parts.each_loop * parts.native.loops_of(schedule)
    return parts.head + between + sum(parts.layers[layer][1] for layer in schedule)


def _part_flops(
    schedule: Schedule, runner: Any, backward_loops: int | None = None, trained: bool = False
) -> float:
    """Count FLOPs per token of the parts between loops: forward, or training if ``trained``."""
    total = 0.0
    for section in [] if runner is None else runner.blocks(schedule):
        if not runner.is_block(schedule, section):
            continue
        last = section.times if backward_loops is None else backward_loops
        for loop in range(section.times):
            weight = 3 if trained and loop >= section.times - last else 1
            total += weight * runner.flops_of_loop(schedule, section, loop)
    return total


def _objective_flops(schedule: Schedule, parts: _Parts, runner: Any) -> float:
    """Count forward FLOPs per token that an objective adds in training, on average.

    A readout runs the layers after the block and the head.
    """
    blocks = [] if runner is None else runner.blocks(schedule)
    blocks = [section for section in blocks if runner.is_block(schedule, section)]
    if not blocks:
        return 0.0
    start, size, loops = blocks[-1]
    end = start + size * loops
    coda = sum(parts.layers[layer][1] for layer in schedule.layers[end:])
    block = sum(parts.layers[layer][1] for layer in schedule.layers[start : start + size])
    objective = runner.objective
    readouts = float(objective.readouts(loops)) * (coda + parts.head)
    return readouts + float(objective.reruns(loops)) * block


def _without_gradient(schedule: Schedule, last: int | None, injected: bool) -> list[int]:
    """Return the steps that run without a backward pass."""
    silent: set[int] = set()
    if last is None:
        return []
    for start, size, times in schedule.sections:
        if times > last:
            stop = start + size * (times - last)
            silent |= set(range(start if injected else 0, stop))
    return sorted(silent)


def _parts(model: PreTrainedModel | PretrainedConfig, seq_len: int) -> tuple[_Parts, Schedule, Any]:
    """Return the costs of layers and the rest, the model's schedule, and its runner or None."""
    if isinstance(model, PretrainedConfig):
        config: Any = model
        built = empty(config)
    else:
        config, built = model.config, model
    found = find_layers(built)
    unique, schedule, owner = found.unique, found.schedule, found.owner
    inner = decoder_config(config)
    types = _layer_types(config, len(unique))
    per_layer = []
    for layer, kind in zip(unique, types, strict=True):
        parameters = _count(layer)
        attention = _attention(inner, kind, seq_len)
        per_layer.append((parameters, _matrices(layer, inner) + attention, attention))
    total, in_layers = _count(built), sum(parameters for parameters, _, _ in per_layer)
    head = built.get_output_embeddings()
    embeddings = {id(p): p.numel() for m in built.modules() if isinstance(m, nn.Embedding)
                  for p in m.parameters()}  # fmt: skip
    embeddings |= {id(p): p.numel() for p in head.parameters()}
    inside = {id(m) for layer in unique for m in layer.modules()}
    inside |= {id(head), *map(id, _runner_parts(built))}
    native = found if isinstance(found, NativeLoops) else None
    between = native.each_loop if native else ()
    repeated = {id(m): m for part in between for m in part.modules() if isinstance(m, nn.Linear)}
    inside |= repeated.keys()
    others = [m for m in owner.modules() if isinstance(m, nn.Linear) and id(m) not in inside]
    other_linear = sum(2.0 * module.weight.numel() for module in others)
    parts = _Parts(
        layers=per_layer,
        rest=total - in_layers,
        embeddings=sum(embeddings.values()),
        head=2.0 * head.weight.numel() + other_linear,
        each_loop=sum(2.0 * module.weight.numel() for module in repeated.values()),
        native=native,
    )
    return parts, schedule, built._modules.get("runner")


def _runner_parts(model: Any) -> list[nn.Module]:
    """Return the modules of the runner, which are counted with their loops."""
    runner = model._modules.get("runner")
    return [] if runner is None else list(runner.modules())


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _layer_types(config: Any, depth: int) -> list[str]:
    """Return the attention type of each unique layer."""
    plain = config.plain() if isinstance(config, LoopedConfig) else config
    inner = decoder_config(plain)
    layer_types = getattr(inner, "layer_types", None)
    if layer_types is not None and len(layer_types) == depth:
        return list(layer_types)
    window = getattr(inner, "sliding_window", None)
    used = getattr(inner, "use_sliding_window", True)
    return ["sliding_attention" if window and used else "full_attention"] * depth


def _matrices(layer: nn.Module, config: Any) -> float:
    """Count FLOPs per token of a layer's matrix products, without attention scores."""
    experts = next((n for name in EXPERT_COUNTS if (n := getattr(config, name, None))), None)
    active = next((n for name in EXPERTS_USED if (n := getattr(config, name, None))), None)
    total = 0.0
    for name, parameter in layer.named_parameters():
        if parameter.dim() < 2 or name.endswith("bias"):
            continue
        share = 1.0
        routed = ".experts." in f".{name}." and "shared" not in name
        if routed and experts and active:
            share = active / experts
        total += 2.0 * parameter.numel() * share
    return total


def _attention(config: Any, kind: str, seq_len: int) -> float:
    """Count FLOPs per token of attention scores and values, averaged over a sequence."""
    if "attention" not in kind or kind == "linear_attention":
        return 0.0
    visible = seq_len
    if kind in ("sliding_attention", "chunked_attention"):
        name = "sliding_window" if kind == "sliding_attention" else "attention_chunk_size"
        visible = min(seq_len, getattr(config, name, None) or seq_len)
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    keys = (getattr(config, "qk_nope_head_dim", 0) or 0) + (
        getattr(config, "qk_rope_head_dim", 0) or 0
    )
    values = getattr(config, "v_head_dim", None) or width
    flops: float = 2.0 * visible * heads * ((keys or width) + values)
    return flops
