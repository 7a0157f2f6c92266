"""What a record from anywhere may hold: each is refused with a reason, or harmless on a page."""

from __future__ import annotations

MARKUP = [
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 1</script>",
    "<!--<script>window.hacked = 1",
    "]]><img src=x onerror=window.hacked=1>",
    '"><img src=x onerror=window.hacked=1>',
    "' onmouseover='window.hacked=1",
    "<svg onload=window.hacked=1>",
    "javascript:window.hacked=1",
    "{{ 7 * 7 }}{% for x in y %}{{ config }}",
    "${window.hacked=1}",
    "`${window.hacked=1}`",
    "</title></style></textarea><img src=x onerror=window.hacked=1>",
    "&lt;b&gt;&amp;amp;",
    "=HYPERLINK(0)",
    "__proto__",
    "constructor",
    "CON",
    "index",
    "%2e%2e%2fetc",
    "模型 – модель – نموذج 🌀",
    "a" * 200,
]
"""One line, not too long, printable: shown as they are."""

PATHS = [
    "../../etc/passwd",
    "..",
    "/etc/passwd",
    "~/model",
    "a/../b",
    "a//b",
    "a/",
    "..\\windows",
    "C:\\windows",
    "C:/windows",
]

UNPRINTABLE = [
    "",
    "   ",
    " blank before",
    "two\nlines",
    "a\x00b",
    "\x1b[31mred",
    "turned\u202eround",
    "half\ud800",
    "line\u2028end",
    "b" * 201,
    "c" * 100_000,
]

NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", '"0.5"', "true", "null", "[0.5]", "1" * 5000]

NO_RECORDS = [
    b"\xff\xfe",
    b"[]",
    b"1",
    b"{",
    b'{"version":1}',
    b'{"version":2}',
    b'{"version":"1"}',
    b'{"version":true}',
    b'{"version":0}',
    b'{"version":1,"version":1}',
    b"[" * 200_000,
    b'{"a":' * 200_000,
    b"x" * 3_000_000,
    "\ufeff{}".encode(),
    b"{}\x00",
]
