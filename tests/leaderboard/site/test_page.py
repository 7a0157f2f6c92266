"""The site as files: complete, harmless whatever the records say, never half written."""

from __future__ import annotations

import http.client
import json
import re
import threading
from html.parser import HTMLParser
from pathlib import Path

import pytest
from growloop.core.errors import InputError
from growloop.leaderboard import Record, Task
from growloop.leaderboard.paper import paper_rows
from growloop.leaderboard.site.formats import embedded, file_name, si
from growloop.leaderboard.site.introduction import Introduction, NextCommand
from growloop.leaderboard.site.page import build
from growloop.leaderboard.site.serving import server

from ..making import made, poisoned
from ..payloads import MARKUP

VOID = {"meta", "link", "input", "br", "img", "path", "rect", "circle", "line", "polyline"}


class Page(HTMLParser):
    """What a browser would make of a page, as far as the tests ask."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.data = ""
        self.inside: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag == "a" and found.get("href"):
            self.links.append(found["href"] or "")
        if tag not in VOID:
            self.inside.append(f"{tag} {found.get('id', '')}")

    def handle_endtag(self, tag: str) -> None:
        if self.inside and tag not in VOID:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        where = self.inside[-1] if self.inside else ""
        if where == "script data":
            self.data += data
        elif not where.startswith(("script", "style")):
            self.texts.append(data)


@pytest.mark.parametrize("text", MARKUP)
def test_the_first_page_begins_with_its_introduction(text: str, tmp_path: Path) -> None:
    commands = [NextCommand(f"purpose {text}", f"growloop compare a \\\n  {text}")]
    introduction = Introduction(f"done {text}", [f"first {text}", "second"], commands)
    bare = Page(build([made()], tmp_path / "bare"))
    page = Page(build([made()], tmp_path / "site", introduction=introduction))
    texts = "".join(page.texts).replace("\xa0", " ")  # a percent sign stays with its number
    places = [
        texts.index(part)
        for part in (
            "What was done", f"done {text}", "What it means", f"first {text}", "second",
            "What to run next", f"purpose {text}", commands[0].line, "1 model measured here",
        )
    ]  # fmt: skip
    assert places == sorted(places)
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in bare.tags} | {"ul", "li", "pre"}
    assert "What was done" not in "".join(bare.texts)
    other = Page(tmp_path / "site" / "methods.html")
    assert "What was done" not in "".join(other.texts)


@pytest.mark.parametrize("text", MARKUP)
def test_whatever_a_record_says_is_only_ever_text(text: str, tmp_path: Path) -> None:
    plain = {path.name: path for path in _pages(build([made()], tmp_path / "plain"))}
    site = build(poisoned(text), tmp_path / "site")
    expected = {tag for path in plain.values() for tag, _ in Page(path).tags}
    expected |= {"pre", "polyline", "ul", "li", "b", "figure", "svg", "title", "desc", "rect"}
    expected |= {"circle", "g", "text", "line", "path", "figcaption", "wbr"}
    for path in _pages(site):
        assert re.fullmatch(r"[a-z0-9-]+\.html", path.name)
        page = Page(path)
        assert {tag for tag, _ in page.tags} <= expected
        assert sum(tag == "script" for tag, _ in page.tags) <= 3
        for tag, found in page.tags:
            assert not any(name.startswith("on") for name in found), (tag, found)
            for link in (found.get("href"), found.get("src")):
                assert link is None or re.match(r"[\w./#-]+$|https://arxiv|data:,$", link), link
    texts = "".join(Page(site).texts)
    assert poisoned(text)[0].model.name in texts  # as it is: neither cut nor evaluated
    page = Page(site)
    points = json.loads(page.data)["points"].values()
    assert next(iter(points))["label"].startswith(poisoned(text)[0].model.name)


def _pages(index: Path) -> list[Path]:
    return sorted(index.parent.rglob("*.html"))


def test_every_link_leads_to_a_page_and_every_page_is_linked(tmp_path: Path) -> None:
    records = [*paper_rows(), made(study="in-context", conditions={"examples": 3})]
    site = build(records, tmp_path / "site")
    linked = {site}
    for path in _pages(site):
        page = Page(path)
        ids = {found["id"] for _, found in page.tags if found.get("id")}
        for link in page.links:
            if link.startswith("https:"):
                continue
            target, _, anchor = link.partition("#")
            file = (path.parent / target).resolve() if target else path
            assert file.is_file(), f"{path.name}: {link}"
            linked.add(file)
            assert not anchor or target or anchor in ids
    assert linked >= set(_pages(site))


def test_tables_can_be_read_aloud(tmp_path: Path) -> None:
    site = build([*paper_rows(), made()], tmp_path / "site")
    for path in _pages(site):
        tags = Page(path).tags
        assert tags[0][1].get("lang") == "en" or tags[1][1].get("lang") == "en"
        headers = [found for tag, found in tags if tag == "th"]
        assert all(found.get("scope") for found in headers)
        assert sum(tag == "caption" for tag, _ in tags) == sum(tag == "table" for tag, _ in tags)
        assert sum(tag == "h1" for tag, _ in tags) == 1
        assert sum(tag == "main" for tag, _ in tags) == 1
        for tag, found in tags:
            if tag == "svg":
                assert found.get("aria-hidden") == "true" or found.get("role") == "img"


def test_large_values_that_are_all_the_same_are_drawn(tmp_path: Path) -> None:
    task = Task(name="text", metric="perplexity")
    records = [made(1e17, task=task, study="repeats", conditions={"times": i}) for i in range(3)]
    index = build(records, tmp_path / "site")
    [page] = (index.parent / "studies").iterdir()
    assert "<polyline" in page.read_text(encoding="utf-8")


def test_downloads_hold_all_records(tmp_path: Path) -> None:
    records = [*paper_rows(), made()]
    site = build(records, tmp_path / "site").parent
    lines = (site / "data" / "records.jsonl").read_text(encoding="utf-8").splitlines()
    assert {Record.from_json(line).id for line in lines} == {record.id for record in records}
    assert len(json.loads((site / "data" / "leaderboard.json").read_text())) == len(records)


def test_a_site_without_records_says_how_to_get_some(tmp_path: Path) -> None:
    page = Page(build([], tmp_path / "site"))
    assert "--leaderboard records" in "".join(page.texts)


def test_a_site_replaces_a_site_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "site"
    build([made(model="first")], out)
    build([made(model="second")], out)
    assert {path.name.split("-")[0] for path in (out / "models").iterdir()} == {"second"}
    assert [path.name for path in tmp_path.iterdir()] == ["site"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds files that do not belong to a site"):
        build([made()], other)
    assert (other / "thesis.txt").read_text() == "years of work"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        build([made()], tmp_path / "file")


def test_pages_of_different_models_never_share_a_name() -> None:
    names = ["a", "A", "a ", "a/b", "a-b", "模型", "模型 2", "con", "x" * 200, "x" * 199 + "y"]
    files = {file_name(name, ("measured", name)) for name in names}
    assert len({file.lower() for file in files}) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]{1,64}\.html", file) for file in files)


def test_embedded_json_cannot_end_its_element() -> None:
    text = "</script><!--<script>&\u2028\u2029"
    found = str(embedded({"a": text}))
    assert not set("<>&\u2028\u2029") & set(found)
    assert json.loads(found) == {"a": text}


def test_large_numbers_are_short() -> None:
    assert [si(n) for n in (None, 0, 12, 418_624, 1.711e9, 3.5e12, 4.59e21)] == [
        "–", "0", "12", "419 k", "1.71 G", "3.5 T", "4.59e21",
    ]  # fmt: skip


def test_the_server_shows_the_site_on_this_machine_only(tmp_path: Path) -> None:
    build([made()], tmp_path / "site")
    (tmp_path / "secret").write_text("secret")
    with server(tmp_path / "site") as running:
        assert running.server_address[0] == "127.0.0.1"
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:

            def status(path: str, method: str = "GET") -> int:
                connection = http.client.HTTPConnection("127.0.0.1", running.server_port)
                connection.request(method, path)
                found = connection.getresponse()
                assert bool(found.read()) is (method == "GET")
                connection.close()
                return found.status

            assert status("/") == status("/claims.html") == 200
            assert status("/../secret") == status("/%2e%2e/secret") == 404
            assert status("/", "HEAD") == 200
            with pytest.raises(InputError, match="cannot listen on port"):
                server(tmp_path, running.server_port)
        finally:
            running.shutdown()
            thread.join()
