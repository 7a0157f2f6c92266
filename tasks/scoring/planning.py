"""Which lm-eval tasks and groups the names stand for that a user gave."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.errors import InputError, shown
from ...primitives import STANDARD, Source, Task
from ...primitives.uniqueness import check_capacity
from ..catalog import GROUPS, PATH, check_params, resolve
from ..documents import config, pool_size
from ..results import AT
from ..trust import refuse_code, sandbox


class Plan:
    """The lm-eval tasks and groups behind the names a user gave."""

    def __init__(self, params: Mapping[str, object]) -> None:
        self.params = params
        self.ours: dict[str, Task] = {}
        self.groups: dict[str, list[str]] = {}
        self.theirs: list[str] = []

    def add(self, name: str) -> None:
        """Note a task, a group or a name of lm-eval's."""
        group, *pairs = name.split(":")
        if group in GROUPS:
            label = ":".join([group, *pairs, *(f"{k}={v}" for k, v in self.params.items())])
            given = dict(pair.partition("=")[::2] for pair in pairs)
            check_params(given)
            members = [self._add(member, given) for member in GROUPS[group]]
            if len(set(members)) < len(members):
                raise InputError(f"with these parameters two tasks of {group} are the same")
            self.groups[label] = members
        elif found := fnmatch.filter(STANDARD, name) if set(name) & set("*?[") else []:
            for member in found:
                self.add(member)
        elif (task := resolve(name, self.params)) is not None:
            self.ours[task.label] = task
        else:
            self.theirs.append(name)

    def check(self) -> None:
        """Refuse what lm-eval could not tell apart, and parameters that nothing here has."""
        grouped = [member for members in self.groups.values() for member in members]
        if len(set(grouped)) < len(grouped):
            raise InputError("two of the groups share a task: score them one after the other")
        known = {
            field.name
            for task in self.ours.values()
            for field in dataclasses.fields(task)  # type: ignore[arg-type]
        }
        for name in self.params:
            if name not in known:
                raise InputError(f"none of the chosen tasks has a parameter {shown(name)}")

    def _add(self, member: str, given: Mapping[str, object]) -> str:
        task = resolve(member, {**self.params, **given})
        assert task is not None  # groups name our tasks only
        self.ours[task.label] = task
        return task.label

    def build(
        self, count: int, seed: int, shots: int, fixed: bool, curve: Sequence[int] = ()
    ) -> list[Any]:
        """Our part of what ``lm_eval.simple_evaluate`` takes: groups, and tasks in none.

        Args:
            count, seed, shots, fixed: as the task's configuration says.
            curve: numbers of examples; everything is built once for each, as ``name@number``.
        """
        from lm_eval.api.group import AggMetricConfig, Group

        mean = AggMetricConfig(metric="acc", aggregation="mean", weight_by_size=False)
        found: list[Any] = []
        points: Sequence[int | None] = curve or [None]
        for point in points:
            suffix = "" if point is None else f"{AT}{point}"
            built: dict[str, Any] = {}
            for label, task in self.ours.items():
                fields = config(task, count, seed, fixed, shots)
                built[label] = _task(fields | {"task": label + suffix}, point, fixed)
            grouped: set[str] = set()
            for label, members in self.groups.items():
                group = Group(label + suffix, aggregate_metric_list=[mean], metadata={"version": 1})
                for member in members:
                    group.add(built[member])
                grouped |= set(members)
                found.append(group)
            found += [task for label, task in built.items() if label not in grouped]
        return found


def _task(fields: dict[str, Any], shots: int | None, fixed: bool) -> Any:
    """A task of lm-eval's; in a curve, with so many of its own examples."""
    from lm_eval.api.task import ConfigurableTask

    from ..shots import NestedSampler, NestedTask

    if shots is None:
        return ConfigurableTask(config=fields)
    if not fixed:
        fields["fewshot_config"] = {**fields["fewshot_config"], "sampler": NestedSampler}
    return NestedTask(config=fields | {"num_fewshot": shots})


def their_tasks(
    names: list[str], metadata: dict[str, Any], trust_code: bool = False
) -> tuple[Any, list[str]]:
    """lm-eval's task manager, and its names among ``names``, patterns expanded.

    Args:
        trust_code: whether task files among ``names`` may run code.

    Raises:
        InputError: an unknown task; a file that names code and is not trusted.
    """
    from lm_eval.tasks import TaskManager

    files = [name for name in names if Path(name).is_file()]
    if not trust_code:
        refuse_code(files)
    sandbox(trusted=trust_code or not files)
    manager = TaskManager(include_path=str(PATH), metadata=metadata)
    found: list[str] = []
    for name in names:
        matching = [name] if name in files else manager.match_tasks([name])
        if not matching:
            raise unknown_task(name, manager.all_tasks)
        found += matching
    return manager, found


def no_tasks() -> Any:
    """A task manager that knows no names: indexing lm-eval's thousands takes a while."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_defaults=False)


def unknown_task(name: str, known: Sequence[str]) -> InputError:
    """The sentence for a task that neither we nor lm-eval have."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=3, cutoff=0.6)
    hint = f" did you mean {' or '.join(near)}?" if near else ""
    return InputError(f"unknown task '{name}':{hint} (growloop tasks lists ours)")


def check_sizes(tasks: Sequence[Task], count: int, seed: int, shots: int) -> None:
    """Refuse what a task has too few items for, before the slow part."""
    for task in tasks:
        check_capacity(Source(task, "test", seed), count)
        if shots >= (pool := pool_size(task, shots)):
            raise InputError(f"{task.label} has {pool} examples to draw shots from, not {shots}")
