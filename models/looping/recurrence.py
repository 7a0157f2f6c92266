"""Recurrence settings: what happens between the loops of a block (variants of looped models).

A recurrence is a composition of parts (:mod:`.parts`), which ``.runner`` applies around Hugging
Face's own layers. Per loop of a block::

    e = state that entered the block         h = start(e), then the state after the previous loop
    h = between(h)                           what a later loop reads of it
    x = injection(h, e)                      what enters the block
    x, y = conditioning around y = block(x)  what a loop knows about itself
    h = carry(h, y)                          what carries to the next loop
    exit?                                    early exit, in evaluation

What leaves the block is end(h).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ...core.errors import InputError, flag, shown, whole
from ...core.schedule import Schedule
from .early_exit import EarlyExit
from .parts import DEFAULTS, PartSettings, part_class
from .random_loops import RandomLoops

ONE_OF_A_KIND = ("injection", "carry", "objective", "start", "between", "end")
"""Fields that name one part; ``conditioning`` names any number."""
PartName = str | PartSettings


@dataclass(frozen=True)
class Recurrence:
    """Settings of what happens between the loops of a block; by default nothing.

    A part is a name, or fields with a name and options: ``{"name": "diagonal", "decay": 0.5}``.

    Example::

        loop(model, "4-4x4-4", recurrence=Recurrence(injection="add", kv_sharing="last"))

    Args:
        injection: part that forms the input of the block: ``none``, the state; ``add``, from the
            second loop on the state plus the block's first input; ``concat``, a learned linear
            map of both, initialised to the state alone; ``diagonal``, Parcae's linear system.
        backward_loops: number of final loops that gradients flow through; earlier loops run
            without a graph (truncated back-propagation). None for all.
        random_loops: distribution of the number of loops in training; None for a fixed number.
        kv_sharing: KV-cache slots of a looped layer: ``full``, one per loop; ``last``, one, which
            holds the last loop; a number n: n slots, loop i in slot i mod n.
        damping: share of a repeat's change to the state that is applied, above 0 up to 1: the
            carry ``damped``.
        early_exit: rule for leaving the block before its last loop, in evaluation.
        substeps: read a block as one Euler step and its k loops as k smaller ones: every loop,
            the first too, applies 1/k of its change (arXiv 2605.23872): the carry ``substeps``.
        carry: part that carries the state from loop to loop: ``one``, ``damped``, ``substeps``,
            ``hyper``, ``selective_gate``.
        conditioning: parts that tell the block its loop: ``loop_embedding``, ``loop_gate``,
            ``loop_lora``, ``time_step``; any of them, in order.
        objective: part that decides what the loss sees in training: ``last``,
            ``deep_supervision``, ``exit_gate``, ``confidence``, ``shortcut``, ``fixed_point``.
        start: part that gives the state of the first loop: ``input``, ``zero``, ``random``.
        between: part that changes the state before each loop but the first: ``nothing``, ``norm``.
        end: part that changes what leaves the block: ``output``, ``end_norm``, ``linear``.

    >>> Recurrence(injection={"name": "diagonal", "decay": 0.5}, conditioning=["loop_embedding"])
    Recurrence(injection=PartSettings(name='diagonal', options=(('decay', 0.5),)), \
backward_loops=None, random_loops=None, kv_sharing='full', damping=1.0, early_exit=None, \
substeps=False, carry='one', conditioning=('loop_embedding',), objective='last', start='input', \
between='nothing', end='output')
    """

    injection: PartName | Mapping[str, Any] = "none"
    backward_loops: int | None = None
    random_loops: RandomLoops | None = None
    kv_sharing: str | int = "full"
    damping: float = 1.0
    early_exit: EarlyExit | None = None
    substeps: bool = False
    carry: PartName | Mapping[str, Any] = "one"
    conditioning: Any = ()
    objective: PartName | Mapping[str, Any] = "last"
    start: PartName | Mapping[str, Any] = "input"
    between: PartName | Mapping[str, Any] = "nothing"
    end: PartName | Mapping[str, Any] = "output"

    def __post_init__(self) -> None:
        for kind in ONE_OF_A_KIND:
            object.__setattr__(self, kind, _short(PartSettings.read(kind, getattr(self, kind))))
        if not isinstance(self.conditioning, (list, tuple)):
            object.__setattr__(self, "conditioning", (self.conditioning,))
        named = [PartSettings.read("conditioning", value) for value in self.conditioning]
        if len({part.name for part in named}) < len(named):
            raise InputError("conditioning names a part twice: " + ", ".join(p.name for p in named))
        object.__setattr__(self, "conditioning", tuple(map(_short, named)))
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
        flag("substeps", self.substeps)
        for name, settings in (("random_loops", RandomLoops), ("early_exit", EarlyExit)):
            fields = getattr(self, name)
            if isinstance(fields, dict) and fields.keys() <= set(settings.__dataclass_fields__):
                object.__setattr__(self, name, settings(**fields))
            if not isinstance(value := getattr(self, name), (settings, type(None))):
                names = ", ".join(settings.__dataclass_fields__)
                raise InputError(f"{name} takes fields ({names}), not {shown(value)}")
        self._refuse_contradictions()

    def _refuse_contradictions(self) -> None:
        if self.substeps and self.damping != 1:
            raise InputError("substeps apply 1/loops of a change: give damping or substeps")
        if self.carry != "one" and (self.substeps or self.damping != 1):
            given = "substeps" if self.substeps else "damping"
            carry = self.carry.name if isinstance(self.carry, PartSettings) else self.carry
            raise InputError(f"{given} sets the carry: give {given} or carry {carry}, not both")
        if self.part("carry").name == "substeps" and self.early_exit is not None:
            raise InputError("substeps with an early exit would leave a part of the step undone")
        self._refuse_lost_input()
        sequences = self.random_loops is not None and self.random_loops.per == "sequence"
        if sequences and self.objective != "last":
            raise InputError(
                f"objective {self.part('objective').name} compares loops, and random_loops per "
                "sequence gives sequences different numbers of them: give one of the two"
            )

    def _refuse_lost_input(self) -> None:
        """Refuse a first state that leaves out the state that entered the block."""
        start, injection = self.part("start"), self.part("injection")
        if start.name == DEFAULTS["start"]:
            return
        options = dict(injection.options)
        if options.get("start", "input") != "input":
            raise InputError(f"both start and {injection.name} give the first state: give one")
        if not options.get("first", part_class("injection", injection.name).first):
            raise InputError(
                f"start {start.name} replaces the state that enters the block: give an injection "
                "that acts in the first loop too (diagonal, or add or concat with first: true)"
            )

    def part(self, kind: str) -> PartSettings:
        """Return the part of a kind, with damping and substeps as the carries that they are.

        >>> Recurrence(damping=0.5).part("carry").fields()
        {'name': 'damped', 'share': 0.5}
        """
        if kind == "carry" and self.damping != 1:
            return PartSettings("damped", (("share", self.damping),))
        if kind == "carry" and self.substeps:
            return PartSettings("substeps")
        value = getattr(self, kind)
        return PartSettings(value) if isinstance(value, str) else value

    @property
    def parts(self) -> list[tuple[str, PartSettings]]:
        """Return ``(kind, part)`` of all parts that are not the default of their kind."""
        named = [(kind, self.part(kind)) for kind in ONE_OF_A_KIND]
        named = [(kind, part) for kind, part in named if part.name != DEFAULTS[kind]]
        more = [PartSettings(c) if isinstance(c, str) else c for c in self.conditioning]
        return named + [("conditioning", part) for part in more]

    @property
    def injects(self) -> bool:
        """Return whether the block's first input enters later loops, so that gradients reach it."""
        return self.part("injection").name != DEFAULTS["injection"]

    @property
    def heads(self) -> set[str]:
        """Return the learned heads that the early exit or the objective needs."""
        needed = set(part_class("objective", self.part("objective").name).heads)
        if self.early_exit is not None and self.early_exit.criterion in ("gate", "confidence"):
            needed.add(self.early_exit.criterion)
        return needed

    def resolved(self, schedule: Schedule) -> Recurrence:
        """Return the recurrence with the options of its parts that depend on the schedule."""
        changes: dict[str, Any] = {
            kind: self.part(kind).resolved(kind, schedule)
            for kind, part in self.parts
            if kind != "conditioning" and not (kind == "carry" and self.carry == "one")
        }
        changes["conditioning"] = [
            part.resolved(kind, schedule) for kind, part in self.parts if kind == "conditioning"
        ]
        return replace(self, **changes)

    def check_fits(self, schedule: Schedule) -> None:
        """Refuse a schedule with several looped blocks where a part reads what follows the block.

        Raises:
            InputError: naming the schedule.
        """
        through_coda = self.early_exit is not None and self.early_exit.through_coda
        if not through_coda and self.objective == "last":
            return
        if (blocks := sum(section.times > 1 for section in schedule.sections)) > 1:
            what = "an exit that looks through the layers after its block (through_coda)"
            if not through_coda:
                what = f"the objective {self.part('objective').name}"
            raise InputError(f"schedule {schedule} has {blocks} looped blocks: {what} needs one")

    def applied_share(self, loop: int, loops: int) -> float:
        """Return the share of a loop's change to the state that is applied.

        Args:
            loop: number of the loop, from 0.
            loops: loops of the block in all.

        >>> [Recurrence(damping=0.25).applied_share(loop, 2) for loop in range(2)]
        [1.0, 0.25]
        >>> [Recurrence(substeps=True).applied_share(loop, 2) for loop in range(2)]
        [0.5, 0.5]
        """
        carry = self.part("carry")
        if carry.name == "substeps":
            return 1 / loops
        if carry.name != "damped" or loop == 0:
            return 1.0
        return float(dict(carry.options).get("share", 0.5))  # type: ignore[arg-type]

    @property
    def slots(self) -> int | None:
        """KV-cache slots per layer; None for one per step."""
        named = {"full": None, "last": 1}
        return named[self.kv_sharing] if isinstance(self.kv_sharing, str) else self.kv_sharing

    def to_dict(self) -> dict[str, Any]:
        """Return the settings that differ from the default, as JSON-able fields."""
        default, found = Recurrence(), {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value != getattr(default, field.name):
                found[field.name] = _plain(value)
        return found

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Recurrence:
        """Build the settings from the fields that :meth:`to_dict` returned."""
        fields = dict(fields)
        nested = {"random_loops": RandomLoops, "early_exit": EarlyExit}
        try:
            for name, settings in nested.items():
                if isinstance(fields.get(name), dict):
                    fields[name] = settings(**fields[name])
            return cls(**fields)
        except TypeError as error:
            raise InputError(f"the recurrence in the config cannot be read: {error}") from error


def _short(settings: PartSettings) -> PartName:
    """Return the name alone of a part without options."""
    return settings if settings.options else settings.name


def _plain(value: Any) -> Any:
    """Return a value as JSON-able data."""
    if isinstance(value, PartSettings):
        return value.fields()
    if isinstance(value, RandomLoops):
        return value.to_dict()
    if isinstance(value, EarlyExit):
        return asdict(value)
    return [_plain(part) for part in value] if isinstance(value, tuple) else value
