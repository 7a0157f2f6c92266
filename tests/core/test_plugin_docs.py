"""The files and commands of docs/plugins.md work as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from ..support.plugins import growloop

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
NEEDS_A_MODEL = "./checkpoint"


def test_the_files_and_commands_of_the_page(tmp_path: Path) -> None:
    codes = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    files = ("parity.py", "maps.py", "drop_last.py")
    for name, code in zip(files, codes, strict=True):
        (tmp_path / name).write_text(code)
    blocks = re.findall(r"```shell\n(.*?)```", PAGE, re.DOTALL)
    lines = [line.partition("   #")[0].strip() for block in blocks for line in block.splitlines()]
    calls = [line for line in lines if line.startswith("growloop ") and NEEDS_A_MODEL not in line]
    assert len(calls) == 8
    for line in calls:
        done = growloop(*shlex.split(line)[1:], cwd=tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        if "verify" in line:
            assert "1,000 items: all right" in done.stdout
        if line.endswith("study list"):
            assert "(of drop_last.py)" in done.stdout
