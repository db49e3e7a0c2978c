#!/usr/bin/env python3
"""Writes alerts/ginkgo.rules.yml from its template, and version and tables into the chart.

helm/sync.py            write the files that differ
helm/sync.py --check    name the files that differ, and fail if there are any
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from exporter.alerting_rules.rules import rules_text, template, usual  # noqa: E402 - the path comes first
from exporter.bundled import RULES  # noqa: E402

CHART: Final = ROOT / "helm" / "ginkgo-exporter"

_TABLE: Final = re.compile(r"(<!-- (values|thresholds) -->\n).*?(?=<!-- /\2 -->)", re.DOTALL)
_CHART_VERSIONS: Final = re.compile(r'^(version: |appVersion: "| +image: ghcr\.io/[a-z/-]+:)[^"\n]*', re.MULTILINE)
_PACKAGE_VERSION: Final = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)


def chart_versions() -> str:
    """Return Chart.yaml with the package's version in it: chart and package are released together."""
    package = (ROOT / "exporter" / "__init__.py").read_text(encoding="utf-8")
    version = _PACKAGE_VERSION.search(package)
    if not version:
        raise SystemExit('exporter/__init__.py: no line __version__ = "…"')
    return _CHART_VERSIONS.sub(rf"\g<1>{version[1]}", (CHART / "Chart.yaml").read_text(encoding="utf-8"))


def value_rows(values: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, default (JSON) and description of each value that a comment ``# --`` describes.

    A mapping without descriptions of its keys is one value. A mapping with them has no default of its own, since
    each of its keys has a default.

    Raises:
        SystemExit: A value has no description.
    """
    lines = values.splitlines()

    def description(key: yaml.Node) -> str | None:
        above = lines[key.start_mark.line - 1].strip()
        return above.removeprefix("# -- ") if above.startswith("# -- ") else None

    def below(node: yaml.MappingNode, path: str) -> Iterator[tuple[str, str, str]]:
        for key, value in node.value:
            name, text = path + str(key.value), description(key)
            if text is None:
                raise SystemExit(f"values.yaml: {name} has no comment `# -- …`")
            inner = isinstance(value, yaml.MappingNode) and any(description(k) for k, _ in value.value)
            default = "" if inner else json.dumps(yaml.safe_load(yaml.serialize(value)))
            yield name, default, text
            if inner:
                yield from below(value, f"{name}.")

    root = yaml.compose(values, Loader=yaml.SafeLoader)
    if isinstance(root, yaml.MappingNode):
        yield from below(root, "")


def threshold_rows() -> Iterator[tuple[str, str, str]]:
    """Yield alert, name and default of each threshold that values can change."""
    for alert, thresholds in template()["thresholds"].items():
        for name, threshold in thresholds.items():
            first, *others = name.split("-")
            yield alert, first + "".join(word.capitalize() for word in others), f"{usual(threshold):g}"


def table(head: tuple[str, str, str], rows: Iterator[tuple[str, str, str]]) -> str:
    """Return rows as a table in Markdown."""
    return "".join(
        "| {} |\n".format(" | ".join(cell.replace("|", r"\|") for cell in row))
        for row in (head, ("---", "---", "---"), *rows)
    )


def readme() -> str:
    """Return README.md with the tables of values and thresholds in it."""
    values = value_rows((CHART / "values.yaml").read_text(encoding="utf-8"))
    tables = {
        "values": table(
            ("value", "default", "meaning"),
            ((f"`{name}`", default and f"`{default}`", text) for name, default, text in values),
        ),
        "thresholds": table(
            ("alert", "threshold", "default"), ((alert, f"`{name}`", x) for alert, name, x in threshold_rows())
        ),
    }
    return _TABLE.sub(lambda match: match[1] + tables[match[2]], (CHART / "README.md").read_text(encoding="utf-8"))


def main() -> int:
    """Write or check; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if anything differs")
    options = parser.parse_args()
    wanted = {
        ROOT / RULES: rules_text(None),
        CHART / "Chart.yaml": chart_versions(),
        CHART / "README.md": readme(),
    }
    differing = [path for path, text in wanted.items() if path.read_text(encoding="utf-8") != text]
    for path in differing:
        sys.stdout.write(f"{path.relative_to(ROOT)}: {'differs' if options.check else 'written'}\n")
        if not options.check:
            path.write_text(wanted[path], encoding="utf-8")
    if options.check and differing:
        sys.stdout.write("run helm/sync.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
