"""State which records a site was built from: dates, content and commit."""

from __future__ import annotations

import hashlib
import os
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
        changed: the folder has other files of records than at the last commit.
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
    if folder is None:
        return Provenance(dates, content)
    commit = _git(folder, "rev-list", "-1", "--abbrev-commit", "--abbrev=12", "HEAD", "--", ".")
    if not commit:
        return Provenance(dates, content)
    names = _git(folder, "ls-tree", "-r", "--name-only", "-z", "HEAD") or ""
    # a file of records never changes and is named by its content, so the names tell
    stored = {file.relative_to(folder).as_posix() for file in Path(folder).rglob("*.jsonl")}
    known = {name for name in names.split("\0") if name.endswith(".jsonl")}
    return Provenance(dates, content, commit, stored != known)


def _git(folder: str | Path, *arguments: str) -> str | None:
    """Return what git prints about a folder; None without git or outside a repository.

    Only commands that run no program named in the repository's configuration are safe here: the
    folder may come from others.
    """
    command = ["git", "-C", str(folder), *arguments]
    quiet = os.environ | {"GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=False, env=quiet
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
