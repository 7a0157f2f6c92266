"""Strict YAML 1.2 (core schema) for run files and mixtures.

PyYAML reads YAML 1.1: ``020`` is 16, ``1:30`` is 90, ``no`` is false, ``1e-3`` is text, and the
last value of a repeated name wins.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from ...core.errors import InputError
from ...core.strict_json import DEPTH, StrictError, real, short, whole

MOST = 100_000  # most values in a file, after its anchors are expanded
_TAG = "tag:yaml.org,2002:"
_SCALARS = {  # core schema: tag -> (pattern, first characters of values)
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    "merge": (r"<<", ["<"]),  # not in the core schema; anchors are used with it
}


_Known = dict[int, tuple[int, int] | None]
"""Node id -> (values, levels) of the node; None while it is being counted."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}
    yaml_constructors: ClassVar[dict[str | None, Any]] = {
        _TAG + "null": yaml.SafeLoader.construct_yaml_null,
        _TAG + "bool": yaml.SafeLoader.construct_yaml_bool,
        _TAG + "int": lambda loader, node: _parse_int(loader.construct_scalar(node)),
        _TAG + "float": lambda loader, node: _parse_float(loader.construct_scalar(node)),
        _TAG + "str": yaml.SafeLoader.construct_yaml_str,
        _TAG + "seq": yaml.SafeLoader.construct_yaml_seq,
        _TAG + "map": yaml.SafeLoader.construct_yaml_map,
        None: lambda loader, node: _refuse_tag(node),
    }


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Dumper that quotes strings that YAML 1.1 or 1.2 would not read as strings."""


for _name, (_pattern, _first) in _SCALARS.items():
    _compiled = re.compile(rf"(?:{_pattern})\Z")
    _Loader.add_implicit_resolver(_TAG + _name, _compiled, _first)
    _Dumper.add_implicit_resolver(_TAG + _name, _compiled, _first)


def read_yaml_file(path: str | Path) -> Any:
    """Parse a YAML file.

    Raises:
        InputError: the file cannot be read, or as :func:`read_yaml`.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not YAML: byte {error.start} is not UTF-8") from error
    return read_yaml(text, str(path))


def read_yaml(text: str, where: str) -> Any:
    """Parse a YAML document.

    Args:
        where: file or field that the text comes from, for messages.

    Raises:
        InputError: the text is not YAML, a mapping has a name twice, a tag is not in the core
            schema, anchors expand to more than 100,000 values or contain themselves, there are more
            than 100 levels, or a number is out of bounds.

    >>> read_yaml("{steps: 020, lr: 1e-3, name: no, at: 1:30}", "run")
    {'steps': 20, 'lr': 0.001, 'name': 'no', 'at': '1:30'}
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _measure(node, where, loader, {})
        return loader.construct_document(node)
    except InputError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = where if mark is None else f"{where}, line {mark.line + 1}"
        raise InputError(f"{place}: not YAML: {short(str(error.problem))}") from error
    except yaml.YAMLError as error:  # an illegal character
        raise InputError(f"{where}: not YAML: {short(str(error).splitlines()[0])}") from error
    except RecursionError:
        raise InputError(f"{where}: it is nested more than {DEPTH} levels deep") from None
    except StrictError as error:
        raise InputError(f"{where}: {error}") from None
    except (ValueError, TypeError, LookupError, OverflowError) as error:  # such as !!int of a word
        raise InputError(f"{where}: not YAML: {short(str(error))}") from error


def write_yaml(value: Any, **style: Any) -> str:
    """Write YAML that both :func:`read_yaml` and YAML 1.1 parsers read as ``value``."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, **style)
    return text


def _measure(node: Any, where: str, loader: Any, known: _Known) -> tuple[int, int]:
    """Count the values and levels of a node, anchors expanded.

    Raises:
        InputError: a limit is exceeded, a name is repeated, or an anchor contains itself.
    """
    if (counted := known.get(id(node), (0, 0))) is None:
        raise InputError(f"{where}, line {node.start_mark.line + 1}: an anchor holds itself")
    if counted[0]:
        return counted
    known[id(node)] = None  # being counted
    children: list[Any] = []
    if isinstance(node, yaml.MappingNode):
        _check_names(node, where, loader)
        children = [child for pair in node.value for child in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    elif not node.value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in node.value):
        line = node.start_mark.line + 1
        raise InputError(f"{where}, line {line}: half of a surrogate pair is not a character")
    counts = [_measure(child, where, loader, known) for child in children]
    size = 1 + sum(values for values, _ in counts)
    levels = 1 + max((depth for _, depth in counts), default=0)
    if size > MOST:
        raise InputError(f"{where}: its anchors stand for more than {MOST:,} values")
    if levels > DEPTH:
        raise InputError(f"{where}: it is nested more than {DEPTH} levels deep")
    known[id(node)] = size, levels
    return size, levels


def _check_names(node: Any, where: str, loader: Any) -> None:
    lines: dict[Any, int] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            name = key.value if key.tag == _TAG + "merge" else loader.construct_object(key)
            line = key.start_mark.line + 1
            if name in lines:
                raise InputError(
                    f"{where}: {short(key.value)} is given twice, in line {lines[name]} and "
                    f"in line {line}"
                )
            lines[name] = line


def _refuse_tag(node: Any) -> Any:
    tag = node.tag.replace(_TAG, "!!")
    raise yaml.constructor.ConstructorError(
        problem=f"{short(tag)} is not a tag of YAML's core schema", problem_mark=node.start_mark
    )


def _parse_int(text: str) -> int:
    return whole(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _parse_float(text: str) -> float:
    return real(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
