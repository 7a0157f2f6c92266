"""Draw every figure of the docs in the theme: ``python docs/figures/draw.py``, from the top folder.

``loop-and-grow.svg`` and ``trie.svg`` are drawn by the package's own code, ``primitives.svg`` and
``repeated.svg`` from the evaluations in ``records/``, ``quickstart.svg`` from ``quickstart.json``.
All others were drawn by the commands in docs/results when they were measured; they get colours,
text size and title here. Run it after such a command. ``leaderboard.png`` needs a browser and has
its own program, ``leaderboard.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

import loop_and_grow
import quickstart
import smollm2
import trie
from growloop.leaderboard import Store
from growloop.studies.measure import charts
from restyle import restyle

FOLDER = Path(__file__).parent
FINDINGS = json.loads((FOLDER / "findings.json").read_text(encoding="utf-8"))
"""Figure of a study -> what it shows, as its title."""


def main() -> None:
    """Write all figures."""
    loop_and_grow.main(str(FOLDER / "loop-and-grow.svg"))
    trie.main(str(FOLDER / "trie.svg"))
    records = Store("records").read()
    charts.save(smollm2.primitives(records), FOLDER / "primitives.svg")
    charts.save(smollm2.repeated(records), FOLDER / "repeated.svg")
    charts.save(quickstart.picture(quickstart.stored()), FOLDER / "quickstart.svg")
    for name, finding in FINDINGS.items():
        restyle(FOLDER / f"{name}.svg", finding)


if __name__ == "__main__":
    main()
