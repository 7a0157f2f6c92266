"""Damage to a file: bytes or fields changed, or something else where the file was."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEEP: Any = json.loads("[" * 900 + "]" * 900)
ODD: tuple[Any, ...] = (
    None, "", " ", "x", "..", "../../x", "/", "\ud800", "\0", "a" * 5000, "{{ 7 * 7 }}",
    "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "2026-02-31", "1e400", "nan",
    True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**15, 10**400, 1.5, -0.0, 1e-320, 1.7e308,
    -1.7e308, float("nan"), float("inf"), [], [[]], {}, {"": {}}, DEEP,
)  # fmt: skip


def damage(path: Path, rng: random.Random) -> str:
    """Change a file; what was done to it."""
    content = path.read_bytes()
    ways: list[Callable[[bytes, random.Random], bytes]] = [_cut, _flip, _insert, _repeat, _drop]
    ways += [_whole]
    if path.suffix in (".json", ".jsonl", ".yaml"):
        ways += [_structured] * 10
    if path.suffix == ".safetensors":
        ways += [_header] * 4
    way = rng.choice(ways)
    try:
        changed = way(content, rng)
    except (ValueError, UnicodeError, RecursionError):
        way, changed = _flip, _flip(content, rng)
    path.write_bytes(changed)
    return way.__name__[1:]


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randint(0, len(content))]


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(rng.choice([1, 1, 4, 32])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _insert(content: bytes, rng: random.Random) -> bytes:
    odd = [b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\n", b"\r", b"\n\n", b"[" * 50_000, b"{", b'"']
    odd += [b"\xed\xa0\x80", b"NaN", b"9" * 5000, b"\xe2\x80\xa8", b"&a *a", b"!!python/object "]
    place = rng.choice([0, len(content), rng.randint(0, len(content))])
    return content[:place] + rng.choice(odd) + content[place:]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    start, stop = sorted(rng.randint(0, len(content)) for _ in range(2))
    return content[:stop] + content[start:stop][:100_000] + content[stop:]


def _drop(content: bytes, rng: random.Random) -> bytes:
    start, stop = sorted(rng.randint(0, len(content)) for _ in range(2))
    return content[:start] + content[stop:]


def _whole(content: bytes, rng: random.Random) -> bytes:
    return rng.choice([b"", b"\n", b"null", b"[]", b"{}", b"0", b"PAR1", rng.randbytes(200)])


def _structured(content: bytes, rng: random.Random) -> bytes:
    """Another value, a missing or an unknown field, or a field twice, at a random place."""
    import yaml

    text = content.decode()
    lines = text.splitlines()
    if len(lines) > 1 and all(line.startswith("{") for line in lines):  # JSON lines
        i = rng.randrange(len(lines))
        lines[i] = _structured(lines[i].encode(), rng).decode("utf-8", "surrogatepass").strip()
        return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
    is_json = text.lstrip().startswith(("{", "["))
    data = json.loads(text) if is_json else yaml.safe_load(text)
    data = copy.deepcopy(data)
    places = _places(data)
    if not places:
        return _whole(content, rng)
    holder, key = rng.choice(places)
    action = rng.choice(["odd", "odd", "odd", "drop", "add", "swap"])
    if action == "odd":
        holder[key] = rng.choice(ODD)
    elif action == "drop":
        del holder[key]
    elif action == "swap":
        other, name = rng.choice(places)
        holder[key] = copy.deepcopy(other[name])
    elif isinstance(holder, dict):
        holder[rng.choice(["x", "", "__class__", "\ud800", str(key) + " "])] = rng.choice(ODD)
    else:
        holder.append(rng.choice(ODD))
    changed = json.dumps(data)
    if rng.random() < 0.1:  # a field twice
        changed = changed.replace("{", '{"version": 1, "version": 2, ', 1)
    return changed.encode("utf-8", "surrogatepass")


def _header(content: bytes, rng: random.Random) -> bytes:
    """Another header of a safetensors file."""
    size = int.from_bytes(content[:8], "little")
    header = _structured(content[8 : 8 + size], rng)
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def _places(data: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    pending = [data]
    while pending:
        part = pending.pop()
        keys = (
            list(part)
            if isinstance(part, dict)
            else range(len(part))
            if isinstance(part, list)
            else ()
        )
        for key in keys:
            found.append((part, key))
            pending.append(part[key])
    return found


def misplace(path: Path, rng: random.Random) -> str:
    """Put something else where a file was; what."""
    kind = rng.choice(["gone", "folder", "dangling link", "loop", "pipe"])
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "pipe":
        kind = "empty"
        path.touch()
    return kind
