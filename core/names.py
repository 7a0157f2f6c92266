"""Check of names that become part of a path, such as the run name in a run file."""

from __future__ import annotations

import re

MOST = 150  # most characters: file systems allow 255 bytes, and suffixes and seeds are added
RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
PLAIN = re.compile(r"[\w.-]+")


def name_problem(name: object) -> str | None:
    """Describe why a name cannot be the name of a folder; None if it can.

    Allowed are letters of any script, digits, ``_``, ``-``, and ``.`` except at the ends. So a path
    never leaves its folder, and every file system can store the name.

    Returns:
        The end of a sentence that begins with the name.

    >>> name_problem("lidas-360m"), name_problem("..")
    (None, 'begins with a point')
    """
    if not isinstance(name, str):
        return "is not text"
    if not name:
        return "is empty"
    if len(name) > MOST or len(name.encode("utf-8", "replace")) > 200:
        return f"is longer than {MOST} characters"
    if not PLAIN.fullmatch(name):
        return "has characters other than letters, digits, _, - and ."
    if name[0] in ".-":
        return "begins with a point" if name[0] == "." else "begins with a dash"
    if name[-1] == ".":
        return "ends with a point"
    if RESERVED.fullmatch(name):
        return "is reserved by Windows"
    return None
