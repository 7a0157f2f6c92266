"""Print a page with its relative links made absolute, as the package index needs them.

``python docs/generators/absolute_links.py README.md https://github.com/OWNER/NAME TAG``
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

LINK = re.compile(r"(?P<picture>!?)(?P<text>\[[^\]]*\])\((?P<target>[^)\s]+)\)")
CODE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)


def absolute(text: str, repository: str, tag: str) -> str:
    """Return Markdown whose links lead to a tag of a repository on GitHub, its pictures too.

    >>> absolute("![a](docs/a.svg) [b](docs/b.md#c) [d](https://e)", "https://github.com/x/y", "v1")
    '![a](https://github.com/x/y/raw/v1/docs/a.svg) [b](https://github.com/x/y/blob/v1/docs/b.md#c) [d](https://e)'
    """

    def replaced(link: re.Match[str]) -> str:
        if re.match(r"\w+:|#", link["target"]):
            return link[0]
        kind = "raw" if link["picture"] else "blob"
        return f"{link['picture']}{link['text']}({repository}/{kind}/{tag}/{link['target']})"

    parts = CODE.split(text)
    return "".join(part if part.startswith("```") else LINK.sub(replaced, part) for part in parts)


if __name__ == "__main__":
    file, repository, tag = sys.argv[1:]
    print(absolute(Path(file).read_text(encoding="utf-8"), repository.rstrip("/"), tag), end="")
