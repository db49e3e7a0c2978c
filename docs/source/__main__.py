"""Write the generated tables of the documentation and the example file, or compare them with `--check`."""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Final

from docs.source.alerts import alerts_table
from docs.source.exits import exits_table
from docs.source.flags import example, flags_table, options_table
from docs.source.forms import forms
from docs.source.metrics import GROUPS, fields_table, metrics_table
from docs.source.rule_settings import rule_settings_table, rule_thresholds_table
from helm.sync import thresholds_table, values_table

ROOT: Final = Path(__file__).parent.parent.parent
EXAMPLE: Final = ROOT / "config.example.yml"

TABLES: Final[dict[str, Callable[[], str]]] = {
    **{f"metrics-{group}": partial(metrics_table, group) for group in GROUPS},
    "fields": fields_table,
    "flags": flags_table,
    "options": options_table,
    "alerts": alerts_table,
    "values": values_table,
    "thresholds": thresholds_table,
    "exits": exits_table,
    "rule-settings": rule_settings_table,
    "rule-thresholds": rule_thresholds_table,
    **{name: partial(forms().__getitem__, name) for name in forms()},
}
"""What makes each table and each part of a runbook. It stands between the marks ``<!-- NAME -->`` and
``<!-- /NAME -->``."""

_TABLE: Final = re.compile(r"(<!-- ([a-z-]+) -->\n).*?(<!-- /\2 -->)", re.DOTALL)


def pages() -> Iterator[Path]:
    """Yield the pages with generated parts."""
    yield from (ROOT / "docs" / "how-to").glob("heartbeats.md")
    yield from sorted((ROOT / "docs" / "reference").glob("*.md"))
    yield from sorted((ROOT / "alerts" / "runbooks").glob("*.md"))


def filled_in(text: str) -> str:
    """Return a page with its tables made anew.

    Raises:
        KeyError: The page has the marks of an unknown table.
    """
    return _TABLE.sub(lambda match: f"{match[1]}\n{_made(match[2])}\n\n{match[3]}", text)


@cache
def _made(name: str) -> str:
    return TABLES[name]()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or compare all pages; return 1 if a comparison finds a difference, else 0."""
    parser = argparse.ArgumentParser(prog="python -m docs.source", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 on a difference")
    options = parser.parse_args(arguments)
    stale = 0
    for path in (EXAMPLE, *pages()):
        old = path.read_text(encoding="utf-8")
        if (new := (example if path == EXAMPLE else filled_in)(old)) == old:
            continue
        stale += 1
        if options.check:
            sys.stderr.write(f"{path.relative_to(ROOT)} differs from what the code writes: run `make docs`\n")
        else:
            path.write_text(new, encoding="utf-8")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
