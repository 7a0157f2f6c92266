"""Schedules as mergekit ``passthrough`` configurations.

mergekit stacks copies of layer ranges of a model, ends excluded. A configuration of one model is a
schedule: growloop shares the layers that mergekit copies.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...core.errors import InputError, shown
from ...core.schedule import Schedule
from ..training.yaml_text import read_yaml, write_yaml

IGNORED = {"dtype", "out_dtype", "tokenizer_source", "tokenizer", "chat_template", "base_model"}
"""Fields that decide no layer."""


def write_mergekit(schedule: Schedule, model: str, dtype: str = "bfloat16") -> str:
    """Format a schedule as a configuration that ``mergekit-yaml`` runs.

    Args:
        model: hub id or folder of the model.

    >>> print(write_mergekit(Schedule.parse("1-1x2-1"), "org/model"))
    slices:
    - sources:
      - model: org/model
        layer_range: [0, 2]
    - sources:
      - model: org/model
        layer_range: [1, 3]
    merge_method: passthrough
    dtype: bfloat16
    <BLANKLINE>
    """
    name = write_yaml(model).strip().removesuffix("...").strip()
    lines = ["slices:"]
    for start, stop in _runs(schedule.layers):
        lines += ["- sources:", f"  - model: {name}", f"    layer_range: [{start}, {stop}]"]
    return "\n".join([*lines, "merge_method: passthrough", f"dtype: {dtype}", ""])


def read_mergekit(path: str | Path) -> tuple[Schedule, str]:
    """Read a ``passthrough`` configuration of one model.

    Returns:
        The schedule, and the model that the configuration names.

    Raises:
        InputError: several models, another merge method, or layers that are changed, not stacked.
    """
    where = str(path)
    config = read_yaml(Path(path).read_text(encoding="utf-8"), where)
    if not isinstance(config, dict):
        raise InputError(f"{where} holds no configuration of mergekit")
    if config.get("merge_method") != "passthrough":
        raise InputError(f"{where}: only merge_method passthrough stacks layers, "
                         f"not {shown(config.get('merge_method'))}")  # fmt: skip
    if odd := sorted(map(str, config.keys() - {"merge_method", "slices", *IGNORED})):
        raise InputError(f"{where}: a schedule cannot express {', '.join(odd)}")
    slices = config.get("slices")
    if not isinstance(slices, list) or not slices:
        raise InputError(f"{where} has no slices")
    layers: list[int] = []
    models: list[str] = []
    for number, part in enumerate(slices):
        start, stop, model = _slice(part, f"{where}, slice {number + 1}")
        layers += range(start, stop)
        models.append(model)
    if len(set(models)) > 1:
        raise InputError(f"{where} stacks layers of {' and '.join(sorted(set(models)))}: a "
                         "schedule repeats layers of one model")  # fmt: skip
    return Schedule(tuple(layers)), models[0]


def _slice(part: Any, where: str) -> tuple[int, int, str]:
    """Return first layer, end and model of a slice."""
    sources = part.get("sources") if isinstance(part, dict) else None
    if not isinstance(sources, list) or len(sources) != 1 or not isinstance(sources[0], dict):
        raise InputError(f"{where}: one source is needed")
    [source] = sources
    extra = (part.keys() - {"sources"}) | (source.keys() - {"model", "layer_range"})
    if extra:
        raise InputError(f"{where}: a schedule cannot express {', '.join(sorted(map(str, extra)))}")
    model, ends = source.get("model"), source.get("layer_range")
    if isinstance(model, dict):  # mergekit's own dump: {model: {path: org/model}}
        model = model.get("model", {}).get("path") if isinstance(model.get("model"), dict) else None
    whole = isinstance(ends, list) and len(ends) == 2 and all(type(end) is int for end in ends)
    if not isinstance(model, str) or not whole or not 0 <= ends[0] < ends[1]:
        raise InputError(f"{where}: a model and a layer_range such as [0, 12] are needed")
    return ends[0], ends[1], model


def _runs(layers: tuple[int, ...]) -> list[tuple[int, int]]:
    """Divide layers into ascending runs ``(first, end)``."""
    runs: list[tuple[int, int]] = []
    for layer in layers:
        if runs and runs[-1][1] == layer:
            runs[-1] = runs[-1][0], layer + 1
        else:
            runs.append((layer, layer + 1))
    return runs
