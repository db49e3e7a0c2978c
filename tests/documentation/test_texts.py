"""Texts name only what exists: files, headings, metrics, flags, alerts, pictures and one repository."""

import re
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml
from texts import ROOT, anchors, links, name_of, texts

from docs.source.alerts import alert_names
from docs.source.flags import flag_names
from docs.source.metrics import metric_names
from exporter import __repository__

ALL = pytest.mark.parametrize("path", list(texts()), ids=name_of)
RETIRED = {f"--alertmanager.mass-loss-{name}" for name in ("hold", "nodes", "ratio")}
NOT_METRICS = {"ginkgo_exporter_", "ginkgo_bridge_", "ginkgo_node_", "ginkgo_", "ginkgo_func_cache_", "ginkgo_node"}
"""Beginnings of names: of groups of metrics, and of keys of the platform."""
TEXTS = {".html", ".json", ".md", ".py", ".toml", ".txt", ".yaml", ".yml"}
WHERE_THE_ADDRESS_STANDS = {
    "pyproject.toml": "the package's metadata",
    "exporter/__init__.py": "links of the page",
    "alerts/ginkgo.rules.yml": "runbook_url of each alert, which Prometheus needs whole",
    "alerts/ginkgo.rules.template.yml": "the source of these rules",
    "helm/ginkgo-exporter/files/ginkgo.rules.template.yml": "a link to it",
    "helm/ginkgo-exporter/Chart.yaml": "home, sources and links, which Artifact Hub needs whole",
    "alerts/README.md": "says how to change runbook_url",
    "README.md": "git clone",
    "README.zh-CN.md": "git clone",
    "docs/how-to/install.md": "git clone",
    "docs/tutorial/first-page.md": "git clone",
    "docs/tutorial/first-page.zh.md": "git clone",
}
"""The files that may hold the repository's address, each with the reason; all others take it from one of these."""


@cache
def recorded_names() -> set[str]:
    """Return the names of all recorded series."""
    rules = yaml.safe_load((ROOT / "alerts" / "ginkgo.rules.yml").read_text(encoding="utf-8"))
    return {rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule}


@ALL
def test_no_link_is_dead(path: Path) -> None:
    dead = []
    for link in links(path.read_text(encoding="utf-8")):
        if ":" in link.split("#")[0]:
            continue
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            dead.append(link)
    assert dead == []


@ALL
def test_no_metric_is_unknown(path: Path) -> None:
    known = metric_names() | NOT_METRICS
    known |= {f"{name}{end}" for name in known for end in ("_bucket", "_sum", "_count")}
    named = set(re.findall(r"(?<![\w:])ginkgo_\w+(?![\w:])", path.read_text(encoding="utf-8")))
    assert named - known == set()
    series = set(re.findall(r"\b[a-z]+:ginkgo_\w+:\w+", path.read_text(encoding="utf-8")))
    assert series - recorded_names() == set()


@ALL
def test_no_flag_is_unknown(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"(amtool|helm|kubectl|prometheus-alertmanager) .*", "", text)
    named = set(re.findall(r"(?<![\w-])--[a-z]+(?:[.-][a-z]+)*\.[a-z]+(?:[.-][a-z]+)*", text))
    for command in re.findall(r"\bginkgo-exporter [^\n`|]*", text):
        named |= set(re.findall(r"(?<![\w-])--[a-z][a-z.-]*[a-z]", command))
    assert named - flag_names() - RETIRED == set()


@ALL
def test_no_alert_is_unknown(path: Path) -> None:
    named = set(re.findall(r"\bGinkgo[A-Z]\w+", path.read_text(encoding="utf-8")))
    assert named - alert_names() == set()


def test_no_picture_is_unused() -> None:
    used = {(path.parent / link).resolve() for path in texts() for link in links(path.read_text(encoding="utf-8"))}
    pictures = {*(ROOT / "docs").rglob("*.png"), *(ROOT / "docs").rglob("*.svg"), *(ROOT / "grafana").glob("*/*.png")}
    assert sorted(map(name_of, pictures - used)) == []


def test_address_of_the_repository_is_one_and_stands_only_where_it_must() -> None:
    assert __repository__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
    owner, name = __repository__.removeprefix("https://github.com/").split("/")
    found: set[str] = set()
    for folder in ("*", "alerts/*", "docs/**/*", "exporter/**/*", "grafana/*", "grafana/source/*", "helm/**/*"):
        for path in ROOT.glob(folder):
            if not path.is_file() or path.suffix not in TEXTS:
                continue
            text = path.read_text(encoding="utf-8")
            addresses = re.findall(rf"[\w./:-]*\b{owner}/[\w-]+|github\.com/[\w-]+/{name}", text)
            same = {__repository__, f"https://raw.githubusercontent.com/{owner}/{name}", f"ghcr.io/{owner}/{name}"}
            assert set(addresses) - same == set(), name_of(path)
            if addresses:
                found.add(name_of(path))
    assert found <= set(WHERE_THE_ADDRESS_STANDS)


def test_no_text_installs_a_name_that_is_not_published() -> None:
    published = re.compile(
        r"(?:pip|pipx|uv)\S* (?:tool )?install [^\n]*\bginkgo-exporter(?![\w/-])|helm (?:repo add|pull)"
    )
    for folder in ("*.md", "docs/**/*.md", "alerts/**/*.md", "helm/**/*.md", "helm/**/*.txt", "exporter/**/*.py"):
        for path in ROOT.glob(folder):
            assert not published.search(path.read_text(encoding="utf-8")), name_of(path)
