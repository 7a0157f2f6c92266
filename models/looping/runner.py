"""Forward pass of a looped model under a recurrence, one step at a time."""

from __future__ import annotations

import functools
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ...core.schedule import Schedule
from .caching import Slots, find_cache, refuse_foreign_cache, slots_of
from .composition import Around, Composition, no_grad_unless
from .decoder import decoder_config
from .early_exit import ExitMonitor
from .layer_arguments import LayerArguments
from .loop_positions import LoopPosition, loop_positions
from .parts import Loop, Places
from .readout import Readout
from .recurrence import Recurrence
from .shard_groups import shard_group


class Runner(Composition):
    """Step executor of a looped model under a :class:`Recurrence`.

    Args:
        recurrence: settings.
        width: dimension of the hidden state.
        readout: hidden states -> logits, for exit criteria that compare distributions.
        layers: unique layers of the model.

    Attributes:
        executed: layer forwards of the last forward pass, coda forwards of exit checks included.
        loops: loops that each sequence took in the last looped block, ``(batch,)``.
        total_executed, total_planned: layer forwards run, and those the schedule lists, over all
            forward passes since the counters were last set to 0. Compiled code counts nothing.
        token_mask: True for tokens that are not padding, ``(batch, tokens)``; None if all are real.
        training_step: number of training forward passes, which random loops are drawn by.
        first_row: place of this forward pass's first sequence in the batch of all processes, which
            random loops per sequence are drawn by.
        row_loops: loops of each sequence, ``(batch,)``; None where all have the same.
        supervision: targets of the objective in the next training forward pass; None for none.
        records: whether the states of the loops are recorded in this forward pass.
    """

    def __init__(
        self,
        recurrence: Recurrence,
        width: int,
        readout: Readout,
        layers: tuple[nn.Module, ...] = (),
    ) -> None:
        super().__init__(recurrence, width, layers)
        self.readout = readout
        self.between.readout = self.end.readout = (readout,)
        self.executed = self.total_executed = self.total_planned = 0
        self.loops: Tensor | None = None
        self.token_mask: Tensor | None = None
        self.layers: Any = ()  # the LoopedLayers, in a tuple so that torch registers no submodule
        self.training_step = self.first_row = 0
        self.exit_group: Any = None  # process group that must leave a block together
        self.row_loops: Tensor | None = None
        self.records = False
        self.watch: Any = None  # called with the step that ends a loop and the state carried on
        self.supervision: Any = None  # targets of an objective, set by training
        self.ran: dict[int, Loop] = {}  # step -> loop, of the last forward pass
        self._reset()

    def _reset(self) -> None:
        """Drop the state of one forward pass."""
        self.around: Any = None  # parts around the loops of the current block
        self.loop_input: Any = None  # output of the block at the start of the current loop
        self.state: Any = None  # state at the start of the current loop, as the carry has it
        self.first_state: Any = None  # state of the first loop, before the carry
        self.recorded: list[tuple[Tensor, Tensor]] = []  # output and change of each loop
        self.slots: Any = None
        self.monitor: ExitMonitor | None = None
        self.arguments = LayerArguments()
        self.extra_outputs: Any = None  # outputs of the last layer after the hidden state

    def draw_rows(self, rows: int) -> None:
        """Draw the number of loops of each sequence of this training step, ``(rows,)``."""
        random_loops = self.recurrence.random_loops
        assert random_loops is not None
        drawn = random_loops.of_rows(self.training_step - 1, self.first_row, rows)
        self.row_loops = torch.from_numpy(drawn)

    def most_loops(self) -> int:
        """Return the most loops of a sequence, over all processes that share FSDP shards."""
        assert self.row_loops is not None
        most = self.row_loops.max()
        [layers] = self.layers
        group = shard_group(next(iter(layers._modules.values())))
        if group is not None:
            device = next(layers.parameters()).device
            most = most.to(device)
            torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX, group=group)
        return int(most)

    def plan(self, schedule: Schedule) -> list[int]:
        """Prepare for a schedule and return the cache slot of each step."""
        self.schedule = schedule
        self.positions = loop_positions(
            self.blocks(schedule), functools.partial(self.is_block, schedule)
        )
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
        if self._exits_through_coda or self.records:
            checked = position is None and (self.monitor is not None or self.records)
            self.arguments.store(step, (rest, kwargs), checked)
        if position is not None:
            self.ran[step] = self._loop(position, hidden)
            if position.starts:
                if position.loop == 0:
                    places = self._places(step, hidden, cache, kwargs)
                    self._start_block(hidden, call.args[0], places)
                hidden = self._start_loop(step, position, hidden, call.args[0])
        if position is not None and position.starts and self.monitor is not None:
            self.all_exited = self._check_all_exited()
        exited = self.exited if position is not None else None
        if position is not None and self.all_exited:
            if cache is not None:
                self.slots.skip(cache, step, layer, hidden.shape[1])
            last = position.ends and position.loop == position.loops - 1
            return self._output(step, self.end(self.loop_input) if last else self.loop_input)
        if cache is not None:
            self.slots.open(cache, step)
        with no_grad_unless(not self._truncated(position)):
            output = call(hidden, *rest, **kwargs)
        if not torch.compiler.is_compiling():  # a counter would be compiled anew at every count
            self.executed += 1
            self.total_executed += 1
        self.extra_outputs = output[1:] if isinstance(output, tuple) else None
        after = output[0] if isinstance(output, tuple) else output
        if cache is not None:
            self.slots.close(cache, step, layer, hidden.shape[1], exited)
        if position is not None and position.ends:
            after = self._end_loop(after, position, self.ran[step])
            if self.watch is not None:
                self.watch(step, self.state)
        return self._output(step, after)

    def _loop(self, position: LoopPosition, hidden: Tensor) -> Loop:
        """Return the loop of a position, for each sequence where they differ.

        With truncated back-propagation, sequences with fewer loops start later: gradients flow
        through the last loops of each.
        """
        if self.row_loops is None:
            return Loop(position.loop, position.loops)
        totals = self.row_loops.to(hidden.device)
        number = torch.full_like(totals, position.loop)
        if self.recurrence.backward_loops is not None:
            number = number - (position.loops - totals)
        return Loop(number, totals)

    def loop_at(self, step: int) -> Loop | None:
        """Return the loop that a step ran in, in the last forward pass."""
        return self.ran.get(step)

    def _start_loop(
        self, step: int, position: LoopPosition, hidden: Tensor, layer: nn.Module
    ) -> Tensor:
        """Begin a loop and return the input of the block."""
        self.loop_input = self.first_state if position.loop == 0 else hidden
        if not self.carry.keeps_state:
            self.state = self.loop_input
        with no_grad_unless(not self._truncated(position)):
            hidden = self.around.enter(self.state, _known(self.ran[step]))
        last = self.recurrence.backward_loops
        first_trained = None if last is None else position.loops - last
        if position.loop == first_trained and not hidden.requires_grad:
            # reentrant checkpoints record gradients only for inputs that require some
            checkpointed = getattr(layer, "gradient_checkpointing", False)
            if self.training and checkpointed and torch.is_grad_enabled():
                hidden = hidden.detach().requires_grad_()
        return hidden

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
        self.ran = {}
        self.recorded = []
        if self._exits_through_coda or self.records:
            config = decoder_config(self.readout.model.config)
            self.arguments = LayerArguments(getattr(config, "layer_types", None))
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

    def coda(self, hidden: Tensor) -> Tensor:
        """Run the layers after the block on a state, leaving cache and counters of loops alone."""
        end = max(step for step, position in enumerate(self.positions) if position is not None) + 1
        steps = range(end, len(self.positions))
        arguments = [self.arguments.of(step) for step in steps]
        hidden = self.end(hidden)
        [layers] = self.layers
        cache = find_cache([*arguments[0][0], *arguments[0][1].values()]) if arguments else None
        with nullcontext() if cache is None else self.slots.restored_after(cache, steps):
            for step, (rest, kwargs) in zip(steps, arguments, strict=True):
                output = layers.steps[step].direct(hidden, *rest, **kwargs)
                hidden = output[0] if isinstance(output, tuple) else output
        self._count(len(steps))
        return hidden

    def _places(
        self, step: int, hidden: Tensor, cache: Any, kwargs: dict[str, Any]
    ) -> Places | None:
        """Return the places of the tokens for a start that draws; None for any other.

        Positions are those of the attention mask where it has padding, else the model's own, else
        they follow those in the cache.
        """
        if not self.start.draws:
            return None
        rows, count = hidden.shape[:2]
        position_ids, mask = kwargs.get("position_ids"), self.token_mask
        if mask is not None and not bool(mask.all()):
            positions = (mask.long().cumsum(1) - 1).clamp_min(0)[:, -count:]
        elif isinstance(position_ids, Tensor):
            positions = position_ids.expand(rows, -1)
        else:
            past = 0 if cache is None else int(cache.get_seq_length(self.slot_of[max(0, step - 1)]))
            past -= count if cache is not None and step > 0 else 0  # an earlier step has added them
            positions = torch.arange(past, past + count, device=hidden.device).expand(rows, -1)
        drawn = self.training_step - 1 if self.training else None
        return Places(positions, drawn, self.first_row)

    def _start_block(self, hidden: Tensor, layer: nn.Module, places: Places | None) -> None:
        """Begin a looped block with its input state."""
        self.around = self._around(hidden)
        self.first_state = self.start.begin(hidden, places)
        self.state = self.carry.begin(self.first_state)
        self.exited = None
        self.all_exited = False
        self.monitor = None
        if self._may_exit:
            assert self.recurrence.early_exit is not None
            mask = None if self.token_mask is None else self.token_mask[:, -hidden.shape[1] :]
            coda = self.coda if self._exits_through_coda else None
            rule = self.recurrence.early_exit
            head: Any = self.confidence if rule.criterion == "confidence" else self.read_gate
            self.monitor = ExitMonitor(rule, self._read, head, mask, self.first_state, coda)
            self.loops = torch.zeros(len(hidden), dtype=torch.long, device=hidden.device)
            self.exit_group = shard_group(layer)

    def _truncated(self, position: LoopPosition | None) -> bool:
        """Return whether a step runs without a graph (truncated back-propagation)."""
        last = self.recurrence.backward_loops
        return (
            self.training
            and position is not None
            and last is not None
            and (position.loop < position.loops - last)
        )

    def _end_loop(self, after: Tensor, position: LoopPosition, loop: Loop) -> Tensor:
        """Apply the parts after the block and update which sequences have left it."""
        before = self.state
        with no_grad_unless(not self._truncated(position)):
            after = self.around.condition(after, _known(loop))
        change = after - self.loop_input if self._reads_changes else after
        with no_grad_unless(not (self._truncated(position) and self.carry.detached)):
            state = self.around.leave(before, after, _known(loop))
        if self.row_loops is not None:
            assert isinstance(loop.number, Tensor)
            assert isinstance(loop.total, Tensor)
            state = _keep(before, state, (loop.number >= 0) & (loop.number < loop.total))
        if self.exited is not None:
            state = _keep(before, state, ~self.exited)
        after, self.state = self.carry.output(state), state
        if self.records:
            self.recorded.append((after, change))
        if self.monitor is not None:
            assert self.loops is not None
            if self.exited is None:
                self.loops += 1
                exited = self.monitor.exits(after, change)
            else:
                self.loops += ~self.exited
                exited = self.exited | self.monitor.exits(after, change)
            self.exited_count = int(exited.sum())  # the only device synchronisation of a loop
            self.exited = exited if self.exited_count else None
            self.loop_input = after
        return self.end(after) if position.loop == position.loops - 1 else after

    def read_gate(self, states: Tensor) -> Tensor:
        """Compute the exit gate's logits ``(..., 1)`` of states, as a later loop would read them.

        Args:
            states: states after a loop, ``(..., dim)``.
        """
        assert self.gate is not None
        logits: Tensor = self.gate(self.between(states))
        return logits

    def _read(self, states: Tensor) -> Tensor:
        """Compute the logits of states that would leave the block now."""
        return self.readout(states if self._exits_through_coda else self.end(states))

    @property
    def _reads_changes(self) -> bool:
        return self.confidence is not None and (self.records or self.monitor is not None)

    def rerun(self, loops: int) -> Tensor:
        """Run the recorded block again from the same input, with another number of loops.

        Args:
            loops: number of loops, up to those of the forward pass.

        Returns:
            Output of the block, ``(batch, tokens, dim)``.
        """
        [layers] = self.layers
        around = self._around(self.around.block_input)
        state = self.carry.begin(self.first_state)
        block = [step for step, position in enumerate(self.positions) if position is not None]
        size = len(block) // len(self.recorded)
        for number in range(loops):
            loop, last = Loop(number, loops), self.recurrence.backward_loops
            with no_grad_unless(last is None or number >= loops - last):
                hidden = around.enter(state, loop)
                for step in block[number * size : (number + 1) * size]:
                    rest, kwargs = self.arguments.of(step)
                    output = layers.steps[step].direct(hidden, *rest, **kwargs)
                    hidden = output[0] if isinstance(output, tuple) else output
                state = around.leave(state, around.condition(hidden, loop), loop)
        self._count(loops * size)
        return self.carry.output(state)

    def _around(self, block_input: Tensor) -> Around:
        conditioning: list[Any] = list(self.conditioning.values())
        return Around(self.injection, self.carry, conditioning, block_input, self.between)

    def _count(self, forwards: int) -> None:
        """Count layer forwards."""
        if not torch.compiler.is_compiling():
            self.executed += forwards
            self.total_executed += forwards

    def forget(self) -> None:
        """Drop what was recorded of a forward pass."""
        self.records = False
        self._reset()

    def _output(self, step: int, hidden: Tensor) -> Any:
        """Return a state in the form the layer returns it; reset after the last step."""
        output = hidden if self.extra_outputs is None else (hidden, *self.extra_outputs)
        if (
            step == len(self.schedule) - 1 and not self.records
        ):  # hold no graph and no cache longer than needed
            self._reset()
        return output


def _keep(before: Tensor, after: Tensor, rows: Tensor) -> Tensor:
    """Return ``after`` for the rows that are True, ``before`` for the others."""
    return torch.where(rows.view(-1, *[1] * (after.dim() - 1)), after, before)


def _known(loop: Loop) -> Loop:
    """Return a loop with sequences that have not begun in their first."""
    if isinstance(loop.number, Tensor):
        return Loop(loop.number.clamp_min(0), loop.total)
    return loop
