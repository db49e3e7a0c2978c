"""The runbooks as tests read them: sections, blocks and single commands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from alert_rules import RUNBOOKS, alerts

HEADINGS = (
    "What it means",
    "Is it true?",
    "First aid",
    "Decide",
    "How to see that it is over",
    "How to silence it",
    "What to write down",
)
FORMS = ("host", "compose", "kubernetes")
COMMON = "README"


@dataclass(frozen=True)
class Block:
    """A fenced block of a runbook.

    Attributes:
        page: The runbook.
        section: The heading above it.
        form: ``host``, ``compose``, ``kubernetes``, ``every`` for commands that are the same everywhere, or
            ``promql``.
        text: Its lines.
    """

    page: str
    section: str
    form: str
    text: str

    @property
    def commands(self) -> list[str]:
        """Its commands; a command of several lines is one."""
        return re.split(r"\n(?!  |done\b)", self.text.strip("\n"))


@cache
def page(name: str) -> str:
    """Return the text of a runbook without the marks of its generated parts."""
    return re.sub(r"^<!-- .* -->\n", "", (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8"), flags=re.MULTILINE)


def sections(name: str) -> dict[str, str]:
    """Return the sections of a runbook by heading."""
    parts = re.split(r"^## (.*)\n", page(name), flags=re.MULTILINE)
    return dict(zip(parts[1::2], (f"{part.strip()}\n" for part in parts[2::2]), strict=True))


def blocks(name: str) -> Iterator[Block]:
    """Yield the blocks of a runbook in their order."""
    for section, text in sections(name).items():
        for language, body in re.findall(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            kind, _, form = language.partition(" ")
            assert kind in ("sh", "promql"), f"{name}: a block of {language!r}"
            yield Block(name, section, "promql" if kind == "promql" else form or "every", body)


def all_blocks() -> Iterator[Block]:
    """Yield the blocks of all runbooks."""
    for name in (COMMON, *alerts()):
        yield from blocks(name)
