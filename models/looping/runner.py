"""Forward pass of a looped model under a recurrence, one step at a time."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from ...core.errors import InputError
from ...core.schedule import Schedule
from .caching import Slots, find_cache, refuse_foreign_cache, slots_of
from .decoder import decoder_config
from .early_exit import ExitMonitor
from .readout import Readout
from .recurrence import Recurrence

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments of a layer, without the hidden state."""


class LoopPosition(NamedTuple):
    """Position of a step in its looped block.

    Args:
        loop: number of the loop, from 0.
        loops: loops of the block in all.
        starts, ends: whether the step is the first, or the last, of its loop.
    """

    loop: int
    loops: int
    starts: bool
    ends: bool


class Runner(nn.Module):
    """Step executor of a looped model under a :class:`Recurrence`.

    Args:
        recurrence: settings.
        width: dimension of the hidden state.
        readout: hidden states -> logits, for exit criteria that compare distributions.

    Attributes:
        executed: layer forwards of the last forward pass, coda forwards of exit checks included.
        loops: loops that each sequence took in the last looped block, ``(batch,)``.
        total_executed, total_planned: layer forwards run, and those the schedule lists, over all
            forward passes since the counters were last set to 0. Compiled code counts nothing.
        token_mask: True for tokens that are not padding, ``(batch, tokens)``; None if all are real.
        training_step: number of training forward passes, which random loops are drawn by.
    """

    def __init__(self, recurrence: Recurrence, width: int, readout: Readout) -> None:
        super().__init__()
        self.recurrence, self.readout = recurrence, readout
        self.adapter = self.gate = None
        if recurrence.injection == "concat":
            self.adapter = nn.Linear(2 * width, width, bias=False)
            with torch.no_grad():  # initialised to the state alone
                self.adapter.weight.copy_(torch.eye(width, 2 * width))
        if recurrence.early_exit is not None and recurrence.early_exit.criterion == "gate":
            self.gate = nn.Linear(width, 1)
            nn.init.zeros_(self.gate.weight)
            nn.init.constant_(self.gate.bias, -4.0)  # rarely halts before it is trained
        self.executed = self.total_executed = self.total_planned = 0
        self.loops: Tensor | None = None
        self.token_mask: Tensor | None = None
        self.layers: Any = ()  # the LoopedLayers, in a tuple so that torch registers no submodule
        self.training_step = 0
        self.exit_group: Any = None  # process group that must leave a block together
        self._reset()

    def reuse_learned(self, previous: nn.Module | None) -> None:
        """Take over the adapter and the gate of the previous runner where both runners have one."""
        for name in ("adapter", "gate"):
            module = getattr(previous, name, None)
            if module is not None and getattr(self, name) is not None:
                setattr(self, name, module)

    def _reset(self) -> None:
        """Drop the state of one forward pass."""
        self.block_input: Any = None  # state that entered the block
        self.loop_input: Any = None  # state at the start of the current loop
        self.slots: Any = None
        self.monitor: ExitMonitor | None = None
        self.arguments: dict[Any, Arguments] = {}  # layer type -> arguments of its forward
        self.extra_outputs: Any = None  # outputs of the last layer after the hidden state

    def plan(self, schedule: Schedule) -> list[int]:
        """Prepare for a schedule and return the cache slot of each step."""
        self.schedule = schedule
        self.positions: list[LoopPosition | None] = []  # None outside of looped blocks
        for _, size, loops in schedule.sections:
            for step in range(size * loops):
                loop, offset = divmod(step, size)
                position = LoopPosition(loop, loops, offset == 0, offset == size - 1)
                self.positions.append(position if loops > 1 else None)
        self.slot_of = slots_of(schedule, self.recurrence.slots)
        return self.slot_of

    def forward(self, step: int, call: Any, *args: Any, **kwargs: Any) -> Any:
        """Run one step.

        Args:
            step: number of the step in the schedule.
            call: the layer's own call, a partial whose first argument is the layer.
            args, kwargs: arguments that Hugging Face's forward passes to the layer.
        """
        if step == 0:
            self._start_forward()
        if args:
            hidden, rest = args[0], args[1:]
        else:
            hidden, rest = kwargs.pop("hidden_states"), ()
        position, layer = self.positions[step], self.schedule.layers[step]
        cache = find_cache([*rest, *kwargs.values()])
        if cache is None and self.manages_slots:
            refuse_foreign_cache(rest, kwargs)
        if self._exits_through_coda:
            self._store_arguments(step, position, (rest, kwargs))
        if position is not None and position.starts:
            if position.loop == 0:
                self._start_block(hidden, call.args[0])
            self.loop_input = hidden
            hidden = self._inject(hidden, position.loop)
            last = self.recurrence.backward_loops
            first_trained = None if last is None else position.loops - last
            if position.loop == first_trained and not hidden.requires_grad:
                # reentrant checkpoints record gradients only for inputs that require some
                checkpointed = getattr(call.args[0], "gradient_checkpointing", False)
                if self.training and checkpointed and torch.is_grad_enabled():
                    hidden = hidden.detach().requires_grad_()
        if position is not None and position.starts and self.monitor is not None:
            self.all_exited = self._check_all_exited()
        exited = self.exited if position is not None else None
        if position is not None and self.all_exited:
            if cache is not None:
                self.slots.skip(cache, step, layer, hidden.shape[1])
            return self._output(step, self.loop_input)
        if cache is not None:
            self.slots.open(cache, step)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._truncated(position)):
            output = call(hidden, *rest, **kwargs)
        if not torch.compiler.is_compiling():  # a counter would be compiled anew at every count
            self.executed += 1
            self.total_executed += 1
        self.extra_outputs = output[1:] if isinstance(output, tuple) else None
        after = output[0] if isinstance(output, tuple) else output
        if cache is not None:
            self.slots.close(cache, step, layer, hidden.shape[1], exited)
        if position is not None and position.ends:
            after = self._end_loop(after, position)
        return self._output(step, after)

    def _check_all_exited(self) -> bool:
        """Return whether all sequences have exited, on all processes that share FSDP shards."""
        all_exited = self.exited is not None and self.exited_count == len(self.exited)
        if self.exit_group is None:
            return all_exited
        flag = torch.tensor(int(all_exited), device=self.loop_input.device)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MIN, group=self.exit_group)
        return bool(flag)

    def _start_forward(self) -> None:
        """Prepare for a new forward pass."""
        self.slots = Slots(self.slot_of, exits=self._may_exit)
        if not torch.compiler.is_compiling():
            self.executed = 0
            self.total_planned += len(self.schedule)
        self.monitor = None  # an earlier forward pass may have failed half-way
        self.arguments = {}
        self.exited: Tensor | None = None  # sequences that have left the block, (batch,) bool
        self.exited_count = 0
        self.all_exited = False
        self.loops = None

    @property
    def manages_slots(self) -> bool:
        """Return whether loops share cache slots or may be skipped."""
        return self._may_exit or self.recurrence.slots is not None

    @property
    def _may_exit(self) -> bool:
        return self.recurrence.early_exit is not None and not self.training

    @property
    def _exits_through_coda(self) -> bool:
        rule = self.recurrence.early_exit
        return rule is not None and rule.through_coda and not self.training

    def _layer_type(self, step: int) -> Any:
        """Return a step's layer type; layers of a type get the same arguments."""
        types = getattr(decoder_config(self.readout.model.config), "layer_types", None)
        return None if types is None else types[step]

    def _store_arguments(
        self, step: int, position: LoopPosition | None, arguments: Arguments
    ) -> None:
        """Store the arguments of a step for exit checks through the coda.

        Raises:
            InputError: a step after the block gets other arguments than its layer type did before.
        """
        stored = self.arguments.setdefault(self._layer_type(step), arguments)
        if self.monitor is not None and position is None and not _same_arguments(stored, arguments):
            raise InputError(
                f"step {step} gets other arguments than the steps before it: an exit cannot look "
                "through it (through_coda)"
            )

    def _coda(self, hidden: Tensor) -> Tensor:
        """Run the layers after the block on a state, leaving cache and counters of loops alone."""
        end = max(step for step, position in enumerate(self.positions) if position is not None) + 1
        steps = range(end, len(self.positions))
        arguments = []
        for step in steps:
            if (stored := self.arguments.get(self._layer_type(step))) is None:
                raise InputError(
                    f"no layer of the kind of step {step} ({self._layer_type(step)}) has run "
                    "before: an exit cannot look through it (through_coda)"
                )
            arguments.append(stored)
        [layers] = self.layers
        cache = find_cache([*arguments[0][0], *arguments[0][1].values()]) if arguments else None
        with nullcontext() if cache is None else self.slots.restored_after(cache, steps):
            for step, (rest, kwargs) in zip(steps, arguments, strict=True):
                output = layers.steps[step].direct(hidden, *rest, **kwargs)
                hidden = output[0] if isinstance(output, tuple) else output
        if not torch.compiler.is_compiling():
            self.executed += len(steps)
            self.total_executed += len(steps)
        return hidden

    def _start_block(self, hidden: Tensor, layer: nn.Module) -> None:
        """Begin a looped block with its input state."""
        self.block_input = hidden
        self.exited = None
        self.all_exited = False
        self.monitor = None
        if self._may_exit:
            assert self.recurrence.early_exit is not None
            mask = None if self.token_mask is None else self.token_mask[:, -hidden.shape[1] :]
            coda = self._coda if self._exits_through_coda else None
            self.monitor = ExitMonitor(
                self.recurrence.early_exit, self.readout, self.gate, mask, hidden, coda
            )
            self.loops = torch.zeros(len(hidden), dtype=torch.long, device=hidden.device)
            self.exit_group = _shard_group(layer)

    def _inject(self, hidden: Tensor, loop: int) -> Tensor:
        """Return the block's input in a loop: the state, with the first input injected."""
        if loop == 0 or self.recurrence.injection == "none":
            return hidden
        if self.adapter is not None:
            both = torch.cat([hidden, self.block_input.to(hidden.device)], dim=-1)
            mapped: Tensor = self.adapter(both)
            return mapped
        block_input: Tensor = self.block_input
        return hidden + block_input.to(hidden.device)

    def _truncated(self, position: LoopPosition | None) -> bool:
        """Return whether a step runs without a graph (truncated back-propagation)."""
        last = self.recurrence.backward_loops
        return (
            self.training
            and position is not None
            and last is not None
            and (position.loop < position.loops - last)
        )

    def _end_loop(self, after: Tensor, position: LoopPosition) -> Tensor:
        """Damp the loop's change and update which sequences have exited."""
        share = self.recurrence.applied_share(position.loop, position.loops)
        if share != 1:
            after = self.loop_input + share * (after - self.loop_input)
        if self.monitor is not None:
            assert self.loops is not None
            if self.exited is None:
                self.loops += 1
                exited = self.monitor.exits(after)
            else:
                after = torch.where(self.exited[:, None, None], self.loop_input, after)
                self.loops += ~self.exited
                exited = self.exited | self.monitor.exits(after)
            self.exited_count = int(exited.sum())  # the only device synchronisation of a loop
            self.exited = exited if self.exited_count else None
            self.loop_input = after
        return after

    def _output(self, step: int, hidden: Tensor) -> Any:
        """Return a state in the form the layer returns it; reset after the last step."""
        output = hidden if self.extra_outputs is None else (hidden, *self.extra_outputs)
        if step == len(self.schedule) - 1:  # hold no graph and no cache longer than needed
            self._reset()
        return output


def _same_arguments(one: Arguments, other: Arguments) -> bool:
    """Return whether two layers get the same arguments, tensors compared by identity."""
    pairs = [*zip(one[0], other[0], strict=False)]
    pairs += [(value, other[1].get(name)) for name, value in one[1].items()]
    if len(one[0]) != len(other[0]) or one[1].keys() != other[1].keys():
        return False
    return all(a is b or (not isinstance(a, Tensor) and _equal(a, b)) for a, b in pairs)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
    return isinstance(one, (int, float, str, bool)) and one == other


def _shard_group(layer: nn.Module) -> Any:
    """Return the process group of a layer's FSDP2 shards; None if it is not sharded."""
    if not isinstance(layer, FSDPModule):
        return None
    mesh = getattr(next(layer.parameters()), "device_mesh", None)  # missing while gathered
    return torch.distributed.group.WORLD if mesh is None else mesh.get_group(mesh.ndim - 1)
