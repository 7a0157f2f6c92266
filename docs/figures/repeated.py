"""Compares two runs of ``growloop eval`` item by item: the table and the picture in the docs.

``python docs/figures/repeated.py PLAIN_FOLDER REPEATED_FOLDER docs/figures/repeated.svg``, each
folder as ``growloop eval --out`` wrote it. The p-value is of McNemar's exact test.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import altair as alt
import numpy as np
from growloop.core.statistics import change_interval, share_interval


def right(folder: str) -> dict[str, np.ndarray]:
    """Whether each item of each task was answered rightly."""
    found = {}
    for path in sorted(Path(folder).rglob("samples_*.jsonl")):
        name = path.name.removeprefix("samples_").rsplit("_", 1)[0]
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        rows.sort(key=lambda row: row["doc_id"])
        found[name] = np.array([row["acc"] for row in rows])
    return found


def mcnemar(a: np.ndarray, b: np.ndarray) -> float:
    """Two-sided exact p-value of no difference."""
    gained, lost = int((b > a).sum()), int((b < a).sum())
    n, k = gained + lost, min(gained, lost)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    return min(1.0, 2 * tail)


def main(plain: str, repeated: str, picture: str) -> None:
    before, after = right(plain), right(repeated)
    names = [name for name in before if name in after]
    data = []
    changes = {name: (after[name] - before[name]).tolist() for name in names}
    for name in names:
        a, b = before[name], after[name]
        low, high = change_interval([changes[name]])
        print(
            f"{name:32} n={len(a)} {a.mean():.3f} {b.mean():.3f} "
            f"{b.mean() - a.mean():+.3f} [{low:+.3f}, {high:+.3f}] p={mcnemar(a, b):.1e}"
        )
        for which, values in (("plain", a), ("6-9 repeated", b)):
            low, high = share_interval(values.mean(), len(values))
            data.append(
                {
                    "task": name.replace("_", " "),
                    "model": which,
                    "accuracy": values.mean(),
                    "low": low,
                    "high": high,
                }
            )
    a, b = (np.mean([values[name].mean() for name in names]) for values in (before, after))
    low, high = change_interval(list(changes.values()))
    print(f"{'plain mean':32} {a:.3f} {b:.3f} {b - a:+.3f} [{low:+.3f}, {high:+.3f}]")
    base = alt.Chart(alt.Data(values=data)).encode(
        y=alt.Y("task:N", sort=None, title=None, axis=alt.Axis(labelLimit=260)),
        yOffset=alt.YOffset("model:N", sort=["plain", "6-9 repeated"]),
    )
    colours = alt.Scale(domain=["plain", "6-9 repeated"], range=["#9db4c0", "#0072B2"])
    bars = base.mark_bar().encode(
        x=alt.X("accuracy:Q", title="accuracy", scale=alt.Scale(domain=[0, 1])),
        color=alt.Color("model:N", scale=colours, title="layers"),
    )
    spread = base.mark_rule(color="#222").encode(x=alt.X("low:Q", title="accuracy"), x2="high:Q")
    title = alt.TitleParams(
        "SmolLM2-135M-Instruct, the layers 6-9 run twice, without training",
        subtitle=f"five shots, n = {len(before[names[0]]):,} a task; thin line: 95 % interval",
        anchor="start",
    )
    alt.layer(bars, spread, title=title).properties(width=420, height={"step": 16}).save(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
