"""Names that become part of a path: one check, wherever a file says what a folder is called."""

from __future__ import annotations

import re

MOST = 150  # characters: a file system allows 255 bytes, endings and seeds are added to a name
RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
PLAIN = re.compile(r"[\w.-]+")


def name_problem(name: object) -> str | None:
    """What keeps a name from being the name of a folder, as the end of a sentence; or None.

    Letters of any script, digits, ``_``, ``-`` and ``.`` are allowed, a point not at the ends; so
    a name leads out of no folder, and every file system can hold it.

    >>> name_problem("lidas-360m"), name_problem("..")
    (None, 'begins with a point')
    """
    if not isinstance(name, str):
        return "is no text"
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
