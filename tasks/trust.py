"""Detection of code in task files: lm-eval's YAML format can run any.

A file is parsed to YAML nodes, which constructs and imports nothing. Tasks that come with lm-eval
or growloop are trusted, so a file that includes one of them may use its code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.strict_json import short
from .catalog import PATH

FLAG = "--trust-task-code"
TAG = "tag:yaml.org,2002:"
PLAIN = {TAG + name for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}
PICKLES = ("pandas",)  # data set loaders that may run code from their files
LARGEST = 2**22  # bytes of a task file
MOST = 100_000  # values of a file with its anchors expanded
DEPTH = 100


def refuse_code(files: Sequence[str]) -> None:
    """Refuse task files that name code, before lm-eval reads them.

    Args:
        files: paths of task files.

    Raises:
        InputError: a file names code (the message has the code and the flag that trusts it), or
            cannot be read.
    """
    for file in files:
        seen: set[Path] = set()
        waiting = [Path(file)]
        while waiting:
            path = waiting.pop().expanduser().resolve()
            if path in seen or is_trusted(path):
                continue
            seen.add(path)
            found = list(_nodes(_root(path), path))
            if reason := next(filter(None, (_code(key, node) for key, node in found)), None):
                raise InputError(
                    f"{path} names code ({reason}), which would run here: give {FLAG} if you trust "
                    "the file"
                )
            for key, node in found:
                if key == "include":
                    waiting += [path.parent / part for part in _texts(node, path)]


def sandbox(trusted: bool) -> None:
    """Make lm-eval render templates in Jinja2's sandbox, unless they are trusted.

    Outside of the sandbox, a template can run any code.
    """
    from jinja2 import BaseLoader, Environment, StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment
    from lm_eval import utils

    kind = Environment if trusted else SandboxedEnvironment
    env = kind(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
    env.filters["regex_replace"] = utils.regex_replace
    utils.env = env


def is_trusted(path: str | Path) -> bool:
    """Return whether a file is part of the installed lm-eval or growloop."""
    import lm_eval.tasks

    own = Path(lm_eval.tasks.__file__).resolve().parent, PATH.resolve()
    path = Path(path).resolve()
    return any(path.is_relative_to(folder) for folder in own)


def _root(path: Path) -> Any:
    import yaml  # an extra brings it

    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path} has more than {LARGEST >> 20} MiB: no task file has")
        return yaml.compose(path.read_bytes(), Loader=yaml.SafeLoader)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except RecursionError:
        raise InputError(f"{path}: it is nested more than {DEPTH} levels deep") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise InputError(f"{path}: not YAML: {short(str(reason))}") from error


def _nodes(root: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield (key, node) for every node, once per key whatever the number of aliases."""
    sizes: dict[int, tuple[int, int] | None] = {}
    if root is not None:
        _bounded(root, path, sizes)
    seen: set[tuple[str, int]] = set()
    waiting = [("", root)]
    while waiting:
        key, node = waiting.pop()
        if node is None or (key, id(node)) in seen:
            continue
        seen.add((key, id(node)))
        yield key, node
        if node.id == "mapping":
            for name, value in node.value:
                waiting += [("", name), (name.value if _is_text(name) else "", value)]
        elif node.id == "sequence":
            waiting += [(key, value) for value in node.value]


def _bounded(node: Any, path: Path, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Return the number of values below a node, with aliases expanded, and of levels.

    Raises:
        InputError: the file has more than ``MOST`` values or ``DEPTH`` levels.
    """
    if (counted := known.get(id(node), (0, 0))) is None:
        raise InputError(f"{path}: an anchor holds itself")
    if counted[0]:
        return counted
    known[id(node)] = None
    inside: list[Any] = []
    if node.id == "mapping":
        inside = [part for pair in node.value for part in pair]
    elif node.id == "sequence":
        inside = node.value
    parts = [_bounded(part, path, known) for part in inside]
    size, levels = 1 + sum(n for n, _ in parts), 1 + max((n for _, n in parts), default=0)
    if size > MOST:
        raise InputError(f"{path}: its anchors stand for more than {MOST:,} values")
    if levels > DEPTH:
        raise InputError(f"{path}: it is nested more than {DEPTH} levels deep")
    known[id(node)] = size, levels
    return size, levels


def _code(key: str, node: Any) -> str | None:
    """Return the code that a node names, or None."""
    if node.tag not in PLAIN:
        value = f" {short(node.value)}" if _is_text(node) else ""
        return f"{short(node.tag.replace(TAG, '!!'))}{value}"
    if not _is_text(node):
        return None
    value = node.value
    if key in ("trust_remote_code", "hf_evaluate") and value.lower() not in ("false", "no", "off"):
        return f"{key}: {short(value)}"
    if key == "dataset_path" and (value in PICKLES or _scripted(Path(value))):
        return f"{key}: {short(value)}"
    if key == "metric" and value not in _metrics():
        return f"metric: {short(value)}, which is none of lm-eval's own"
    return None


def _scripted(path: Path) -> bool:
    """Return whether a data set is a script or has some, which old versions of datasets run."""
    return path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py")))


def _metrics() -> set[str]:
    """Return lm-eval's own metrics; other names are scripts, in a folder or on the hub."""
    import lm_eval.api.metrics  # noqa: F401  (registers them)
    from lm_eval.api.registry import metric_registry

    return set(metric_registry)


def _texts(node: Any, path: Path) -> list[str]:
    parts = node.value if node.id == "sequence" else [node]
    if not all(map(_is_text, parts)):
        raise InputError(f"{path}: include takes the paths of files")
    return [part.value for part in parts]


def _is_text(node: Any) -> bool:
    return bool(node.id == "scalar")
