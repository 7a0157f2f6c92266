"""What a site says its records are: days, content, commit."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

from growloop.leaderboard.paper import paper_rows
from growloop.leaderboard.site.provenance import provenance

from ..making import made


def test_days_are_of_what_was_measured_and_the_content_is_of_all() -> None:
    records = [made(time=datetime(2026, 11, day, tzinfo=UTC)) for day in (3, 1)]
    found = provenance(records)
    assert found.dates == ("2026-11-01", "2026-11-03")
    assert found.words == f"measured 2026-11-01 to 2026-11-03, content {found.content}"
    assert provenance(records[::-1]).content == found.content
    assert provenance([*records, *paper_rows()]).content != found.content
    assert provenance([*records, *paper_rows()]).dates == found.dates
    assert provenance([]).dates is None


def test_the_commit_is_that_of_the_folder_and_later_changes_are_told(tmp_path: Path) -> None:
    assert provenance([], tmp_path).commit is None

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    folder = tmp_path / "records"
    folder.mkdir()
    (folder / "a.jsonl").write_text("")
    git("add", ".")
    git("commit", "-qm", "records")
    commit = git("rev-parse", "HEAD")
    (tmp_path / "other").write_text("")
    git("add", ".")
    git("commit", "-qm", "something else")
    found = provenance([], folder)
    assert found.commit is not None
    assert commit.startswith(found.commit)
    assert not found.changed
    (folder / "b.jsonl").write_text("")
    assert provenance([], folder).words.endswith(f"commit {found.commit} with later changes")


def test_a_repository_from_others_runs_no_program(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    folder = tmp_path / "records"
    folder.mkdir()
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    (folder / "a.jsonl").write_text("")
    (folder / ".gitattributes").write_text("*.jsonl filter=other\n")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "records"]):
        subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True)
    (folder / ".git" / "config").write_text(
        f"[core]\n\trepositoryformatversion = 0\n\tfsmonitor = touch {ran}\n\tpager = touch {ran}\n"
        f'[filter "other"]\n\tclean = touch {ran}\n\trequired = true\n'
        f"[log]\n\tshowSignature = true\n[gpg]\n\tprogram = touch {ran}\n"
    )
    (folder / "a.jsonl").write_text("{}")
    assert provenance([], folder).commit is not None
    assert not ran.exists()
