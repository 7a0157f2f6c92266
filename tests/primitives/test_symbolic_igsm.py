"""Symbolic iGSM: graphs as the paper describes them."""

from __future__ import annotations

import re
from collections import Counter

from .cases import GRAPH, source


def test_a_graph_is_what_the_paper_describes() -> None:
    """Edges between levels, one into each entity, in a graph without circles, asked at its end."""
    forms, needed, order = Counter(), 0, 0  # type: ignore[var-annotated]
    items = source("symbolic_igsm", GRAPH).items(0, 400)
    for item in items:
        *lines, query = item.prompt.split("\n")[1].split(". ")
        uses = {}
        for line in lines:
            name, right = line.split(" := ")
            uses[name] = re.findall("[A-Z]#[A-Z]", right)
            assert len(set(uses[name])) == len(uses[name]) <= 3
            shape = re.sub("[A-Z]#[A-Z]", "x", re.sub(r"\d+", "n", right))
            forms[shape] += 1
            factor = re.match(r"(\d) \*", right)
            assert factor is None or 1 <= int(factor[1]) <= 6
        assert len(uses) == 16
        level = {name: ["ABCD", "EFGH", "IJKL", "MNOP"] for name in uses}
        for name in uses:
            above, under = (
                next(i for i, letters in enumerate(level[name]) if part in letters)
                for part in name.split("#")
            )
            assert under == above + 1
        assert {name[2] for name in uses} == set("EFGHIJKLMNOP")
        waiting, found = [query.removesuffix("?")], set()
        assert uses[waiting[0]]  # never a number alone
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += uses[name]
        needed += len(found)
        names = [line.split(" := ")[0] for line in lines]
        order += any(names.index(used) > names.index(n) for n in names for used in uses[n])
    assert set(forms) == {
        "n", "x", "n + x", "n * x", "x + x", "x - x", "n + x + x", "n + x - x", "n * (x + x)",
        "n * (x - x)", "x + x + x", "n + x + x + x", "n * (x + x + x)",
    }  # fmt: skip
    assert 12 < needed / len(items) < 13  # of 16; in the paper's example 9 of 12
    assert order == len(items)  # lines stand in any order
