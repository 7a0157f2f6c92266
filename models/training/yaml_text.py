"""YAML as people write it in run files and mixtures: the core schema of YAML 1.2, strictly.

PyYAML reads YAML 1.1, in which ``020`` is 16, ``1:30`` is 90, ``no`` is false, ``1e-3`` is text,
and of a name that comes twice the last value counts.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

from ...core.errors import InputError
from ...core.strict_json import DEPTH, StrictError, real, short, whole

MOST = 100_000  # values that a file may stand for, its anchors written out
_TAG = "tag:yaml.org,2002:"
_SCALARS = {  # the core schema: tag to pattern, and the characters that values begin with
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    "merge": (r"<<", ["<"]),  # not of the core schema, but what anchors are used for
}


_Known = dict[int, tuple[int, int] | None]
"""Size and levels of a node by its id; None while it is being counted."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}
    yaml_constructors: ClassVar[dict[str | None, Any]] = {
        _TAG + "null": yaml.SafeLoader.construct_yaml_null,
        _TAG + "bool": yaml.SafeLoader.construct_yaml_bool,
        _TAG + "int": lambda loader, node: _whole(loader.construct_scalar(node)),
        _TAG + "float": lambda loader, node: _float(loader.construct_scalar(node)),
        _TAG + "str": yaml.SafeLoader.construct_yaml_str,
        _TAG + "seq": yaml.SafeLoader.construct_yaml_seq,
        _TAG + "map": yaml.SafeLoader.construct_yaml_map,
        None: lambda loader, node: _refuse(node),
    }


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Quotes what either version of YAML would not read as text."""


for _name, (_pattern, _begins) in _SCALARS.items():
    _reads = re.compile(rf"(?:{_pattern})\Z")
    _Loader.add_implicit_resolver(_TAG + _name, _reads, _begins)
    _Dumper.add_implicit_resolver(_TAG + _name, _reads, _begins)


def read_yaml(text: str, where: str) -> Any:
    """The value of a YAML document.

    Args:
        where: what a message calls the text: a file, or a field.

    Raises:
        InputError: text that is not YAML, a name given twice in a mapping, a tag of another
            schema, anchors that stand for more than 100,000 values or hold themselves, more than
            100 levels, a number out of bounds.

    >>> read_yaml("{steps: 020, lr: 1e-3, name: no, at: 1:30}", "run")
    {'steps': 20, 'lr': 0.001, 'name': 'no', 'at': '1:30'}
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _size(node, where, loader, {})
        return loader.construct_document(node)
    except InputError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = where if mark is None else f"{where}, line {mark.line + 1}"
        raise InputError(f"{place}: not YAML: {short(str(error.problem))}") from error
    except yaml.YAMLError as error:  # a character that is not allowed
        raise InputError(f"{where}: not YAML: {short(str(error).splitlines()[0])}") from error
    except RecursionError:
        raise InputError(f"{where}: it is nested more than {DEPTH} levels deep") from None
    except StrictError as error:
        raise InputError(f"{where}: {error}") from None
    except (ValueError, TypeError, LookupError, OverflowError) as error:  # !!int of a word, say
        raise InputError(f"{where}: not YAML: {short(str(error))}") from error


def write_yaml(value: Any, **style: Any) -> str:
    """YAML that :func:`read_yaml`, and readers of YAML 1.1, read as ``value``."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, **style)
    return text


def _size(node: Any, where: str, loader: Any, known: _Known) -> tuple[int, int]:
    """Values that a node stands for, and levels in it; refuses names given twice."""
    if (counted := known.get(id(node), (0, 0))) is None:
        raise InputError(f"{where}, line {node.start_mark.line + 1}: an anchor holds itself")
    if counted[0]:
        return counted
    known[id(node)] = None  # being counted
    inside: list[Any] = []
    if isinstance(node, yaml.MappingNode):
        _check_names(node, where, loader)
        inside = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        inside = node.value
    elif not node.value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in node.value):
        line = node.start_mark.line + 1
        raise InputError(f"{where}, line {line}: half of a surrogate pair is no character")
    parts = [_size(part, where, loader, known) for part in inside]
    size = 1 + sum(part for part, _ in parts)
    levels = 1 + max((part for _, part in parts), default=0)
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


def _refuse(node: Any) -> Any:
    tag = node.tag.replace(_TAG, "!!")
    raise yaml.constructor.ConstructorError(
        problem=f"{short(tag)} is no tag of YAML's core schema", problem_mark=node.start_mark
    )


def _whole(text: str) -> int:
    return whole(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _float(text: str) -> float:
    return real(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
