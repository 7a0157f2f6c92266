"""The training loop: one continuous run, with events on its step axis.

Every quantity of a step is a function of the run file and the step (batch, learning rate, events,
random loops) or is in the checkpoint (weights, optimizer, random state), so that a run that was
killed goes on to the same bits.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import platform
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from .. import checkpoints
from ..costs import Stage, training_flops
from ..decoder import find_decoder
from ..errors import ModelError
from ..growing import grow
from ..looping import loop
from ..presets import build
from ..recurrence import Recurrence
from ..schedule import Schedule
from . import optimizers, snapshots
from .metrics import Metrics, matrix_peak
from .mixture import Mixture, Phase
from .runfile import Event, Run
from .shards import Shards

Report = Callable[[str], object]
Watch = Callable[[int, dict[str, Any]], object]


@dataclass
class Outcome:
    """How a run ended.

    Args:
        step: steps done.
        finished: whether that is all of them.
        folder: the checkpoint.
    """

    step: int
    finished: bool
    folder: Path


class Engine:
    """A run, from its file to its last checkpoint.

    Args:
        run: what to do.
        out: folder of the run; checkpoints and ``metrics.jsonl`` go there.
        say: told of whatever is worth a line.
        force: go on although the run file is not the one the run was begun with.

    Raises:
        ModelError: anything that keeps the run from starting.
    """

    def __init__(
        self, run: Run, out: str | Path, say: Report = lambda text: None, force: bool = False
    ) -> None:
        from accelerate import Accelerator

        self.run, self.out, self.say = run, Path(out), say
        self.accelerator = Accelerator()
        processes = self.accelerator.num_processes
        if run.data.batch_size % processes:
            raise ModelError(
                f"a batch of {run.data.batch_size} does not divide among {processes} processes"
            )
        share = run.data.batch_size // processes
        self.micro = min(run.micro_batch_size or share, share)
        if share % self.micro:
            raise ModelError(f"{share} sequences do not divide into parts of {self.micro}")
        self.mixture = _mixture(run)
        self.validation = Shards(run.data.validation) if run.data.validation else None
        self.tokenizer = _tokenizer(self.mixture)
        self.stop = False
        self.step = self.tokens = 0
        self.flops = 0.0
        found = snapshots.newest(self.out, self.say)
        if found is None:
            if any(self.out.glob("step-*")):
                raise ModelError(f"no checkpoint in {out} is whole: move it away to start anew")
            self._begin()
        else:
            self._resume(found[1], force)
        self._prepare()

    def _begin(self) -> None:
        self.model = first_model(self.run)
        full = len(find_decoder(self.model).unique)
        self.growth = dict(self.run.growth_steps(final_depth(self.run, full)))
        _check_vocabulary(self.model, self.mixture)
        self.optimizers = optimizers.make(self.model, self.run.optimizer)
        torch.manual_seed(self.run.seed)

    def _resume(self, folder: Path, force: bool) -> None:
        state = json.loads((folder / "training.json").read_text())
        if not force:
            snapshots.refuse_other_run(state["run"], self.run.model_dump(mode="json"))
        self.model = checkpoints.load(str(folder), dtype=torch.float32)
        self.growth = dict(self.run.growth_steps(state["full_depth"]))
        _check_vocabulary(self.model, self.mixture)
        self.step, self.tokens, self.flops = state["step"], state["tokens"], state["flops"]
        self.optimizers = optimizers.make(self.model, self.run.optimizer)
        for i, optimizer in enumerate(self.optimizers):
            tensors = load_file(folder / f"optimizer-{i}.safetensors")
            optimizers.restore(optimizer, self.model, tensors, state["optimizers"][i])
        torch.set_rng_state(_unpacked(state["random"]))
        self.say(f"going on after step {self.step} ({folder.name})")

    def _prepare(self) -> None:
        """Hand model and optimizers to Accelerate, anew after each change of the model."""
        self.accelerator.free_memory()
        if self.run.gradient_checkpointing:
            newer = getattr(self.model, "activation_checkpointing_enable", None)
            enable = newer or self.model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
        self.model.train()
        prepared = self.accelerator.prepare(self.model, *self.optimizers)
        self.wrapped, self.prepared = prepared[0], list(prepared[1:])
        self.forward = torch.compile(self.wrapped) if self.run.compile else self.wrapped
        recurrence = getattr(self.model, "recurrence", Recurrence())
        schedule = getattr(self.model, "schedule", None) or Schedule.plain(
            len(find_decoder(self.model).unique)
        )
        stage = Stage(schedule, 1, recurrence.backward_loops)
        self.flops_per_token = training_flops(self.model, [stage], self.run.data.seq_len)

    def train(self, until: int | None = None, watch: Watch = lambda step, values: None) -> Outcome:
        """Run to the end, to step ``until``, or to an interrupt; then save.

        Args:
            until: stop after so many steps.
            watch: told of every logged step.

        Raises:
            ModelError: a loss that is no number; the last good checkpoint stays.
        """
        last = self.run.steps if until is None else min(until, self.run.steps)
        main = self.accelerator.is_main_process
        metrics = Metrics(self.out, self.step, main, matrix_peak(self._device, self._dtype))
        saved = self.step
        with _interruptible(self):
            while self.step < last and not self.stop:
                self._events()
                loss, norm = self._one_step()
                self.step += 1
                self.tokens += self.run.data.batch_size * self.run.data.seq_len
                self.flops += (
                    self.run.data.batch_size * self.run.data.seq_len * self.flops_per_token
                )
                if not math.isfinite(loss):
                    raise ModelError(
                        f"the loss of step {self.step - 1} (batch {self.step - 1}) is {loss}: "
                        f"stopped; the last good checkpoint is that of step {saved}"
                    )
                if self._log(metrics, loss, norm):
                    watch(self.step, metrics.newest)
                if self._due():
                    self.save()
                    saved = self.step
            if saved != self.step:
                self.save()
        folder = self.out / f"step-{self.step:09d}"
        return Outcome(self.step, self.step == self.run.steps, folder)

    def _one_step(self) -> tuple[float, float]:
        """One optimizer step; the loss over all processes, and the gradient norm."""
        run, accelerator = self.run, self.accelerator
        rank, processes = accelerator.process_index, accelerator.num_processes
        rows = torch.from_numpy(self.mixture.batch(self.step, rank, processes))
        parts = torch.split(rows.to(self._device, non_blocking=True), self.micro)
        total = torch.zeros((), device=self._device)
        runner = getattr(self.model, "runner", None)
        for i, part in enumerate(parts):
            if runner is not None:
                runner.training_step = self.step
            synced = i == len(parts) - 1
            with accelerator.no_sync(self.wrapped) if not synced else contextlib.nullcontext():
                loss = self._loss(part) / len(parts)
                accelerator.backward(loss)
            total += loss.detach()
        norm = accelerator.clip_grad_norm_(self.wrapped.parameters(), run.optimizer.clip)
        optimizers.set_rate(self.optimizers, optimizers.rate(self.step, run.steps, run.optimizer))
        for optimizer in self.prepared:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return float(accelerator.reduce(total, "mean")), float(norm)

    def _loss(self, rows: Tensor) -> Tensor:
        """Cross-entropy of the next token, ``(batch, seq_len + 1)`` tokens to a scalar in nats."""
        half = self.run.precision == "bf16"
        with torch.autocast(self._device.type, torch.bfloat16, enabled=half):
            logits = self.forward(input_ids=rows[:, :-1], use_cache=False).logits
        loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())
        if self.run.regulariser and self.model.training:
            alike = block_cosine(self.model, self.run.regulariser_block)
            loss = loss - self.run.regulariser * alike
        return loss

    @torch.no_grad()
    def validate(self, sequences: int = 64) -> float:
        """Held-out loss in nats a token, over the first windows of the validation shards."""
        assert self.validation is not None
        length = self.run.data.seq_len
        count = max(1, min(sequences, (len(self.validation) - 1) // length))
        self.model.eval()
        total = 0.0
        for i in range(count):
            row = torch.from_numpy(self.validation.window(i * length, length + 1))
            total += float(self._loss(row[None].to(self._device)))
        self.model.train()
        return total / count

    def _events(self) -> None:
        """What happens before this step."""
        changed = False
        if (found := self.growth.get(self.step)) is not None:
            self._unwrap()
            grow(self.model, found, self.optimizers)
            self.say(f"step {self.step}: grown to {len(found)} layers ({found})")
            changed = True
        for event in self.run.events:
            if event.step == self.step:
                changed |= self._happen(event)
        if changed:
            self._prepare()

    def _happen(self, event: Event) -> bool:
        if event.mixture is not None:
            self.say(f"step {self.step}: mixture {dict(event.mixture)}")
        if event.grow is not None:
            self._unwrap()
            grow(self.model, event.grow, self.optimizers)
            self.say(f"step {self.step}: grown by {event.grow}")
        if event.schedule is None and event.repeat is None and event.recurrence is None:
            return event.grow is not None
        self._unwrap()
        recurrence = None if event.recurrence is None else Recurrence.from_dict(event.recurrence)
        loop(
            self.model,
            event.schedule,
            repeat=event.repeat,
            times=event.times,
            recurrence=recurrence,
        )
        self._adopt_new_parameters()
        self.say(f"step {self.step}: schedule {self.model.schedule}")
        return True

    def _adopt_new_parameters(self) -> None:
        """An adapter or a gate that came with a recurrence trains too."""
        known = {id(p) for o in self.optimizers for g in o.param_groups for p in g["params"]}
        group = self.optimizers[0].param_groups[0]
        for name, parameter in self.model.named_parameters():
            if id(parameter) not in known and parameter.requires_grad:
                group["params"].append(parameter)
                group["param_names"].append(name)

    def _unwrap(self) -> None:
        self.model = self.accelerator.unwrap_model(self.wrapped)

    def _due(self) -> bool:
        every = self.step % self.run.checkpoints.every == 0
        return every or self._milestone()

    def _milestone(self) -> bool:
        return any(event.checkpoint and event.step == self.step for event in self.run.events) or (
            self.step == self.run.steps
        )

    def save(self) -> None:
        """Write a checkpoint of this moment."""
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            keep = self.run.checkpoints.keep
            snapshots.write(self.out, self.step, self._fill, keep, self._milestone())
        self.accelerator.wait_for_everyone()

    def _fill(self, folder: Path) -> None:
        model = self.accelerator.unwrap_model(self.wrapped)
        model.save_pretrained(folder)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)
        states = []
        for i, optimizer in enumerate(self.optimizers):
            tensors, rest = optimizers.state(optimizer)
            save_file(
                {k: v.contiguous() for k, v in tensors.items()},
                folder / f"optimizer-{i}.safetensors",
            )
            states.append(rest)
        depth = len(find_decoder(model).unique)
        content = {
            "step": self.step,
            "tokens": self.tokens,
            "flops": self.flops,
            "full_depth": final_depth(self.run, depth),
            "run": self.run.model_dump(mode="json"),
            "optimizers": states,
            "random": _packed(torch.get_rng_state()),
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
        }
        (folder / "training.json").write_text(json.dumps(content))

    def _log(self, metrics: Metrics, loss: float, norm: float) -> bool:
        logged = self.step % self.run.log_every == 0 or self.step == self.run.steps
        held_out = None
        if self.validation is not None and self.step % self.run.validate_every == 0:
            held_out = self.validate()
        metrics.step(
            self.step,
            logged or held_out is not None,
            loss=loss,
            held_out=held_out,
            grad_norm=norm,
            lr=self.optimizers[0].param_groups[0]["lr"],
            tokens=self.tokens,
            flops=self.flops,
            layers=len(find_decoder(self.model).unique),
        )
        return logged

    @property
    def _device(self) -> torch.device:
        device: torch.device = self.accelerator.device
        return device

    @property
    def _dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.run.precision == "bf16" else torch.float32


def block_cosine(model: PreTrainedModel, block_size: int) -> Tensor:
    """Mean cosine similarity of the weights of layers one block apart (Saunshi 2025); a scalar."""
    layers = [dict(layer.named_parameters()) for layer in find_decoder(model).unique]
    found = [
        nn.functional.cosine_similarity(before[name].flatten(), after[name].flatten(), dim=0)
        for before, after in zip(layers, layers[block_size:], strict=False)
        for name in before
        if before[name].dim() >= 2
    ]
    if not found:
        raise ModelError(f"{len(layers)} layers hold no two blocks of {block_size} to compare")
    return torch.stack(found).mean()


def first_model(run: Run) -> PreTrainedModel:
    """The model before the first step."""
    recurrence = Recurrence.from_dict(run.model.recurrence)
    if run.model.path is not None:
        model = checkpoints.load(run.model.path, dtype=torch.float32)
    else:
        assert run.model.preset is not None
        options = dict(run.model.options)
        if run.growth is not None:
            options["num_hidden_layers"] = run.growth.block_size
            model = build(run.model.preset, seed=run.seed, **options)
        else:
            model = build(run.model.preset, run.model.schedule, run.seed, **options)
    if run.growth is None and run.model.schedule is not None and run.model.path is not None:
        loop(model, run.model.schedule)
    if run.model.recurrence:
        loop(model, recurrence=recurrence)
    return model


def final_depth(run: Run, depth: int) -> int:
    """The depth a growing run ends with: that of its preset."""
    if run.growth is None or run.model.preset is None:
        return depth
    from ..presets import preset

    found: int = preset(run.model.preset, **run.model.options).num_hidden_layers
    return found


def _mixture(run: Run) -> Mixture:
    sources = {name: Shards(folder) for name, folder in run.data.sources.items()}
    phases = [Phase(0, run.data.shares())]
    changes = sorted((e.step, e.mixture) for e in run.events if e.mixture is not None)
    for step, weights in changes:
        if step == 0:
            phases.clear()
        phases.append(Phase(step, weights))
    return Mixture(sources, phases, run.data.batch_size, run.data.seq_len, run.seed)


def _tokenizer(mixture: Mixture) -> Any:
    """The tokenizer of the shards, so that a checkpoint can be evaluated as it is."""
    source = next(iter(mixture.sources.values()))
    file = source.folder / "tokenizer.json"
    if not file.is_file():
        return None
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(file))
    if (end := source.about.get("end")) is not None:
        name = tokenizer.convert_ids_to_tokens(end)
        tokenizer.add_special_tokens({"eos_token": name, "bos_token": name, "pad_token": name})
    return tokenizer


def _check_vocabulary(model: PreTrainedModel, mixture: Mixture) -> None:
    size = model.get_input_embeddings().weight.shape[0]
    for name, source in mixture.sources.items():
        if source.vocabulary > size:
            raise ModelError(
                f"the source {name} has a vocabulary of {source.vocabulary:,}, the model one of "
                f"{size:,}: they were not made for each other"
            )


@contextlib.contextmanager
def _interruptible(engine: Engine) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run after the step, with a checkpoint."""

    def stop(number: int, frame: Any) -> None:
        del number, frame
        engine.stop = True
        engine.say("stopping after this step")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _packed(state: Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode()


def _unpacked(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
