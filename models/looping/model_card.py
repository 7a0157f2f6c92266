"""Model card of a checkpoint: what runs, how it was grown, what it costs, what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.files import write_atomically
from ..costs import cost
from .config import current_schedule

CARD = "README.md"
TAGS = ("growloop", "looped-transformer")


def model_card(
    model: Any,
    name: str,
    *,
    command: str = "",
    records: Sequence[Mapping[str, Any]] = (),
    tags: Sequence[str] = (),
    self_contained: bool = True,
) -> str:
    """Write the card of a model as Markdown.

    Args:
        model: the loaded model.
        name: name of the repository or folder.
        command: command that made the model.
        records: rows of :func:`growloop.leaderboard.load`: ``task``, ``metric``, ``value``, and
            where known ``shots``, ``n``, ``low`` and ``high``.
        tags: further tags of the hub.
        self_contained: whether the code lies beside the weights.
    """
    parts = [_header([*TAGS, *tags]), f"# {name}", _opening(model), _loading(name, self_contained)]
    parts += [_costs(model), _growth(model), _records(records)]
    if command:
        parts.append(f"## Made by\n\n```bash\n{command}\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def write_card(model: Any, folder: str | Path, name: str, **options: Any) -> Path:
    """Write the card into the folder of a checkpoint.

    Args: as of :func:`model_card`.
    """
    path = Path(folder) / CARD
    write_atomically(path, model_card(model, name, **options).encode())
    return path


def _header(tags: Sequence[str]) -> str:
    fields = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    lines = [f"{key}: {value}" for key, value in fields.items()]
    lines += ["tags:", *(f"- {json.dumps(tag)}" for tag in dict.fromkeys(tags))]
    return "\n".join(["---", *lines, "---"])


def _opening(model: Any) -> str:
    schedule = current_schedule(model)
    return (
        f"A {type(model).__name__} of {schedule.num_unique_layers} unique layers that runs "
        f"{schedule.effective_depth} steps, by the schedule `{schedule}`. The layers in the order "
        f"in which they run: `{' '.join(map(str, schedule.layers))}`."
    )


def _loading(name: str, self_contained: bool) -> str:
    extra = ", trust_remote_code=True" if self_contained else ""
    about = (
        "The code beside the weights needs torch and transformers alone."
        if self_contained
        else "It needs growloop."
    )
    first = "" if self_contained else "import growloop.models\n"
    return (
        f"## Use\n\n{about}\n\n```python\n{first}from transformers import AutoModelForCausalLM\n\n"
        f"model = AutoModelForCausalLM.from_pretrained({json.dumps(name)}{extra})\n```"
    )


def _costs(model: Any) -> str:
    try:
        costs = cost(model)
    except InputError:  # no stack of layers that could loop
        return ""
    rows = {
        "unique parameters": f"{costs.unique_parameters:,}",
        "parameters, each layer counted as often as it runs": f"{costs.effective_parameters:,}",
        f"FLOPs a token (forward, {costs.seq_len:,} tokens)": f"{costs.forward_flops:.3g}",
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(["## Costs", "", "| | |", "|---|---:|", *lines])


def _growth(model: Any) -> str:
    history = getattr(model.config, "growth_history", None) or []
    if not history:
        return ""
    lines = [
        f"{number}. {step['operator']}: {step['from']} to {step['to']} layers, from the layers "
        f"`{step.get('sources', '')}`"
        for number, step in enumerate(history, 1)
    ]
    return "\n".join(["## Growth", "", *lines])


def _records(records: Sequence[Mapping[str, Any]]) -> str:
    if not records:
        return ""
    lines = ["## Measured", "", "| task | shots | metric | value | 95 % interval | n |"]
    lines.append("|---|---:|---|---:|---|---:|")
    for row in records:
        low, high = row.get("low"), row.get("high")
        interval = "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
        shots, n = ("" if row.get(key) is None else f"{row[key]:,}" for key in ("shots", "n"))
        name, metric = (str(row[key]).replace("|", "\\|") for key in ("task", "metric"))
        lines.append(f"| {name} | {shots} | {metric} | {row['value']:.4f} | {interval} | {n} |")
    return "\n".join(lines)
