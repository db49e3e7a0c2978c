"""The texts that users read."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def texts() -> Iterator[Path]:
    """Yield all documents in Markdown, except the changelog, which also tells of what is gone."""
    for pattern in ("*.md", "docs/**/*.md", "alerts/**/*.md", "grafana/README.md", "helm/*/README.md"):
        yield from (path for path in sorted(ROOT.glob(pattern)) if path.name != "CHANGELOG.md")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def links(text: str) -> list[str]:
    """Return the targets of the links and pictures of a text; links in blocks of code do not count."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", prose)


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings of a text, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
