"""The documentation's site: built strictly, complete, and without requests to other hosts."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOADED = re.compile(
    r"<(?:script|img|iframe|source)[^>]* src=\"((?:https?:)?//[^\"]*)|url\(['\"]?((?:https?:)?//)|@import"
)


@pytest.mark.skipif(not find_spec("mkdocs"), reason="the site's packages are missing: make .venv/site")
def test_every_document_is_a_page_that_search_finds_and_that_loads_nothing_from_another_host(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    documents = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    made = {path.relative_to(tmp_path).with_suffix(""): path for path in tmp_path.rglob("*.html")}
    assert set(made) == documents | {Path("404")}
    assert list(tmp_path.rglob("*.py")) == []
    files = (*made.values(), *tmp_path.rglob("*.css"))
    assert [path.name for path in files if LOADED.search(path.read_text(encoding="utf-8"))] == []
    index = json.loads((tmp_path / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert any("ginkgo_node_up" in entry["text"] for entry in index["docs"])
