"""Growth maps: the old layer that each layer of a deeper model is copied from.

Every growth operator of the literature is such a list. ``growth_map("lidas", 8)`` grows 8 layers to
12 as ``0-5,2-7``, in short ``2-4x2-2``. ``grow.py`` applies it to a model and its optimizer.
An operator is a name in ``OPERATORS`` (``registry.py``), a function, its ``module:function``, or a
list of layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...core.errors import InputError, shown, whole
from ...core.plugins import PluginError, problem
from ...core.schedule import Schedule
from .registry import check_options, find_operator, name_of


@dataclass(frozen=True)
class GrowthMap:
    """Source layer of each new layer.

    Args:
        sources: old layer indices, one per new layer.
        zeroed: new layers whose output weights are set to zero, so that they change nothing at
            first.
        name: name of the operator.

    >>> growth_map("lidas", 8).sources
    (0, 1, 2, 3, 4, 5, 2, 3, 4, 5, 6, 7)
    >>> str(growth_map("solar", 32, drop=8))
    '8-16x2-8'
    """

    sources: tuple[int, ...]
    zeroed: tuple[int, ...] = ()
    name: str = field(default="map", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", Schedule(tuple(self.sources)).layers)
        for place in self.zeroed:
            whole("a zeroed layer", place, 0, len(self.sources) - 1)

    @property
    def needs(self) -> int:
        """Number of layers the old model must have."""
        return max(self.sources) + 1

    def __len__(self) -> int:
        return len(self.sources)

    def __str__(self) -> str:
        """Format in the notation of schedules."""
        return str(Schedule(self.sources))


DEEPEST = 10_000  # layers that a model may grow to
Operator = str | GrowthMap | Schedule | Sequence[int] | Callable[..., Any]
"""Growth operator: a name, ``module:function``, a function, or a list of source layers."""


def growth_map(operator: Operator, depth: int, **options: int | str) -> GrowthMap:
    """Return the growth map of an operator for a model of ``depth`` layers.

    Args:
        operator: a name in ``OPERATORS``; a function from a depth to a :class:`GrowthMap` or a list
            of source layers, or its ``module:function``; or any list of source layers, as a
            sequence or in the notation of schedules.
        depth: number of layers of the model.
        options: options of the operator: ``block_size``, ``order``, ``times``, ``drop``.

    Raises:
        InputError: an unknown operator or option, a depth that is not a multiple of the block, or a
            list that names layers the model does not have, or is shorter than the model.

    >>> str(growth_map(lambda depth: [*range(depth), depth - 1], 4))
    '3-1x2'
    """
    whole("the depth", depth, 1)
    check_operator(operator, options)
    if (function := find_operator(operator)) is not None:
        growth = _called(function, name_of(operator), depth, options)
    elif isinstance(operator, GrowthMap):
        growth = operator
    elif isinstance(operator, str):
        growth = GrowthMap(Schedule.parse(operator).layers)
    elif isinstance(operator, Schedule):
        growth = GrowthMap(operator.layers)
    else:
        growth = GrowthMap(tuple(operator))  # type: ignore[arg-type]
    if len(growth) < depth and not isinstance(operator, GrowthMap):
        raise InputError(
            f"the map {growth} makes {len(growth)} layers of {depth}, but growth removes none: "
            "to run only some layers, give a schedule"
        )
    if growth.needs > depth:
        raise InputError(f"the map {growth} needs {growth.needs} layers, the model has {depth}")
    return growth


def _called(
    function: Callable[..., Any], name: str, depth: int, options: dict[str, int | str]
) -> GrowthMap:
    """Call an operator, and convert its result to a map of its name."""
    try:
        result = function(depth, **options)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"the growth operator {name} refuses {depth} layers: {error}") from error
    except Exception as error:  # code of others raises anything
        raise PluginError(
            f"the growth operator {name} failed for {depth} layers: {problem(error)}"
        ) from error
    if isinstance(result, Schedule):
        result = result.layers
    if isinstance(result, Iterable) and not isinstance(result, (GrowthMap, str, bytes)):
        result = list(result)
        if all(isinstance(layer, int) and not isinstance(layer, bool) for layer in result):
            result = GrowthMap(tuple(result))
    if not isinstance(result, GrowthMap):
        raise InputError(
            f"the growth operator {name} returns a GrowthMap or a list of source layers, not "
            f"{shown(result)}"
        )
    return replace(result, name=name)


def check_operator(operator: object, options: Iterable[str] = ()) -> None:
    """Refuse an unknown operator or option, whatever the depth of the model.

    Raises:
        InputError: with the known ones.
    """
    function = find_operator(operator)
    if function is not None:
        check_options(function, name_of(operator), options)
        return
    if isinstance(operator, str):
        Schedule.parse(operator)  # may be two blocks or a range
    elif not isinstance(operator, (GrowthMap, Schedule, Sequence)):
        raise InputError(
            f"an operator is a name, a function or a list of layers, not {shown(operator)}"
        )
    for name in options:
        raise InputError(f"a list of source layers takes no {name}")


def growth_maps(
    operator: Operator, depth: int, target: int, **options: int | str
) -> list[GrowthMap]:
    """Return the growth steps from ``depth`` layers to ``target``, in order.

    A list of source layers is one step.

    >>> [str(step) for step in growth_maps("lidas", 4, 12)]
    ['4x2', '2-4x2-2']

    Raises:
        InputError: a target that no number of steps reaches.
    """
    whole("the depth to reach", target, 1, DEEPEST)
    if find_operator(operator) is None:
        step = growth_map(operator, depth, **options)
        if len(step) != target:
            raise InputError(f"the map {step} makes {len(step)} layers of {depth}, not {target}")
        return [step] if target > depth else []
    maps: list[GrowthMap] = []
    reached = [depth]
    while reached[-1] < target:
        maps.append(growth_map(operator, reached[-1], **options))
        if len(maps[-1]) <= reached[-1]:
            raise InputError(f"{name_of(operator)} does not grow {reached[-1]} layers")
        reached.append(len(maps[-1]))
    if reached[-1] != target:
        near = " and ".join(str(n) for n in reached[-2:])
        raise InputError(
            f"{name_of(operator)} does not reach {target} layers from {depth}: the nearest are "
            f"{near}"
        )
    return maps
