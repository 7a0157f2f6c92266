"""How a looped block recurs, beyond running again: the variants of looped-model research.

All of it happens between the steps, around Hugging Face's own layers: ``Recurrence`` says what,
``Runner`` does it during a forward pass. A loop of a block, from its first step to its last::

    h = state after the loop before        e = state that entered the block first
    h' = block(inject(h, e))               injection, from the second loop on
    h' = h + damping (h' - h)              damped repeats, from the second loop on
    leave?                                 early exit, in evaluation
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from ...core.errors import InputError, one_of, shown, whole
from ...core.schedule import Schedule
from .caching import Slots, find_cache, slots_of
from .decoder import decoder_config
from .early_exit import EarlyExit, Judge
from .readout import Readout

INJECTIONS = ("none", "add", "concat")


@dataclass(frozen=True)
class RandomLoops:
    """The number of loops, drawn anew for each training step (Geiping 2025).

    ``Poisson(LogNormal(ln mean - sigma^2 / 2, sigma)) + 1``: ``mean`` is the mean of the Poisson
    part. The same on every process.

    >>> [RandomLoops(mean=4, seed=0).at(step) for step in range(3)] == [
    ...     RandomLoops(mean=4, seed=0).at(step) for step in range(3)]
    True
    """

    mean: float
    sigma: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.mean <= 1000 or not 0 <= self.sigma <= 2:
            raise InputError(
                "random loops need a mean above 0, up to 1000, and a sigma from 0 to 2"
            )
        whole("the seed", self.seed, 0)

    def at(self, step: int) -> int:
        """The number of loops at a training step."""
        random = np.random.default_rng((self.seed, step))
        rate = random.lognormal(np.log(self.mean) - self.sigma**2 / 2, self.sigma)
        return int(random.poisson(rate)) + 1


@dataclass(frozen=True)
class Recurrence:
    """What happens between the loops of a block; by default nothing.

    Args:
        injection: what the block gets from the second loop on: ``none``, the state alone; ``add``,
            the state plus the block's first input; ``concat``, a linear map of both, which starts
            as ``none``.
        backward_loops: gradients flow through the last so many loops only; the others run
            without recording any (truncated back-propagation).
        random_loops: draw the number of loops anew for each forward pass in training.
        kv_sharing: ``full``, a cache slot for each loop; ``last``, one slot a layer, which keeps
            the last loop; a number n, n slots a layer, loop i uses slot i mod n.
        damping: how much of a repeat's change to the state is kept; 1 is all.
        early_exit: leave the block when its state has settled.
    """

    injection: str = "none"
    backward_loops: int | None = None
    random_loops: RandomLoops | None = None
    kv_sharing: str | int = "full"
    damping: float = 1.0
    early_exit: EarlyExit | None = None

    def __post_init__(self) -> None:
        one_of("injection", self.injection, INJECTIONS)
        if self.backward_loops is not None:
            whole("backward_loops", self.backward_loops, 1)
        if self.kv_sharing not in ("full", "last"):
            if isinstance(self.kv_sharing, str):
                raise InputError(
                    f"kv_sharing is full, last or a number of slots, not {shown(self.kv_sharing)}"
                )
            whole("the number of slots in kv_sharing", self.kv_sharing, 1)
        if not 0 < self.damping <= 1:
            raise InputError(f"damping is above 0, up to 1, not {self.damping}")
        for name, kind in (("random_loops", RandomLoops), ("early_exit", EarlyExit)):
            if not isinstance(given := getattr(self, name), (kind, type(None))):
                fields = ", ".join(kind.__dataclass_fields__)
                raise InputError(f"{name} takes fields ({fields}), not {shown(given)}")

    def check_fits(self, schedule: Schedule) -> None:
        """Refuse a schedule that this cannot be done with.

        Raises:
            InputError: naming the schedule.
        """
        if self.early_exit is None or not self.early_exit.through_coda:
            return
        if (blocks := sum(section.times > 1 for section in schedule.sections)) > 1:
            raise InputError(
                f"schedule {schedule} has {blocks} looped blocks: an exit that looks through the "
                "layers after its block (through_coda) needs one"
            )

    @property
    def slots(self) -> int | None:
        """Cache slots a layer; None for one a step."""
        named = {"full": None, "last": 1}
        return named[self.kv_sharing] if isinstance(self.kv_sharing, str) else self.kv_sharing

    def to_dict(self) -> dict[str, Any]:
        """What differs from the default, for a config file."""
        default = asdict(Recurrence())
        return {name: value for name, value in asdict(self).items() if value != default[name]}

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Recurrence:
        """Read what :meth:`to_dict` wrote."""
        fields = dict(given)
        kinds = {"random_loops": RandomLoops, "early_exit": EarlyExit}
        try:
            for name, kind in kinds.items():
                if isinstance(fields.get(name), dict):
                    fields[name] = kind(**fields[name])
            return cls(**fields)
        except TypeError as error:
            raise InputError(f"the recurrence in the config cannot be read: {error}") from error


Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""What a layer gets beside the state."""


class Place(NamedTuple):
    """Where a step is in its looped block."""

    loop: int
    loops: int
    starts: bool
    ends: bool


class Runner(nn.Module):
    """Runs the steps of a looped model under a :class:`Recurrence`.

    Args:
        recurrence: what happens between loops.
        width: dimension of the hidden state.
        readout: from hidden states to logits; for the criteria that compare distributions.

    Attributes:
        executed: layers that ran in the last forward pass, with those that an exit looked through.
        loops: loops each sequence took in the last looped block, ``(batch,)``.
        total_executed, total_planned: layers that ran, and that the schedule would have run, in
            all forward passes since they were last set to 0. Compiled code counts nothing.
    """

    def __init__(self, recurrence: Recurrence, width: int, readout: Readout) -> None:
        super().__init__()
        self.recurrence, self.readout = recurrence, readout
        self.adapter = self.gate = None
        if recurrence.injection == "concat":
            self.adapter = nn.Linear(2 * width, width, bias=False)
            with torch.no_grad():  # starts as the state alone
                self.adapter.weight.copy_(torch.eye(width, 2 * width))
        if recurrence.early_exit is not None and recurrence.early_exit.criterion == "gate":
            self.gate = nn.Linear(width, 1)
            nn.init.zeros_(self.gate.weight)
            nn.init.constant_(self.gate.bias, -4.0)  # rarely halts until it has learned to
        self.executed = self.total_executed = self.total_planned = 0
        self.loops: Tensor | None = None
        self.real: Tensor | None = None  # which tokens are not padding, (batch, tokens)
        self.layers: Any = ()  # the list of layers; in a tuple: it is not a submodule of this
        self.training_step = 0
        self.group: Any = None  # processes that must leave a block together
        self._forget()

    def take_learned(self, before: nn.Module | None) -> None:
        """Go on with the adapter and the gate of the runner before, where both have one."""
        for name in ("adapter", "gate"):
            old = getattr(before, name, None)
            if old is not None and getattr(self, name) is not None:
                setattr(self, name, old)

    def _forget(self) -> None:
        """Drop what belongs to one forward pass."""
        self.origin: Any = None  # the state that entered the block first
        self.state: Any = None  # the state at the start of this loop
        self.slots: Any = None
        self.judge: Judge | None = None
        self.arguments: dict[Any, Arguments] = {}  # of a kind of layer: what its forward gets
        self.tuple: Any = None  # what the last layer returned beside the state

    def plan(self, schedule: Schedule) -> list[int]:
        """Prepare for a schedule; the cache slot of each step."""
        self.schedule = schedule
        self.places: list[Place | None] = []
        for _, size, times in schedule.sections:
            for step in range(size * times):
                loop, place = divmod(step, size)
                inside = Place(loop, times, place == 0, place == size - 1)
                self.places.append(inside if times > 1 else None)
        self.slot_of = slots_of(schedule, self.recurrence.slots)
        return self.slot_of

    def forward(self, step: int, call: Any, *args: Any, **kwargs: Any) -> Any:
        """Run one step; ``call`` is the layer, the rest what Hugging Face's forward gives it."""
        if step == 0:
            self._begin()
        if args:
            hidden, rest = args[0], args[1:]
        else:
            hidden, rest = kwargs.pop("hidden_states"), ()
        place, layer = self.places[step], self.schedule.layers[step]
        cache = find_cache([*rest, *kwargs.values()])
        if self._looks_through:
            self._remember(step, place, (rest, kwargs))
        if place is not None and place.starts:
            if place.loop == 0:
                self._enter(hidden, call.args[0])
            self.state = hidden
            hidden = self._inject(hidden, place.loop)
            last = self.recurrence.backward_loops
            if last is not None and place.loop == place.loops - last and not hidden.requires_grad:
                # reentrant checkpoints record gradients only for inputs that want some
                checkpointed = getattr(call.args[0], "gradient_checkpointing", False)
                if self.training and checkpointed and torch.is_grad_enabled():
                    hidden = hidden.detach().requires_grad_()
        if place is not None and place.starts and self.judge is not None:
            self.over = self._all_left()
        gone = self.gone if place is not None else None
        if place is not None and self.over:
            if cache is not None:
                self.slots.skip(cache, step, layer, hidden.shape[1])
            return self._end(step, self.state)
        if cache is not None:
            self.slots.open(cache, step)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._truncated(place)):
            output = call(hidden, *rest, **kwargs)
        if not torch.compiler.is_compiling():  # a counter would be compiled anew at every count
            self.executed += 1
            self.total_executed += 1
        self.tuple = output[1:] if isinstance(output, tuple) else None
        after = output[0] if isinstance(output, tuple) else output
        if cache is not None:
            self.slots.close(cache, step, layer, hidden.shape[1], gone)
        if place is not None and place.ends:
            after = self._leave(after, place)
        return self._end(step, after)

    def _all_left(self) -> bool:
        """Whether nobody is left in the block, on any process that gathers the same shards."""
        over = self.gone is not None and self.left == len(self.gone)
        if self.group is None:
            return over
        flag = torch.tensor(int(over), device=self.state.device)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MIN, group=self.group)
        return bool(flag)

    def _begin(self) -> None:
        self.slots = Slots(self.slot_of, exits=self._may_exit)
        if not torch.compiler.is_compiling():
            self.executed = 0
            self.total_planned += len(self.schedule)
        self.judge = None  # of a forward pass that failed, as the arguments are
        self.arguments = {}
        self.gone: Tensor | None = None
        self.left = 0  # how many sequences that is
        self.over = False
        self.loops = None

    @property
    def _may_exit(self) -> bool:
        return self.recurrence.early_exit is not None and not self.training

    @property
    def _looks_through(self) -> bool:
        rule = self.recurrence.early_exit
        return rule is not None and rule.through_coda and not self.training

    def _kind(self, step: int) -> Any:
        """The kind of layer of a step: Hugging Face's forward gives all of a kind the same."""
        kinds = getattr(decoder_config(self.readout.model.config), "layer_types", None)
        return None if kinds is None else kinds[step]

    def _remember(self, step: int, place: Place | None, given: Arguments) -> None:
        """Keep what a step is given; refuse a step after the block that gets something else."""
        known = self.arguments.setdefault(self._kind(step), given)
        if self.judge is not None and place is None and not _alike(known, given):
            raise InputError(
                f"step {step} gets other arguments than the steps before it: an exit cannot look "
                "through it (through_coda)"
            )

    def _coda(self, hidden: Tensor) -> Tensor:
        """What the layers after the block make of its state; nothing is kept of it."""
        end = max(step for step, place in enumerate(self.places) if place is not None) + 1
        steps = range(end, len(self.places))
        given = []
        for step in steps:
            if (found := self.arguments.get(self._kind(step))) is None:
                raise InputError(
                    f"no layer of the kind of step {step} ({self._kind(step)}) has run before: an "
                    "exit cannot look through it (through_coda)"
                )
            given.append(found)
        [layers] = self.layers
        cache = find_cache([*given[0][0], *given[0][1].values()]) if given else None
        with nullcontext() if cache is None else self.slots.trial(cache, steps):
            for step, (rest, kwargs) in zip(steps, given, strict=True):
                output = layers.steps[step].direct(hidden, *rest, **kwargs)
                hidden = output[0] if isinstance(output, tuple) else output
        if not torch.compiler.is_compiling():
            self.executed += len(steps)
            self.total_executed += len(steps)
        return hidden

    def _enter(self, hidden: Tensor, layer: nn.Module) -> None:
        """A looped block begins."""
        self.origin = hidden
        self.gone = None
        self.over = False
        self.judge = None
        if self._may_exit:
            assert self.recurrence.early_exit is not None
            real = None if self.real is None else self.real[:, -hidden.shape[1] :]
            coda = self._coda if self._looks_through else None
            self.judge = Judge(
                self.recurrence.early_exit, self.readout, self.gate, real, hidden, coda
            )
            self.loops = torch.zeros(len(hidden), dtype=torch.long, device=hidden.device)
            self.group = _shard_group(layer)

    def _inject(self, hidden: Tensor, loop: int) -> Tensor:
        if loop == 0 or self.recurrence.injection == "none":
            return hidden
        if self.adapter is not None:
            both = torch.cat([hidden, self.origin.to(hidden.device)], dim=-1)
            mapped: Tensor = self.adapter(both)
            return mapped
        origin: Tensor = self.origin
        return hidden + origin.to(hidden.device)

    def _truncated(self, place: Place | None) -> bool:
        last = self.recurrence.backward_loops
        return (
            self.training
            and place is not None
            and last is not None
            and (place.loop < place.loops - last)
        )

    def _leave(self, after: Tensor, place: Place) -> Tensor:
        """A loop ends: damp it, and see who leaves the block."""
        if place.loop > 0 and self.recurrence.damping != 1:
            after = self.state + self.recurrence.damping * (after - self.state)
        if self.judge is not None:
            assert self.loops is not None
            if self.gone is None:
                self.loops += 1
                gone = self.judge.leaves(after)
            else:
                after = torch.where(self.gone[:, None, None], self.state, after)
                self.loops += ~self.gone
                gone = self.gone | self.judge.leaves(after)
            self.left = int(gone.sum())  # the one time that the loop is waited for
            self.gone = gone if self.left else None
            self.state = after
        return after

    def _end(self, step: int, hidden: Tensor) -> Any:
        """What the layer would have returned."""
        output = hidden if self.tuple is None else (hidden, *self.tuple)
        if step == len(self.schedule) - 1:  # hold no graph and no cache longer than needed
            self._forget()
        return output


def _alike(one: Arguments, other: Arguments) -> bool:
    """Whether two layers get the same beside the state."""
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
    """The processes that a layer's parameters are sharded over (FSDP2); None if they are not."""
    if not isinstance(layer, FSDPModule):
        return None
    mesh = getattr(next(layer.parameters()), "device_mesh", None)  # gone while they are gathered
    return torch.distributed.group.WORLD if mesh is None else mesh.get_group(mesh.ndim - 1)
