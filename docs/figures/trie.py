"""Draws how requests become a trie, packs, and what each token sees.

``python docs/figures/trie.py docs/figures/trie.svg``. The picture is made from the trie that
``growloop.tasks.scoring.trie`` builds of the requests below, a word a token.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

from growloop.leaderboard.site.theme import LIGHT
from growloop.tasks.scoring.trie import build

EXAMPLE = "k = 5 -> 5"
REQUESTS = [
    (f"{EXAMPLE} ; n = 2 3 n ->", " 2 3"),
    (f"{EXAMPLE} ; n = 2 3 n ->", " 2 4"),
    (f"{EXAMPLE} ; n = 2 3 n ->", " 1 4"),
    (f"{EXAMPLE} ; a = 7 a ->", " 7 0"),
    (f"{EXAMPLE} ; a = 7 a ->", " 8 0"),
]
PACK = 9
CELL, LEFT, TOP = 17, 14, 46
COLOURS = LIGHT.series[:2]  # of the packs, in turn; told apart without colour by the line too


def main(out: str) -> None:
    words: dict[str, int] = {}
    number = [
        [[words.setdefault(word, len(words)) for word in text.split()] for text in request]
        for request in REQUESTS
    ]
    names = list(words)
    trie = build([(context, option) for context, option in number])
    size, deepest = len(trie), int(trie.depth.max()) + 1
    wide = LEFT + deepest * 30
    seen_left = wide + 60
    width, height = seen_left + size * CELL + 14, TOP + size * CELL + 40
    style = (
        "text{font:12px ui-monospace,monospace;fill:#222}.h{font:600 13px system-ui,sans-serif}"
        ".l{stroke:#999;fill:none}.c{fill:#ddd}.p{stroke:#222;stroke-dasharray:4 3}"
        "@media(prefers-color-scheme:dark){text{fill:#ddd}.c{fill:#444}.p{stroke:#ddd}}"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{len(REQUESTS)} requests as a trie of {size} tokens in two packs, and which '
        f'tokens each of them sees"><style>{style}</style>',
        f'<text class="h" x="{LEFT}" y="18">{len(REQUESTS)} requests, '
        f"{sum(len(c) + len(o) - 1 for c, o in number)} tokens: {size} distinct</text>",
        f'<text x="{LEFT}" y="36">token, indented by its position</text>',
        f'<text class="h" x="{seen_left}" y="18">what it sees</text>',
        f'<text x="{seen_left}" y="36">filled: computed in this pack; grey: kept</text>',
    ]
    predicted = set(trie.places.tolist())
    for q in range(size):
        y = TOP + q * CELL
        colour = COLOURS[q // PACK % 2]
        x = LEFT + int(trie.depth[q]) * 30
        mark = " *" if q in predicted else ""
        parts.append(f'<text x="{x}" y="{y + 13}">{escape(names[trie.tokens[q]])}{mark}</text>')
        for k in range(q + 1):
            if q < trie.end[k]:
                own = k // PACK == q // PACK
                fill = f'fill="{colour}"' if own else 'class="c"'
                parts.append(
                    f'<rect x="{seen_left + k * CELL}" y="{y}" width="{CELL - 2}" '
                    f'height="{CELL - 2}" {fill}/>'
                )
        if q and q % PACK == 0:
            parts.append(f'<path class="p" d="M{LEFT} {y - 1}H{width - 14}"/>')
    parts.append(
        f'<text x="{LEFT}" y="{height - 10}">* the next token is scored here; dashed: the end of a '
        f"pack of {PACK} tokens</text></svg>"
    )
    Path(out).write_text("\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
