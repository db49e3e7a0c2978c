"""Hooks of mkdocs: a link from a page to a file outside ``docs/`` leads to the repository."""

import logging
import re
import tomllib
from pathlib import Path
from posixpath import normpath
from typing import Any, Final

from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parent.parent.parent
REPOSITORY: Final[str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"][
    "Repository"
]
_LINK: Final = re.compile(r"\[([^][]*)\]\((\.\./[^)#\s]*)(#[^)\s]*)?\)")

log = logging.getLogger("mkdocs.hooks")


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Return the page's text with links that leave the documentation's folder replaced."""
    folder = Path("docs", page.file.src_uri).parent.as_posix()

    def replaced(link: re.Match[str]) -> str:
        text, target, anchor = link.groups()
        place = normpath(f"{folder}/{target}")
        if place.startswith("docs/"):
            return link[0]
        if not (ROOT / place).exists():
            log.warning("%s: no such file: %s", page.file.src_uri, target)
        kind = "tree" if (ROOT / place).is_dir() else "blob"
        return f"[{text}]({REPOSITORY}/{kind}/main/{place}{anchor or ''})"

    return _LINK.sub(replaced, markdown)
