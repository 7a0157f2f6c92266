"""Plug-ins for tests: files, and installed distributions that are only metadata and a module."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

COIN = '''
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from growloop.primitives import Column, Content, Partition, Table, Task, Template
from growloop.primitives import register_primitive, register_solver

@dataclass(frozen=True)
class Coin(Task):
    """Parameters of coin.

    Args:
        digits: digits of the number.
    """

    digits: int = 4
    name: ClassVar[str] = "@name@"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "tell an odd number from an even one"
    template = Template("coin", "Is {{ number }} even or odd? ->")
    options = 2

    @property
    def partition(self):
        return Partition((10**self.digits,))

    @property
    def combinations(self):
        return 10**self.digits

    def ranges(self, split):
        return self.partition.draw_ranges(split)

    def content(self, draws, split):
        number = self.partition.ranks(draws, [], split)[0]
        table = Table([str(i) for i in range(10**self.digits)])
        choices = np.repeat(np.array([[0], [1]], np.uint8), len(number), axis=1)
        slots = {"number": Column(number, table)}
        return Content(slots, Table(["even", "odd"]), choices, number % 2)

    def context(self, slot):
        return {"number": slot("number")}

    def splits_of(self, prompts):
        ranks = np.array([[int(prompt.split()[1]) for prompt in prompts]], np.uint32)
        return self.partition.split_of(ranks, [])
'''
"""Primitive without a solver, not registered: for an entry point."""
REGISTERED = COIN.replace("@dataclass", "@register_primitive\n@dataclass")
SOLVER = """
@register_solver("@name@")
def solve(prompt):
    return "odd" if int(prompt.split()[1]) % 2 else "even"
"""
OPERATOR = """
from growloop.models import register_operator

@register_operator("@name@")
def stretch(depth, block_size=2):
    return [*range(block_size), *range(depth)]
"""


def plugin_file(folder: Path, file: str, code: str = REGISTERED, name: str = "coin") -> Path:
    """Write a plug-in file."""
    path = folder / file
    path.write_text(code.replace("@name@", name))
    return path


def install(site: Path, dist: str, points: dict[str, dict[str, str]], **modules: str) -> None:
    """Write a distribution below ``site``: entry points by group, and modules by name."""
    info = site / f"{dist.replace('-', '_')}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.2\n")
    lines = []
    for group, names in points.items():
        lines += [f"[growloop.{group}]", *(f"{name} = {place}" for name, place in names.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for name, code in modules.items():
        (site / f"{name}.py").write_text(code)


def growloop(
    *arguments: str, site: Path | None = None, files: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, which sees ``site`` and plug-in ``files``."""
    paths = [*([str(site)] if site else []), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "GROWLOOP_PLUGINS": files}
    return subprocess.run(
        [sys.executable, "-m", "growloop.cli", *arguments],
        env=environment, cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip


def python(code: str, site: Path | None = None, files: str = "") -> object:
    """Run code in a process of its own; return what it prints last, as JSON."""
    paths = [*([str(site)] if site else []), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "GROWLOOP_PLUGINS": files}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    found: object = json.loads(done.stdout.splitlines()[-1])
    return found
