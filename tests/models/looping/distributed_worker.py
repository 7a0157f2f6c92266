"""One of two processes that train and generate together; ``test_distributed.py`` starts them.

Each scenario leaves ``<scenario>-<rank>.pt`` in a folder, or ``<scenario>-<rank>.txt`` if it fails.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from growloop.models import EarlyExit, RandomLoops, Recurrence, loop
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

PROCESSES = 2
STEPS = 3
ROWS = 2
"""Rows of a batch in each process."""
SCHEDULE = "1-1x2-1"
LAYERS = [0, 1, 1, 2]
RANDOM = RandomLoops(2, seed=4)
CONCAT = Recurrence(injection="concat")
EXIT = Recurrence(early_exit=EarlyExit("latent", 0.45), kv_sharing="last")


def plain() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config)


def tokens(rows: int, seed: int = 1) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(3, 97, (rows, 7), generator=random)


def batches() -> Tensor:
    """What all processes see together: ``(steps, rows, tokens)``."""
    return tokens(STEPS * PROCESSES * ROWS).view(STEPS, PROCESSES * ROWS, -1)


def optimizer(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def train(model: nn.Module, rank: int | None = None) -> list[float]:
    """Trains on the rows of a process, or on all; the losses."""
    steps, losses = optimizer(model.parameters()), []
    for batch in batches():
        ids = batch if rank is None else batch[rank * ROWS : (rank + 1) * ROWS]
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        steps.step()
        steps.zero_grad()
        losses.append(float(loss.detach()))
    return losses


def looped(recurrence: Recurrence | None = None) -> Any:
    return loop(plain().train(), SCHEDULE, recurrence=recurrence)


def shard(model: Any) -> Any:
    from torch.distributed.fsdp import fully_shard

    for layer in model.model.layers.children():
        fully_shard(layer)
    return fully_shard(model)


def gathered(model: nn.Module) -> dict[str, Tensor]:
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return get_model_state_dict(model, options=options)


def ddp(rank: int) -> dict[str, Any]:
    model = looped()
    losses = train(nn.parallel.DistributedDataParallel(model), rank)
    return {"losses": losses, "weights": model.state_dict()}


def ddp_with_random_loops(rank: int) -> dict[str, Any]:
    model = looped(Recurrence(random_loops=RANDOM))
    losses = train(nn.parallel.DistributedDataParallel(model), rank)
    return {"losses": losses, "weights": model.state_dict(), "ran": model.runner.total_executed}


def accelerator(rank: int) -> dict[str, Any]:
    from accelerate import Accelerator

    engine = Accelerator(cpu=True)
    model = looped()
    rows = torch.utils.data.DataLoader(batches().flatten(0, 1), batch_size=ROWS)
    wrapped, steps, data = engine.prepare(model, optimizer(model.parameters()), rows)
    losses = []
    for ids in data:
        loss = wrapped(input_ids=ids, labels=ids).loss
        engine.backward(loss)
        engine.clip_grad_norm_(wrapped.parameters(), 1e9)
        steps.step()
        steps.zero_grad()
        losses.append(float(loss.detach()))
    assert engine.num_processes == PROCESSES
    assert engine.unwrap_model(wrapped) is model
    return {"losses": losses, "weights": engine.get_state_dict(wrapped)}


def fsdp(rank: int) -> dict[str, Any]:
    model = shard(looped())
    losses = train(model, rank)
    local = sum(p.to_local().numel() for p in model.parameters())  # type: ignore[attr-defined]
    model.eval()
    made = model.generate(tokens(2, seed=5 + rank), max_new_tokens=5, do_sample=False)
    return {"losses": losses, "weights": gathered(model), "local": local, "made": made}


def fsdp_then_loop(rank: int) -> dict[str, Any]:
    model = loop(shard(plain().train()), SCHEDULE)
    return {"losses": train(model, rank), "weights": gathered(model)}


def fsdp_with_checkpointing(rank: int) -> dict[str, Any]:
    model = looped()
    name = "activation_checkpointing_enable"
    getattr(model, name, getattr(model, "gradient_checkpointing_enable", None))()
    model = shard(model)
    return {"losses": train(model, rank), "weights": gathered(model)}


def fsdp_with_concat(rank: int) -> dict[str, Any]:
    model = shard(looped(CONCAT))
    return {"losses": train(model, rank), "weights": gathered(model)}


def fsdp_with_exit(rank: int) -> dict[str, Any]:
    """Processes whose sequences leave at different loops; last, as it may break the group."""
    whole = loop(plain(), "1-1x5-1", recurrence=EXIT).eval()
    sharded = shard(loop(plain(), "1-1x5-1", recurrence=EXIT).eval())
    loops: dict[int, Tensor] = {}  # the first ids that take so many
    with torch.no_grad():
        for seed in range(20):
            ids = tokens(1, seed)[:, :3]
            whole(ids)
            loops.setdefault(int(whole.runner.loops), ids)
        count, ids = sorted(loops.items())[rank]
        wanted, found = whole(ids).logits, sharded(ids).logits
    return {"found": found, "wanted": wanted, "loops": count}


SCENARIOS: list[Callable[[int], dict[str, Any]]] = [
    ddp,
    ddp_with_random_loops,
    accelerator,
    fsdp,
    fsdp_then_loop,
    fsdp_with_checkpointing,
    fsdp_with_concat,
    fsdp_with_exit,
]


def main(folder: Path, rank: int) -> None:
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'meeting-point'}",
        rank=rank,
        world_size=PROCESSES,
        timeout=timedelta(seconds=30),
    )
    for scenario in SCENARIOS:
        path = folder / f"{scenario.__name__}-{rank}"
        try:
            torch.save(scenario(rank), path.with_suffix(".pt"))
        except Exception:
            path.with_suffix(".txt").write_text(traceback.format_exc())
            break  # the other process may be anywhere by now
    sys.stdout.flush()
    os._exit(0)  # leaving a broken group in order can take for ever


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
