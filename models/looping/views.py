"""Layer list that runs layers in the order of a schedule, without copying any.

Only the unique layers are registered. Iteration yields *views*: objects that share a layer's
``__dict__`` (parameters, buffers, hooks, training flag, whatever is attached later), except that
``layer_idx`` (on the layer and on its modules) is the view's own. A cache therefore has one slot
per step, and Hugging Face's own forward runs unchanged.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from types import MethodType
from typing import Any, Protocol

from torch import nn

from ...core.errors import InputError
from ...core.schedule import Schedule

INDEX_NAMES = ("layer_idx", "layer_id", "layer_number")


class StepRunner(Protocol):
    """Executor of steps in place of the layers' own calls.

    Attributes:
        layers: the layer list that it runs, as a tuple of one.
        recurrence: settings of what happens between loops.
        training_step: number of training forward passes so far.
        start: part that gives the state of the first loop.
    """

    layers: tuple[LoopedLayers, ...]
    recurrence: Any
    training_step: int
    start: Any
    records: bool
    supervision: Any

    @property
    def acts_inside(self) -> bool:
        """Return whether parts act inside of layers."""

    def inside(self, step: int) -> contextlib.AbstractContextManager[None]:
        """Let parts that act inside of layers know the step that runs."""

    row_loops: Any
    token_mask: Any

    def draw_rows(self, rows: int) -> None:
        """Draw the number of loops of each sequence."""

    def most_loops(self) -> int:
        """Return the most loops of a sequence."""

    def forget(self) -> None:
        """Drop what was recorded of a forward pass."""

    def plan(self, schedule: Schedule) -> Sequence[int]:
        """Return the cache slot of each step."""

    def __call__(self, step: int, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run one step; ``call`` is the layer's own call."""


class LoopedLayers(nn.ModuleList):
    """Unique layers, iterated in the order of a schedule.

    ``parameters()``, ``state_dict()`` and ``named_modules()`` hold each layer once; ``len``,
    iteration, indexing and slices are by step.

    Args:
        layers: the unique layers.
        schedule: which of them runs at each step.
    """

    def __init__(self, layers: Sequence[nn.Module], schedule: Schedule) -> None:
        super().__init__()
        for i, layer in enumerate(layers):
            self.add_module(str(i), layer)
        self._views: dict[tuple[int, int, int], nn.Module] = {}
        self._steps: list[nn.Module] = []
        self._probes: dict[int, nn.Module] = {}  # layer -> one of its views, to detect a stale one
        self._runners: tuple[StepRunner, ...] = ()  # a tuple, so that torch registers no submodule
        self.set_schedule(schedule)

    @property
    def runner(self) -> StepRunner | None:
        """Executor of the steps; None where the layers' own calls run them."""
        return self._runners[0] if self._runners else None

    def set_runner(self, runner: StepRunner | None) -> None:
        """Run steps by ``runner``, or by the layers' own calls for None."""
        self._runners = () if runner is None else (runner,)
        if runner is not None:
            runner.layers = (self,)
        self._views = {}
        self.set_schedule(self.schedule)

    def set_schedule(self, schedule: Schedule) -> None:
        """Set the schedule to run from now on."""
        schedule.check_fits(len(self._modules))
        self.schedule = schedule
        runner = self.runner
        self.slots = tuple(range(len(schedule)) if runner is None else runner.plan(schedule))
        self._steps = []
        self._make_steps()  # now: not while a compiler traces a forward pass

    @property
    def steps(self) -> list[nn.Module]:
        """Views, one per step."""
        for layer, view in self._probes.items():
            if view._stale or view._origin is not self._modules[str(layer)]:
                self._make_steps()
                break
        if not self._steps:
            self._make_steps()
        return self._steps

    def _make_steps(self) -> None:
        pairs = zip(self.schedule, self.slots, strict=True)
        self._steps = [self._view(layer, slot, i) for i, (layer, slot) in enumerate(pairs)]
        self._probes = dict(zip(self.schedule, self._steps, strict=True))

    def _view(self, layer: int, slot: int, step: int) -> nn.Module:
        view = self._views.get((layer, slot, step))
        origin = self._modules[str(layer)]
        assert origin is not None
        if view is None or view._stale or view._origin is not origin:
            view = make_view(origin, layer, slot, step, self.runner)
            self._views[layer, slot, step] = view
        return view

    def __len__(self) -> int:
        return len(self.schedule)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.steps)

    def __getitem__(self, step: Any) -> Any:
        return self.steps[step]

    def __setitem__(self, step: Any, layer: nn.Module) -> None:
        raise InputError(
            "the steps of a looped model share layers: replace a unique layer by its name "
            "(model.set_submodule), or before looping"
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_views": {}, "_steps": [], "_probes": {}}  # views are made again

    def __repr__(self) -> str:
        return nn.Module.__repr__(self)

    def extra_repr(self) -> str:
        return f"schedule={self.schedule}"


def make_view(
    origin: nn.Module, index: int, slot: int, step: int = 0, runner: StepRunner | None = None
) -> nn.Module:
    """Make a view of ``origin``, layer number ``index``, that uses cache slot ``slot``.

    Args:
        step: step of the schedule that the view runs.
        runner: executor of the step; None for the layer's own call.
    """
    overrides = _overrides(origin, index)
    base: Any = type(origin)
    inside = runner is not None and runner.acts_inside
    view: nn.Module = object.__new__(_view_class(base, *overrides, runner is not None, inside))
    children = {name: make_view(getattr(origin, name), index, slot) for name in overrides[1]}
    object.__setattr__(view, "__dict__", origin.__dict__)
    own = {"origin": origin, "slot": slot, "children": children, "step": step, "runner": runner}
    own["index"] = index
    own["compiled"] = None
    for name, value in own.items():
        object.__setattr__(view, f"_{name}", value)
    return view


def _overrides(origin: nn.Module, index: int) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """Return what a view must override: index fields, child modules, and a replaced forward.

    Raises:
        InputError: a ``layer_idx`` that is not the layer's index, or one inside a module list.
    """
    own = []
    for name in INDEX_NAMES:
        value = origin.__dict__.get(name)
        if value == index and not isinstance(value, bool):
            own.append(name)
        elif name == "layer_idx" and isinstance(value, int):
            raise InputError(
                f"{type(origin).__name__} is not supported: in layer {index} its layer_idx is "
                f"{value}, so its cache slots cannot be assigned"
            )
    viewed = [name for name, child in origin.named_children() if _holds_index(child)]
    if viewed and isinstance(origin, (nn.ModuleList, nn.ModuleDict, nn.Sequential)):
        raise InputError(
            f"{type(origin).__name__} in layer {index} is not supported: looked for modules with "
            "a layer_idx as attributes of the layer, found them in a list"
        )
    return tuple(own), tuple(viewed), "forward" in origin.__dict__


def _holds_index(module: nn.Module) -> bool:
    return any(name in part.__dict__ for part in module.modules() for name in INDEX_NAMES)


@functools.cache
def _view_class(
    base: Any,
    indices: tuple[str, ...],
    viewed: tuple[str, ...],
    replaced: bool,
    run: bool,
    inside: bool = False,
) -> type:
    """Make the class of the views of a module class.

    Args:
        indices: index fields to override.
        viewed: children that get views of their own.
        replaced: whether the instance's forward was replaced (hooks).
        run: whether a runner executes the call.
        inside: whether parts act inside of layers, and must know the step in recomputed ones too.
    """

    def stale(self: Any) -> bool:
        """Return whether the layer changed in a way that a view does not follow."""
        origin = self._origin
        if type(origin) is not base or ("forward" in origin.__dict__) is not replaced:
            return True
        return any(
            view._origin is not origin._modules[name] or view._stale
            for name, view in self._children.items()
        )

    def deepcopy(self: Any, memo: Any) -> Any:
        return copy.deepcopy(self._origin, memo)

    def compile_view(self: Any, compiled: Any) -> None:
        object.__setattr__(self, "_compiled", compiled)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self._runner(self._step, functools.partial(base.__call__, self), *args, **kwargs)

    fields: dict[str, Any] = {
        "__slots__": ("_children", "_compiled", "_index", "_origin", "_runner", "_slot", "_step"),
        "__deepcopy__": deepcopy,
        "__module__": base.__module__,
        "_stale": property(stale),
        # a forward compiled for the layer would use the layer's cache slot
        "_compiled_call_impl": property(lambda self: self._compiled, compile_view),
    }
    if run:
        fields["__call__"] = call
        fields["direct"] = lambda self, *a, **k: base.__call__(self, *a, **k)  # past the runner
    if inside:  # in forward, which gradient checkpointing calls again

        @functools.wraps(base.forward)
        def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
            with self._runner.inside(self._step):
                return base.forward(self, *args, **kwargs)

        fields["forward"] = forward
    for name in indices:
        fields[name] = property(lambda self: self._slot)
    for name in viewed:
        fields[name] = _child(name)
    view_class = type(base.__name__, (base,), fields)
    if replaced:  # after the class was made: Hugging Face wraps the forward of new classes
        for name in ("forward", "_old_forward"):
            setattr(view_class, name, _Rebound(name, base, inside and name == "forward"))
    return view_class


def _child(name: str) -> property:
    return property(lambda self: self._children[name])


class _Rebound:
    """Descriptor that binds a method stored on a module (say by accelerate's hooks) to a view."""

    def __init__(self, name: str, base: Any, inside: bool = False) -> None:
        self.name, self.base, self.inside = name, base, inside

    def __get__(self, view: Any, owner: Any) -> Any:
        if view is None:
            return getattr(self.base, self.name)
        try:
            method = _rebind(view.__dict__[self.name], view._origin, view)
            return functools.partial(_run_inside, view, method) if self.inside else method
        except KeyError:
            raise AttributeError(self.name) from None

    def __set__(self, view: Any, value: Any) -> None:
        view.__dict__[self.name] = value


def _run_inside(view: Any, method: Any, *args: Any, **kwargs: Any) -> Any:
    with view._runner.inside(view._step):
        return method(*args, **kwargs)


def _rebind(function: Any, old: object, new: object) -> Any:
    def is_old(value: object) -> bool:  # the layer, or a view of it for another step
        return value is old or getattr(value, "_origin", None) is old

    if isinstance(function, MethodType) and is_old(function.__self__):
        return MethodType(function.__func__, new)
    if isinstance(function, functools.partial) and any(map(is_old, function.args)):
        arguments = [new if is_old(argument) else argument for argument in function.args]
        return functools.partial(function.func, *arguments, **function.keywords)
    return _at_slot(function, new)


def _at_slot(function: Any, view: Any) -> Any:
    """Wrap a function that calls the layer itself (a closure, an object) to use the view's slot.

    A closure cannot be bound to the view, so the layer has the view's index while it runs.
    """
    origin, own = view._origin, view._index

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        fields_and_names = [
            (part.__dict__, name)
            for part in origin.modules()
            for name in INDEX_NAMES
            if part.__dict__.get(name) == own and not isinstance(part.__dict__[name], bool)
        ]
        for fields, name in fields_and_names:
            fields[name] = view._slot
        try:
            return function(*args, **kwargs)
        finally:
            for fields, name in fields_and_names:
                fields[name] = own

    return call
