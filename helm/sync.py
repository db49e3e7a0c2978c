#!/usr/bin/env python3
"""Writes alerts/ginkgo.rules.yml from its template, and version, tables and the schema of ``config`` into the chart.

helm/sync.py            write the files that differ
helm/sync.py --check    name the files that differ, and fail if there are any
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from exporter.alerting_rules.rules import rules_text, template, usual  # noqa: E402 - the path comes first
from exporter.bundled import RULES  # noqa: E402
from exporter.settings import Setting, all_settings, values  # noqa: E402

CHART: Final = ROOT / "helm" / "ginkgo-exporter"

_TABLE: Final = re.compile(r"(<!-- (values|thresholds) -->\n).*?(?=<!-- /\2 -->)", re.DOTALL)
_CHART_VERSIONS: Final = re.compile(r'^(version: |appVersion: "| +image: ghcr\.io/[a-z/-]+:)[^"\n]*', re.MULTILINE)
_PACKAGE_VERSION: Final = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)
_SET_BY_THE_CHART: Final = re.compile(
    r"config\.file|redis\.(url|mode|sentinel-master|username|password-file|tls-.*)|mass-loss\.(nodes|ratio|many)|"
    r"journal\.(file|max-size)|alertmanager\.(url|label|config-file|rules-file|sole-writer)|"
    r"web\.(listen-address|external-url|config\.file)"
)
"""The settings that other values of the chart give. Every other setting has a place in ``config``."""
_DURATION: Final = {"$ref": "#/definitions/duration"}
_FORMS: Final = {
    values.duration: _DURATION,
    values.duration_or_off: {"oneOf": [_DURATION, {"const": "off"}]},
    values.switch: {"type": "boolean"},
    values.whole: {"type": "integer"},
    values.share: {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    values.url_path: {"type": "string", "pattern": "^/"},
}
"""The schema of what a parser takes; of all others, a text."""


def chart_versions() -> str:
    """Return Chart.yaml with the package's version in it: chart and package are released together."""
    package = (ROOT / "exporter" / "__init__.py").read_text(encoding="utf-8")
    version = _PACKAGE_VERSION.search(package)
    if not version:
        raise SystemExit('exporter/__init__.py: no line __version__ = "…"')
    return _CHART_VERSIONS.sub(rf"\g<1>{version[1]}", (CHART / "Chart.yaml").read_text(encoding="utf-8"))


def _value_rows() -> Iterator[tuple[str, str, str]]:
    """Yield name, default (JSON) and description of each value that a comment ``# --`` describes, in Markdown.

    A mapping without descriptions of its keys is one value. A mapping with them has no default of its own, since
    each of its keys has a default.

    Raises:
        SystemExit: A value has no description.
    """
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    lines = text.splitlines()

    def description(key: yaml.Node) -> str | None:
        above = lines[key.start_mark.line - 1].strip()
        return above.removeprefix("# -- ") if above.startswith("# -- ") else None

    def below(node: yaml.MappingNode, path: str) -> Iterator[tuple[str, str, str]]:
        for key, value in node.value:
            name, text = path + str(key.value), description(key)
            if text is None:
                raise SystemExit(f"values.yaml: {name} has no comment `# -- …`")
            inner = isinstance(value, yaml.MappingNode) and any(description(k) for k, _ in value.value)
            yield f"`{name}`", "" if inner else f"`{json.dumps(yaml.safe_load(yaml.serialize(value)))}`", text
            if inner:
                yield from below(value, f"{name}.")

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if isinstance(root, yaml.MappingNode):
        yield from below(root, "")


def threshold_rows() -> Iterator[tuple[str, str, str]]:
    """Yield alert, name and default of each threshold that values can change."""
    for alert, thresholds in template()["thresholds"].items():
        for name, threshold in thresholds.items():
            first, *others = name.split("-")
            yield alert, first + "".join(word.capitalize() for word in others), f"{usual(threshold):g}"


def _table(head: tuple[str, str, str], rows: Iterator[tuple[str, str, str]]) -> str:
    return "\n".join(
        "| {} |".format(" | ".join(cell.replace("|", r"\|") for cell in row))
        for row in (head, ("---", "---", "---"), *rows)
    )


def values_table() -> str:
    """Return the values as a table in Markdown."""
    return _table(("value", "default", "meaning"), _value_rows())


def thresholds_table() -> str:
    """Return the thresholds that values can change as a table in Markdown."""
    rows = ((alert, f"`{name}`", default) for alert, name, default in threshold_rows())
    return _table(("alert", "threshold", "default"), rows)


def readme() -> str:
    """Return README.md with the tables of values and thresholds in it."""
    tables = {"values": values_table, "thresholds": thresholds_table}
    text = (CHART / "README.md").read_text(encoding="utf-8")
    return _TABLE.sub(lambda match: f"{match[1]}{tables[match[2]]()}\n", text)


def schema() -> str:
    """Return values.schema.json with the settings in it that ``config`` takes."""
    content = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    sections: dict[str, Any] = {}
    for setting in all_settings():
        section, _, name = setting.name.partition(".")
        if not _SET_BY_THE_CHART.fullmatch(setting.name):
            sections.setdefault(section, _closed({}))["properties"][name] = _form(setting)
    content["properties"]["config"] = _closed(sections)
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _form(setting: Setting[Any]) -> dict[str, Any]:
    """Return the schema of a setting's value."""
    if setting.choices:
        return {"enum": setting.choices}
    parse, limits = getattr(setting.parse, "func", setting.parse), getattr(setting.parse, "keywords", {})
    form = _FORMS.get(parse, {"type": "string"})
    return form | {"minimum": limits.get("least", 1)} if parse is values.whole else form


def main() -> int:
    """Write or check; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if anything differs")
    options = parser.parse_args()
    wanted = {
        ROOT / RULES: rules_text(None),
        CHART / "Chart.yaml": chart_versions(),
        CHART / "README.md": readme(),
        CHART / "values.schema.json": schema(),
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
