"""Registry of loop parts: ``@register_part(kind, name)`` on a class makes it usable by name.

A config or run file names a part by text (``add``) or by fields (``{name: diagonal, decay: 0.5}``).
:class:`PartSettings` is that name with its options; :func:`build_part` makes the module.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from ....core.errors import InputError, one_of, shown, unknown
from ....core.registry import Registry
from ....core.schedule import Schedule

KINDS = {
    "start": "what the first loop starts from",
    "between": "what a later loop reads of the state",
    "injection": "what enters the block",
    "carry": "what carries from loop to loop",
    "conditioning": "what a loop knows about itself",
    "end": "what leaves the block",
    "objective": "what the loss sees",
}
"""Kind of part -> what it decides; also the fields of ``Recurrence`` that name parts."""
DEFAULTS = {
    "injection": "none",
    "carry": "one",
    "objective": "last",
    "start": "input",
    "between": "nothing",
    "end": "output",
}
"""Kind -> name of the part that does nothing."""

Class = TypeVar("Class", bound=type)
Value = bool | int | float | str | tuple[int, ...] | None


def _check(name: str, part: Any) -> type:
    """Refuse an object that is not a part: a class that :func:`register_part` decorated."""
    if not isinstance(part, type) or getattr(part, "part_name", None) != name:
        raise InputError(
            f"a loop part is a class with @register_part(kind, {name!r}), not {shown(part)}"
        )
    return part


PARTS: Registry[type] = Registry("loop part", "growloop.loops", _check)
"""Name -> class, of growloop and of plug-ins; a name belongs to one kind."""


def register_part(kind: str, name: str) -> Callable[[Class], Class]:
    """Register a class as the loop part ``name`` of a kind.

    Args:
        kind: ``injection``, ``carry``, ``conditioning`` or ``objective``.
        name: name in configs and run files.

    Raises:
        InputError: an unknown kind, or a name that another module's part has.

    Example::

        @register_part("injection", "half")
        class Half(Injection):
            def forward(self, state, block_input, loop):
                return state + block_input / 2
    """
    one_of("kind of loop part", kind, KINDS)
    if not name.isidentifier():
        raise InputError(f"the name of a loop part is a Python identifier, not {shown(name)}")

    def register(part: Class) -> Class:
        if getattr(part, "kind", None) != kind:
            raise InputError(f"the {kind} {shown(name)} is not a subclass of {kind.capitalize()}")
        part.part_name = name  # type: ignore[attr-defined]
        PARTS.register(name, part, part.__module__)
        return part

    return register


def part_class(kind: str, name: str) -> Any:
    """Return the class of a part.

    Raises:
        InputError: an unknown name, with the nearest known one.
    """
    part = PARTS.get(name)
    if part is None or getattr(part, "kind", None) != kind:
        raise unknown(kind, name, names_of(kind))
    return part


def names_of(kind: str) -> list[str]:
    """List the names of parts of a kind: growloop's, then those of plug-ins that work."""
    return [name for name, part in PARTS.working() if getattr(part, "kind", None) == kind]


_ACCEPTED: set[tuple[Any, str, str]] = set()
"""Class, kind and settings of parts that were checked: a schedule is set once per forward pass."""


@dataclass(frozen=True)
class PartSettings:
    """Name and options of a part, comparable and JSON-able.

    Args:
        name: name of the part.
        options: keyword arguments of its class, as sorted pairs.

    >>> PartSettings.read("conditioning", {"name": "loop_lora", "rank": 4}).fields()
    {'name': 'loop_lora', 'rank': 4}
    """

    name: str
    options: tuple[tuple[str, Value], ...] = ()

    @classmethod
    def read(cls, kind: str, value: Any) -> PartSettings:
        """Read a part from its name, its fields, or settings; check name and options.

        Raises:
            InputError: an unknown name or option, or a value that the part refuses.
        """
        if isinstance(value, str):
            value = cls(value)
        elif isinstance(value, Mapping):
            fields = dict(value)
            name = fields.pop("name", None)
            if not isinstance(name, str):
                raise InputError(
                    f"{kind} {shown(value)} needs a name (of {', '.join(names_of(kind))})"
                )
            pairs = ((str(k), tuple(v) if isinstance(v, list) else v) for k, v in fields.items())
            value = cls(name, tuple(sorted(pairs)))
        if not isinstance(value, cls):
            raise InputError(f"{kind} is a name or fields with a name, not {shown(value)}")
        settings: PartSettings = value
        part = part_class(kind, settings.name)
        key = (
            part,
            kind,
            repr(settings),
        )  # equal values of other types, such as 1 and True, differ
        if key not in _ACCEPTED:
            settings._check_options(part, kind)
            _ACCEPTED.add(key)
        return settings

    def _check_options(self, part: Any, kind: str) -> None:
        """Refuse options that the class of a part does not have, and values that it refuses."""
        known = [*inspect.signature(part.__init__).parameters][2:]  # after self and shape
        for option, _ in self.options:
            if option not in known:
                raise unknown(f"option of {kind} {self.name}", option, known)
        with torch.device("meta"):
            build_part(kind, self, BlockShape(8))

    def fields(self) -> str | dict[str, Any]:
        """Return the settings as a config holds them: a name, or fields with a name."""
        if not self.options:
            return self.name
        values = ((k, list(v) if isinstance(v, tuple) else v) for k, v in self.options)
        return {"name": self.name, **dict(values)}

    def resolved(self, kind: str, schedule: Schedule) -> PartSettings:
        """Return the settings with the options filled in that depend on the schedule."""
        derived = part_class(kind, self.name).options_of(schedule)
        options = {**derived, **{k: v for k, v in self.options if v is not None}}
        return PartSettings(self.name, tuple(sorted(options.items())))


@dataclass(frozen=True)
class BlockShape:
    """Shape of the model that a part is built for.

    Args:
        width: dimension of the hidden state.
        layers: unique layers of the model; empty where only options are checked.
    """

    width: int
    layers: tuple[torch.nn.Module, ...] = ()


def build_part(kind: str, settings: PartSettings, shape: BlockShape) -> Any:
    """Build the module of a part.

    Initial values depend on the settings and the shape alone, not on the global random state.

    Raises:
        InputError: an option that the part refuses.
    """
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed also notes a stack trace for each call before CUDA starts
        torch.default_generator.manual_seed(0)
        try:
            return part_class(kind, settings.name)(shape, **dict(settings.options))
        except TypeError as error:
            raise InputError(f"{kind} {settings.name}: {error}") from error
