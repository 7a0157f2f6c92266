"""Registries of named objects, of growloop and of plug-ins.

A registry maps names to objects of one kind. growloop's own objects register when their module is
imported. Plug-ins are discovered when the names are listed, or when a name that growloop does not
have is looked up. A warning names a broken plug-in, which is left out. A name that two origins
claim is refused.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from . import plugins
from .errors import shown, unknown
from .plugins import Origin, PluginError

T = TypeVar("T")


@dataclass
class _Entry(Generic[T]):
    """Registered object.

    Args:
        origin: plug-in that registered it; None for growloop.
        module: module that registered it, or that its reference names.
        load: function that imports the object, until it is loaded.
        value: the object, once loaded.
        error: why it cannot be used.
    """

    origin: Origin | None
    module: str
    load: Callable[[], object] | None = None
    value: T | None = None
    error: PluginError | None = None

    def described(self) -> str:
        return "growloop" if self.origin is None else str(self.origin)


class Registry(Mapping[str, T]):
    """Mapping of names to objects of one kind, with those of plug-ins.

    Args:
        kind: noun for messages, such as ``growth operator``.
        group: entry-point group of plug-ins, one of :data:`.plugins.GROUPS`; None for none.
        check: refuses an object that is not of the kind: ``(name, object) -> object``, raising
            :class:`.errors.InputError`.

    >>> operators = Registry("growth operator", None)
    >>> operators.register("double", lambda depth: [*range(depth)] * 2, "growloop.example")
    >>> operators["double"](2), "triple" in operators, operators.origin("double")
    ([0, 1, 0, 1], False, None)
    """

    def __init__(
        self,
        kind: str,
        group: str | None,
        check: Callable[[str, Any], T] = lambda name, value: value,
    ) -> None:
        if group is not None and group not in plugins.GROUPS:
            raise ValueError(f"{group} is not one of {', '.join(plugins.GROUPS)}")
        self.kind, self.group, self.check = kind, group, check
        self._entries: dict[str, _Entry[T]] = {}
        self._discovered = False
        self._reserved: set[str] = set()
        plugins.FORGETTING.append(self.forget)

    def register(self, name: str, value: T, module: str) -> None:
        """Add an object.

        Args:
            module: ``__name__`` of the module that adds it. A module may replace its own object,
                as a notebook does when a cell runs again.

        Raises:
            PluginError: another module has the name; the message has both origins.
            InputError: the object is not of the kind.
        """
        origin = plugins.origin_of(module)
        before = self._entries.get(name)
        taken = before is not None and not _same_source(before, module)
        if taken or (origin is not None and name in self._reserved):
            one = "growloop" if before is None else before.described()
            raise self._clash(name, one, "growloop" if origin is None else str(origin))
        if before is not None and before.origin is not None:
            origin = before.origin
        self._entries[name] = _Entry(origin, module, value=self.check(name, value))
        if origin is not None:
            plugins.note_registration(module)

    def register_lazily(self, name: str, reference: str) -> None:
        """Add an object of growloop that is imported when it is looked up.

        Args:
            reference: ``module:attribute``.
        """
        module, _, attribute = reference.partition(":")
        self._entries[name] = _Entry(
            None, module, load=lambda: getattr(importlib.import_module(module), attribute)
        )

    def reserve(self, names: Iterable[str]) -> None:
        """Refuse plug-ins under names that growloop gives to something else of this kind."""
        self._reserved |= set(names)
        for name in self._reserved & self._entries.keys():
            entry = self._entries[name]
            if entry.origin is not None:
                entry.error = entry.error or self._clash(name, "growloop", str(entry.origin))

    def forget(self, module: str) -> None:
        """Remove what a module registered."""
        self._entries = {n: entry for n, entry in self._entries.items() if entry.module != module}

    @contextmanager
    def replace(self, name: str, value: T) -> Iterator[T]:
        """Replace an object within a ``with`` block, for tests: module and origin stay.

        Raises:
            KeyError: an unknown name.
            InputError: the object is not of the kind.

        >>> operators = Registry("growth operator", None)
        >>> operators.register("double", "two", "growloop.example")
        >>> with operators.replace("double", "three"):
        ...     operators["double"]
        'three'
        >>> operators["double"]
        'two'
        """
        before = self._entry(name)
        changed = _Entry(before.origin, before.module, value=self.check(name, value))
        self._entries[name] = changed
        try:
            yield value
        finally:
            if self._entries.get(name) is changed:
                self._entries[name] = before

    def __getitem__(self, name: str) -> T:
        """Return an object.

        Raises:
            KeyError: an unknown name.
            PluginError: the plug-in is broken, or two plug-ins have the name.
        """
        entry = self._entry(name)
        value = self._loaded(name, entry)
        if entry.origin is not None:
            plugins.use(entry.origin)
        return value

    def __contains__(self, name: object) -> bool:
        if name in self._entries:
            return True
        self._discover()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        """Iterate over names: growloop's own, then those of plug-ins, sorted."""
        self._discover()
        own = [name for name, entry in self._entries.items() if entry.origin is None]
        return iter([*own, *sorted(self._entries.keys() - set(own))])

    def __len__(self) -> int:
        self._discover()
        return len(self._entries)

    def own(self) -> list[str]:
        """Return growloop's own names; loads no plug-in."""
        return [name for name, entry in self._entries.items() if entry.origin is None]

    def working(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, T]]:
        """Yield names with their objects; broken plug-ins are named in a warning and left out.

        Args:
            names: names to yield; by default all.
        """
        for name in self if names is None else names:
            try:
                value = self._loaded(name, self._entries[name])
            except PluginError as error:
                plugins.warn(error)
                continue
            yield name, value

    def origin(self, name: str) -> Origin | None:
        """Return the plug-in that a name comes from; None for growloop. Imports nothing."""
        return self._entry(name).origin

    def origins(self) -> dict[str, Origin]:
        """Return the names of plug-ins with their origins; imports nothing."""
        found = {name: self._entries[name].origin for name in self}
        return {name: origin for name, origin in found.items() if origin is not None}

    def unknown(self, name: object) -> Exception:
        """Build the error for an unknown name, with the nearest one and where plug-ins are from."""
        error = unknown(self.kind, name, self)
        if not (origins := self.origins()):
            return error
        named = ", ".join(f"{name} ({origin})" for name, origin in origins.items())
        return type(error)(f"{error}; of plug-ins: {named}")

    def _entry(self, name: str) -> _Entry[T]:
        """Return the entry of a name, with its final origin."""
        known = self._entries.get(name)
        if known is None or known.origin is not None:
            self._discover()
        return self._entries[name]

    def _discover(self) -> None:
        """Add the names of plug-ins: of named files, then of entry points."""
        plugins.load_named_files()
        if self._discovered or self.group is None:
            return
        self._discovered = True
        for point, origin in plugins.entry_points(self.group):
            before = self._entries.get(point.name)
            if point.name in self._reserved:
                plugins.warn(self._clash(point.name, "growloop", str(origin)))
            elif before is None:
                self._entries[point.name] = _Entry(origin, point.module, load=point.load)
            elif before.load is None and _same_source(before, point.module):
                before.origin = origin  # a script imported the package earlier
            else:
                clash = self._clash(point.name, before.described(), str(origin))
                plugins.warn(clash)
                if before.origin is not None:  # neither is the right one
                    before.error = clash

    def _loaded(self, name: str, entry: _Entry[T]) -> T:
        """Return the object of an entry, importing it at the first call."""
        if entry.error is not None:
            raise entry.error
        if entry.value is None:
            assert entry.load is not None
            if entry.origin is None:
                entry.value = self.check(name, entry.load())
                return entry.value
            try:
                with plugins.loading(entry.origin):
                    value = self.check(name, entry.load())
            except Exception as error:  # code of others raises anything
                entry.error = PluginError(
                    f"the {self.kind} {shown(name)} of {entry.described()} cannot be used: "
                    f"{plugins.problem(error)}"
                )
                self._entries[name] = entry
                raise entry.error from error
            entry.value = value
            self._entries[name] = entry
        return entry.value

    def _clash(self, name: str, one: str, other: str) -> PluginError:
        return PluginError(
            f"two {self.kind}s are named {shown(name)}: of {one} and of {other}; rename or remove "
            "one of them"
        )


def _same_source(entry: _Entry[Any], module: str) -> bool:
    """Return whether a module belongs to the package that an entry came from."""
    if entry.origin is None:
        return entry.module == module
    return entry.module.partition(".")[0] == module.partition(".")[0]
