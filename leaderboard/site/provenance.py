"""State which records a site was built from: dates, content and commit."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..records import Record


@dataclass(frozen=True)
class Provenance:
    """Origin of the numbers of a site.

    Args:
        dates: first and last day of the measurements, ``YYYY-MM-DD``; None without times.
        content: first 12 hex digits of the SHA-256 of the sorted record ids: it changes with any
            record.
        commit: commit that last changed the folder of records; None outside a git repository.
        changed: the folder has changes that are not committed.
    """

    dates: tuple[str, str] | None
    content: str
    commit: str | None = None
    changed: bool = False

    @property
    def words(self) -> str:
        """Describe the origin in one line."""
        parts = [f"content {self.content}"]
        if self.dates is not None:
            first, last = self.dates
            parts.insert(0, f"measured {first}" + (f" to {last}" if last != first else ""))
        if self.commit is not None:
            parts.append(f"commit {self.commit}" + (" with later changes" if self.changed else ""))
        return ", ".join(parts)


def provenance(records: Sequence[Record], folder: str | Path | None = None) -> Provenance:
    """Describe the origin of records, which were read from a folder."""
    days = sorted(f"{r.time:%Y-%m-%d}" for r in records if r.time and r.kind == "measured")
    ids = "\n".join(sorted(record.id for record in records))
    content = hashlib.sha256(ids.encode()).hexdigest()[:12]
    dates = (days[0], days[-1]) if days else None
    commit = None if folder is None else _git(folder, "log", "-1", "--format=%h", "--abbrev=12")
    if not commit:
        return Provenance(dates, content)
    return Provenance(dates, content, commit, bool(_git(folder, "status", "--porcelain")))


def _git(folder: str | Path | None, *arguments: str) -> str | None:
    """Return what git prints about a folder; None without git or outside a repository."""
    command = ["git", "-C", str(folder), *arguments, "--", "."]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
