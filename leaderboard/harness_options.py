"""Effects of lm-eval options on a result, read from lm-eval's result dictionary or file.

Options that change the questions go into a task's ``prompting``, those that change numerics into a
record's ``settings``, and those that change the weights into its model.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from ..core.lm_eval_options import IN_RESULTS, OPTIONS, OWN

NAMES = ("pretrained", "model", "path", "engine")  # lm-eval's arguments for the model's name
SECRET = re.compile("key|secret|password|header|auth|credential|_token$", re.IGNORECASE)
# options with result fields of their own
SEPARATE = ("apply_chat_template", "system_instruction", "fewshot_as_multiturn")
SHORT = 60  # characters; longer values are shown by their hash


def prompting_options(results: dict[str, Any], draws: bool) -> list[str]:
    """Describe the options that change prompts, one text each.

    Args:
        results: result dictionary of lm-eval.
        draws: whether few-shot examples are drawn.
    """
    parts = []
    for what in ("chat_template", "system_instruction"):
        if found := results.get(f"{what}_sha"):
            parts.append(f"{what.replace('_', ' ')} {str(found)[:12]}")
    if results.get("fewshot_as_multiturn") and results.get("chat_template_sha"):
        parts.append("shots as turns")
    options = _options(results)
    if draws and isinstance(count := _dict(results.get("growloop")).get("processes"), int):
        parts.append(f"shots drawn by {count} processes")
    for name, option in OPTIONS.items():
        if option.effect != "prompt" or name not in options or name in SEPARATE:
            continue
        if draws or name != "fewshot_random_seed":
            parts.append(f"{name.replace('_', ' ')} {_shown(options[name])}")
    return parts


def record_fields(results: dict[str, Any], draws: bool = True) -> dict[str, Any]:
    """Return the fields of a record that describe the measurement, from lm-eval's results.

    Args:
        results: result dictionary of lm-eval.
        draws: whether few-shot examples are drawn.

    Returns:
        ``{"prompting": line or None, "settings": {...}, "revision": …, "changes": …, "dtype": …,
        "device": …, "backend": …}``.
    """
    options = _options(results)
    config = _dict(results.get("config"))
    changed = [
        name if value is True else f"{name} {_shown(value)}"
        for name, value in options.items()
        if name in OPTIONS and OPTIONS[name].effect == "model" and name != "revision"
    ]
    dtype = config.get("dtype") or config.get("model_dtype")
    device = config.get("device") or model_args(config).get("device")
    backend = str(_dict(results.get("growloop")).get("backend") or config.get("model") or "")
    return {
        "prompting": ", ".join(prompting_options(results, draws)) or None,
        "settings": {
            name: value if isinstance(value, (bool, int, float)) else _shown(value)
            for name, value in options.items()
            if name not in OPTIONS or OPTIONS[name].effect == "run"
        },
        "revision": str(config.get("model_sha") or options.get("revision") or "") or None,
        "changes": ", ".join(changed) or None,
        "dtype": str(dtype).removeprefix("torch.") if dtype else None,
        "device": str(device) if device else None,
        "backend": backend if re.fullmatch(r"\w[\w.-]{0,50}", backend) else None,
    }


def _options(results: dict[str, Any]) -> dict[str, Any]:
    """Return options that affect numbers and differ from their defaults, by lm-eval's names."""
    config = _dict(results.get("config"))
    found: dict[str, Any] = {}
    for name, value in model_args(config).items():
        if name in OWN or name in NAMES or value in (None, "") or not isinstance(name, str):
            continue
        if name not in OPTIONS:  # of a backend other than hf
            found |= {} if SECRET.search(name) else {name: value}
        elif OPTIONS[name].effect != "nothing" and value != OPTIONS[name].default:
            found[name] = value
    for name, key in IN_RESULTS.items():
        if key in config and config[key] != OPTIONS[name].default:
            found[name] = config[key]
    return found | _dict(_dict(results.get("growloop")).get("options"))


def model_args(config: dict[str, Any]) -> dict[str, Any]:
    """Return lm-eval's model arguments, which its results hold as a mapping or a text.

    >>> model_args({"model_args": "pretrained=gpt2,dtype=float32"})
    {'pretrained': 'gpt2', 'dtype': 'float32'}
    """
    arguments = config.get("model_args")
    if isinstance(arguments, str):
        pairs = (pair.partition("=")[::2] for pair in arguments.split(","))
        return {name.strip(): _read(value.strip()) for name, value in pairs}
    return _dict(arguments)


def _read(text: str) -> Any:
    """Convert a text to a boolean, None or an integer where it is one."""
    if text.lower() in ("true", "false", "none"):
        return {"true": True, "false": False, "none": None}[text.lower()]
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else text


def _shown(value: Any) -> str:
    """Format a value in one line; a long one by its hash."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    plain = " ".join(text.split())
    return plain if plain == text and len(text) <= SHORT else f"sha256 {sha(text)[:12]}"


def sha(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _dict(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}
