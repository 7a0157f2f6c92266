"""Introduction of a site: what was done, what it means, and what to run next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class NextCommand:
    """Command line to copy.

    Args:
        purpose: what it shows, a few words.
        line: the command; a long one is continued on further lines by backslashes.
    """

    purpose: str
    line: str


@dataclass(frozen=True)
class Introduction:
    """First part of the first page, before the claims; all of it is plain text.

    Args:
        done: what was done, one sentence.
        findings: what it means, a sentence each.
        commands: commands to run next.

    Example::

        Introduction("Two models were trained.", ["Both guess."], [NextCommand("longer", "make")])
    """

    done: str
    findings: Sequence[str]
    commands: Sequence[NextCommand]
