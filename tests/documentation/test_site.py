"""The documentation's site: built strictly, complete, and without requests to other hosts."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest
from texts import ROOT

pytestmark = pytest.mark.skipif(not find_spec("mkdocs"), reason="the site's packages are missing: make .venv/site")


class Loads(HTMLParser):
    """Collects the addresses that a browser loads by itself when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in {"script", "img", "iframe", "source", "video", "audio"}:
            self.addresses.append(values.get("src") or "")
        if tag == "link" and values.get("rel") not in {"canonical", "next", "prev"}:
            self.addresses.append(values.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return folder


def test_every_document_is_a_page_and_no_program_is(site: Path) -> None:
    documents = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    made = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}
    assert made == documents | {Path("404")}
    assert list(site.rglob("*.py")) == []


def test_a_page_loads_nothing_from_another_host(site: Path) -> None:
    for path in site.rglob("*.html"):
        loads = Loads()
        text = path.read_text(encoding="utf-8")
        loads.feed(text)
        assert [address for address in loads.addresses if re.match(r"(https?:)?//", address)] == []
        # Two parts of the theme load from other hosts when a page has them: the repository's stars, and diagrams.
        assert 'data-md-component="source"' not in text
        assert 'class="mermaid"' not in text
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", sheet.read_text(encoding="utf-8"))


def test_search_finds_a_metric_and_the_pages_have_a_light_and_a_dark_look(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert any("ginkgo_node_up" in entry["text"] for entry in index["docs"])
    home = (site / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r'data-md-color-scheme="(\w+)"', home)) >= {"default", "slate"}


def test_a_link_that_leaves_the_documentation_leads_to_the_repository(site: Path) -> None:
    page = (site / "reference" / "flags.html").read_text(encoding="utf-8")
    assert "/blob/main/config.example.yml" in page
