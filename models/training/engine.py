"""Training loop: one continuous run, with events on its step axis.

Batch, learning rate, events and random loops of a step are functions of the run file and the step.
Weights, optimizer and random state are in the checkpoint. So a run that was killed resumes to the
same bits.
"""

from __future__ import annotations

import contextlib
import functools
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ...core.errors import InputError
from ...core.finite import first_not_finite
from ..costs import Stage, training_flops
from ..looping.config import current_schedule
from ..looping.decoder import find_decoder
from ..looping.recurrence import Recurrence
from . import adapters, dtypes, sharding
from . import checkpoint_contents as contents
from . import checkpoints as snapshots
from .checks import ResumePoint, check
from .data.batches import Batch
from .data.examples import Examples
from .devices import make_accelerator
from .events import Timeline
from .guards import enough_memory, interruptible, run_folder
from .memory import keep_freed_memory
from .metrics import Metrics, flat, matrix_peak, trackers
from .optim import optimizers
from .optim.objective import block_cosine, by_kind, losses, training_losses
from .precision import Precision
from .random_loops import loops_of_step
from .runfile import Run
from .runfile_sections import Evaluation
from .saving_and_stopping import StepPolicy
from .setup import (
    final_depth,
    first_model,
    held_out,
    packs_without_leakage,
    saved_tokenizer,
    vocabulary_of,
)

Report = Callable[[str], object]
Watch = Callable[[int, dict[str, Any]], object]
Evaluate = Callable[[Path, Evaluation], dict[str, float]]


@dataclass
class Outcome:
    """End of a run.

    Args:
        step: optimizer steps done.
        finished: True if the run reached its last step or stopped early; False if interrupted.
        folder: last checkpoint.
        best: checkpoint with the lowest held-out loss; None if the run does not keep it.
    """

    step: int
    finished: bool
    folder: Path
    best: Path | None = None


class Engine:
    """Trainer of one run, from its run file to its last checkpoint.

    Args:
        run: run file.
        out: folder of the run, for checkpoints and ``metrics.jsonl``.
        say: callback for progress messages, one line each.
        force: resume although the run file differs from the one that the run began with.
        evaluate: (checkpoint folder, evaluation) -> task -> accuracy; needed if events evaluate.
        parent: checkpoint of another run to branch off from, if ``out`` has no checkpoint yet.
        device: ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; by default Accelerate's choice.

    Raises:
        InputError: the run cannot start.
    """

    def __init__(
        self,
        run: Run,
        out: str | Path,
        say: Report = lambda text: None,
        force: bool = False,
        evaluate: Evaluate | None = None,
        parent: str | Path | None = None,
        device: str | None = None,
    ) -> None:
        if evaluate is None and any(event.evaluate for event in run.events):
            raise InputError("the run evaluates tasks: Engine needs evaluate=")
        self.evaluate = evaluate
        self.run, self.out, self.say = run, Path(out), say
        self.accelerator = make_accelerator(
            device, log_with=trackers(run.trackers), project_dir=str(out)
        )
        processes = self.accelerator.num_processes
        branch = None if parent is None else Path(parent)
        start = check(run, self.out, say, force, branch, processes)
        self.source, self.inputs = start.source, start.inputs
        self.timeline = Timeline(run, start.growth)
        self.policy = StepPolicy.of(run)
        self.precision = Precision.of(run, self._device)
        # packed rows of examples differ in length: one row a micro-batch needs no padding
        local_batch_size = run.data.batch_size // processes
        self.micro = run.micro_batch_size or (1 if run.data.examples else local_batch_size)
        self.empty: PreTrainedModel | None = None  # model on the meta device, under FSDP2 only
        self.best: dict[str, Any] = {"step": None, "loss": None, "since": 0}
        self.tokenizer = saved_tokenizer(self.source)
        self.stop = False
        self.step = self.tokens = 0
        self.flops = 0.0
        self.losses: dict[str, float] = {}  # kind of row -> loss of the last step
        if start.last is None:
            self._begin()
        else:
            self._resume(start.last)
        if isinstance(self.source, Examples) and self.source.pack:
            self.source.pack = packs_without_leakage(self.model, self.source)
            if not self.source.pack:
                say("this model would attend across packed examples: each gets its own row")
        self.held_out = held_out(run, self.source)
        self.checkpoint_dtype = _checkpoint_dtype(run, start.last)
        self._prepare()

    def _begin(self) -> None:
        self.model = first_model(self.run, vocabulary_of(self.run, self.source))
        self.optimizers = optimizers.make(self.model, self.run.optimizer)
        torch.manual_seed(self.run.seed)

    def _resume(self, last: ResumePoint) -> None:
        """Resume from a checkpoint; the best loss of a parent run is not taken over."""
        folder, state = last.folder, last.state
        self.model = contents.read_model(self.run, folder)
        self.step, self.tokens, self.flops = state["step"], state["tokens"], state["flops"]
        self.optimizers = optimizers.make(self.model, self.run.optimizer)
        contents.restore(folder, state, self.model, self.optimizers)
        self.source.state |= state["source"]
        if last.own:
            self.best = state["best"]
        self.say(f"going on after step {self.step} ({folder.name})")

    def _prepare(self) -> None:
        """Distribute model and optimizers over the processes; needed after each model change."""
        self.accelerator.free_memory()
        if self.run.gradient_checkpointing:
            newer = getattr(self.model, "activation_checkpointing_enable", None)
            enable = newer or self.model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
        self.model.train()
        if self._device.type == "cpu":
            keep_freed_memory()
        if self.run.parallel == "fsdp2" and self.accelerator.num_processes > 1:
            self.empty = sharding.shard(self.model, self.optimizers, self._device)
            self.wrapped, self.prepared = self.model, self.optimizers
        else:
            prepared = self.accelerator.prepare(self.model, *self.optimizers)
            self.wrapped, self.prepared = prepared[0], list(prepared[1:])
        self.forward = torch.compile(self.wrapped) if self.run.compile else self.wrapped
        recurrence = getattr(self.model, "recurrence", Recurrence())
        schedule = current_schedule(self.model)

        @functools.cache
        def flops(loops: int | None) -> float:
            unrolled = schedule if loops is None else schedule.with_loops(loops)
            return training_flops(self.model, [Stage(unrolled, 1)], self.run.data.seq_len)

        random_loops = recurrence.random_loops

        def mean_flops(rows: int) -> float:
            if random_loops is None:
                return flops(None)
            processes = self.accelerator.num_processes
            together = self.empty is not None
            shares = loops_of_step(random_loops, self.step, rows, self.micro, processes, together)
            return sum(share * flops(loops) for loops, share in shares.items())

        self.flops_per_token: Callable[[int], float] = mean_flops  # (rows of a process)

    def train(self, until: int | None = None, watch: Watch = lambda step, values: None) -> Outcome:
        """Train to the last step, to step ``until``, or to an interrupt; then save.

        Args:
            until: step to stop at; by default the last one.
            watch: callback for each logged step: (step, metrics).

        Raises:
            InputError: a loss or gradient is not finite (the last good checkpoint stays), or
                another process trains in the folder.
        """
        if not self.accelerator.is_main_process:
            return self._train(until, watch)
        with run_folder(self.out):
            return self._train(until, watch)

    def _train(self, until: int | None, watch: Watch) -> Outcome:
        steps = self.policy.steps
        last = steps if until is None else min(until, steps)
        main = self.accelerator.is_main_process
        peak = matrix_peak(self._device, self.precision.dtype) * self.accelerator.num_processes
        metrics = Metrics(self.out, self.step, main, peak, self._device)
        if self.run.trackers:
            self.accelerator.init_trackers(self.run.name, flat(self.run.model_dump(mode="json")))
        saved = self.step
        with interruptible(self), enough_memory(self):
            while self.step < last and not self.stop and not self.policy.stops_early(self.best):
                self._apply_events()
                loss, norm = self._one_step()
                self.step += 1
                for name, value in (("loss", loss), ("gradient norm", norm)):
                    if not math.isfinite(value):
                        raise InputError(
                            f"the {name} of step {self.step - 1} (batch {self.step - 1}) is "
                            f"{value}: stopped; the last good checkpoint is that of step {saved}"
                        )
                if self._log(metrics, loss, norm):
                    watch(self.step, metrics.newest)
                    self.accelerator.log(metrics.newest, step=self.step)
                if self.policy.saves(self.step, self.best):
                    self.save()
                    saved = self.step
            if saved != self.step and self.step > 0:
                self.save()
        self.accelerator.end_training()
        best = self.policy.best_step(self.best)
        return Outcome(
            self.step,
            self.policy.finished(self.step, self.best),
            self._folder(self.step),
            None if best is None else self._folder(best),
        )

    def _folder(self, step: int) -> Path:
        return self.out / f"step-{step:09d}"

    def _one_step(self) -> tuple[float, float]:
        """Take one optimizer step; return the loss over all processes and the gradient norm."""
        run, accelerator = self.run, self.accelerator
        rank, processes = accelerator.process_index, accelerator.num_processes
        batch = self.source.batch(self.step, rank, processes)
        parts = batch.parts(self.micro)
        # row 0: loss of all targets, stop flag; row 1 + k: loss and number of targets of kind k
        sums = torch.zeros(1 + len(self.source.kinds), 2, device=self._device)
        runner = getattr(self.model, "runner", None)
        head = None if run.compile else self.model.get_output_embeddings()
        # autocast caches bfloat16 weights until its outermost block ends: one cast a step
        with self._autocast(), self.precision.attention():
            most_rows = run.data.batch_size if run.data.examples else len(batch.tokens)
            first_row = rank * most_rows  # in the batch of all processes
            for i, part in enumerate(parts):
                if runner is not None:
                    runner.training_step = self.step
                    runner.first_row = first_row
                # FSDP2 synchronizes every micro-batch: unsynchronized gradients are unsharded
                synced = i == len(parts) - 1
                with accelerator.no_sync(self.wrapped) if not synced else contextlib.nullcontext():
                    with self._autocast():
                        found = training_losses(self.forward, part, self._device, runner, head)
                    target_losses = found.last
                    loss = found.trained.sum() / batch.count
                    if weight := run.regulariser_at(self.step):
                        cosine = block_cosine(self.model, run.regulariser_block)
                        loss = loss - weight * cosine / (len(parts) * processes)
                    with torch.autocast(self._device.type, enabled=False):
                        # DDP and FSDP2 average gradients over processes; the sum is needed
                        accelerator.backward(loss * processes)
                # what is reported stays the cross-entropy where the model has an objective
                plain = found.trained is found.last
                sums[0, 0] += loss.detach() if plain else target_losses.detach().sum() / batch.count
                first_row += len(part.tokens)
                sums[1:] += by_kind(target_losses.detach(), part, len(self.source.kinds))
        self.tokens += batch.tokens.size * processes
        self.flops += batch.tokens.size * processes * self.flops_per_token(len(batch.tokens))
        norm = accelerator.clip_grad_norm_(self.wrapped.parameters(), run.optimizer.clip)
        optimizers.set_rate(self.optimizers, optimizers.rate(self.step, run.steps, run.optimizer))
        for optimizer in self.prepared:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        sums[0, 1] = float(self.stop)
        total, *kinds = accelerator.reduce(sums, "sum").tolist()
        self.stop = total[1] > 0  # a signal to one process stops all at the same step
        self.losses = {
            name: value / count
            for name, (value, count) in zip(self.source.kinds, kinds, strict=True)
            if count
        }
        if (message := self.source.observe_losses(self.step, self.losses)) is not None:
            self.say(message)
        return float(total[0]), float(sharding.full(norm))

    def _losses(self, batch: Batch) -> Tensor:
        """Compute the cross-entropy of each target of a batch, in nats: ``(targets,)``."""
        with self._autocast():
            return losses(self.forward, batch, self._device)

    def _autocast(self) -> torch.autocast:
        return self.precision.autocast(sharded=self.empty is not None)

    @torch.no_grad()
    def validate(self) -> float:
        """Compute the held-out loss, in nats a target."""
        self.model.eval()
        parts = [self._losses(batch) for batch in self.held_out]
        self.model.train()
        loss = torch.stack([part.sum() for part in parts]).sum() / sum(len(part) for part in parts)
        # all processes get the same bits: each decides from the loss whether to save and stop
        return float(self.accelerator.reduce(loss, "mean"))

    def _validate_if_due(self) -> float | None:
        """Compute the held-out loss after the steps of the policy; update the best loss."""
        if not self.held_out or not self.policy.validates(self.step):
            return None
        loss = self.validate()
        if not math.isfinite(loss):
            raise InputError(
                f"the held-out loss of step {self.step} is {loss}: {self._nonfinite_source()}"
            )
        if self.best["loss"] is None or loss < self.best["loss"]:
            self.best = {"step": self.step, "loss": loss, "since": 0}
        else:
            self.best = {**self.best, "since": self.best["since"] + 1}
        return loss

    def _nonfinite_source(self) -> str:
        """Name the module behind a held-out loss that is not finite; else ``stopped``."""
        self.model.eval()
        for batch in self.held_out if self.accelerator.num_processes == 1 else []:
            with torch.no_grad():
                source = first_not_finite(self.model, functools.partial(self._losses, batch))
            if source is not None:
                return source
        return "stopped"

    def _apply_events(self) -> None:
        """Apply the events and growth maps that come before this step."""
        model_changes = self.timeline.changes_model(self.step)
        if model_changes:
            self._unwrap()
        for line in self.timeline.apply(self.model, self.step, self.optimizers):
            self.say(f"step {self.step}: {line}")
        if model_changes:
            self._prepare()

    def _unwrap(self) -> None:
        if self.empty is None:
            self.model = self.accelerator.unwrap_model(self.wrapped)
        else:
            self.model = sharding.unshard(self.model, self.empty, self.optimizers)
            self.empty = None

    def _evaluate_if_due(self) -> dict[str, float]:
        """Measure accuracy on the tasks of this step's events: ``accuracy/TASK`` -> accuracy.

        Runs before the checkpoint is written: a run that is killed meanwhile measures it again.
        """
        accuracies: dict[str, float] = {}
        evaluations = self.timeline.evaluations(self.step)
        if not evaluations or self.evaluate is None:
            return accuracies
        folder, model = self.out / ".evaluated", self._gather_model()
        if self.accelerator.is_main_process:
            shutil.rmtree(folder, ignore_errors=True)
            contents.write_model(
                model, self.tokenizer, folder, self.run.model.path, self.checkpoint_dtype
            )
        self.accelerator.wait_for_everyone()
        # evaluation harnesses reseed the global generators: keep training's random state
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            for evaluation in evaluations:
                accuracy = self.evaluate(folder, evaluation)
                accuracies |= {f"accuracy/{task}": value for task, value in accuracy.items()}
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            shutil.rmtree(folder, ignore_errors=True)
        return accuracies

    def save(self) -> None:
        """Write a checkpoint of the current step."""
        self.accelerator.wait_for_everyone()
        main = self.accelerator.is_main_process
        model = self._gather_model()
        optimizer_states = [
            (sharding.gathered(tensors, main), metadata)
            for tensors, metadata in map(optimizers.state, self.optimizers)
        ]
        if main:
            milestone = self.step in self.policy.milestones
            best = self.policy.best_step(self.best)
            fill = functools.partial(self._write_checkpoint, model, optimizer_states)
            snapshots.write(self.out, self.step, fill, self.policy.keep, milestone, best)
        self.accelerator.wait_for_everyone()

    def _gather_model(self) -> PreTrainedModel:
        """Return the unsharded model for the main process to write; a collective call."""
        if self.empty is None:
            return self.accelerator.unwrap_model(self.wrapped)
        return sharding.gather_model(self.model, self.empty, self.accelerator.is_main_process)

    def _write_checkpoint(
        self,
        model: PreTrainedModel,
        optimizer_states: list[contents.OptimizerState],
        folder: Path,
    ) -> None:
        contents.write_model(
            model, self.tokenizer, folder, self.run.model.path, self.checkpoint_dtype
        )
        depth = len(find_decoder(self.model).unique)
        state = {
            "step": self.step,
            "tokens": self.tokens,
            "flops": self.flops,
            "full_depth": final_depth(self.run, depth),
            "run": self.run.model_dump(mode="json"),
            "source": self.source.state,
            "best": self.best,
            "inputs": self.inputs,
            "special_tokens": list(self.source.special),
            "dtype": dtypes.name_of(self.checkpoint_dtype),
            "training_dtype": dtypes.name_of(dtypes.TRAINED),
        }
        if isinstance(self.source, Examples):
            state["examples"] = self.source.about
        lossless = self.checkpoint_dtype == dtypes.TRAINED or bool(adapters.tensors(model))
        masters = None if lossless else dtypes.masters(model)
        contents.write_state(folder, optimizer_states, state, masters)

    def _log(self, metrics: Metrics, loss: float, norm: float) -> bool:
        logged = self.policy.logs(self.step)
        held_out = self._validate_if_due()
        accuracy = self._evaluate_if_due()
        metrics.step(
            self.step,
            logged or held_out is not None or bool(accuracy),
            loss=loss,
            held_out=held_out,
            grad_norm=norm,
            lr=self.optimizers[0].param_groups[0]["lr"],
            tokens=self.tokens,
            flops=self.flops,
            layers=len(find_decoder(self.model).unique),
            **{f"loss/{name}": value for name, value in self.losses.items()},
            **accuracy,
        )
        return logged

    @property
    def _device(self) -> torch.device:
        device: torch.device = self.accelerator.device
        return device


def _checkpoint_dtype(run: Run, last: ResumePoint | None) -> torch.dtype:
    """Return the dtype of weights in checkpoints: of a fine-tuned model, its base's on disk."""
    if run.data.examples is None or run.model.path is None:
        return dtypes.TRAINED
    if last is not None and last.own and (name := last.state.get("dtype")) is not None:
        return dtypes.named(name)
    return dtypes.stored_dtype(run.model.path)
