"""Texts name only what exists: files, headings, metrics, flags, alerts, commands, endpoints, and tests of faults."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from docs.source import __main__ as generator
from docs.source.alerts import alert_names
from docs.source.flags import flag_names
from docs.source.metrics import metric_names
from exporter import __version__
from exporter.cli import _COMMANDS
from exporter.commands.command_line import ExitCode
from exporter.settings import all_settings
from lab.servers import binary

ROOT = Path(__file__).parents[2]
PATTERNS = ("*.md", "docs/**/*.md", "alerts/**/*.md", "grafana/README.md", "helm/*/README.md")
TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for pattern in PATTERNS
    for path in sorted(ROOT.glob(pattern))
    if path.name != "CHANGELOG.md"  # it also tells of what is gone
}
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
RULES = yaml.safe_load((ROOT / "alerts" / "ginkgo.rules.yml").read_text(encoding="utf-8"))
RETIRED = {f"--alertmanager.mass-loss-{name}" for name in ("hold", "nodes", "ratio")}
NOT_METRICS = {"ginkgo_exporter_", "ginkgo_bridge_", "ginkgo_node_", "ginkgo_", "ginkgo_func_cache_", "ginkgo_node"}
"""Beginnings of names: of groups of metrics, and of keys of the platform."""
NOT_IN_A_CHECKOUT = re.compile(r"^(build|dist)/|NAME|^/")
"""Paths that a command writes, that stand for any name, or that are on the reader's machine."""
FOREIGN = {"/api/v1/query", "/api/v1/rules", "/api/v1/alerts", "/api/v1/", "/-/reload"}
"""Prometheus's own endpoints."""
BLOCKS = re.compile(r"^ *```\w*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
CHINESE = {"README.md": "README.zh-CN.md", "docs/tutorial/first-page.md": "docs/tutorial/first-page.zh.md"}


def unknown(pattern: str, known: Iterable[str] | Callable[[str, Path], bool], *, prose: bool = False) -> list[str]:
    """Return text and name for each name that the code of a text has, or the whole text, and that is not known."""
    found = []
    for name, text in TEXTS.items():
        code = "\n".join([*BLOCKS.findall(text), *re.findall(r"`([^`]+)`", BLOCKS.sub("", text))])
        for word in re.findall(pattern, text if prose else code, re.MULTILINE):
            is_known = known(word, (ROOT / name).parent) if callable(known) else word in set(known)
            found += [] if is_known else [f"{name}: {word}"]
    return found


def exists(name: str, folder: Path) -> bool:
    bases = (ROOT, folder, ROOT / "exporter", ROOT / "helm" / "ginkgo-exporter")
    return bool(NOT_IN_A_CHECKOUT.search(name)) or any((base / name).exists() for base in bases)


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings of a text, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", BLOCKS.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links(name: str) -> list[tuple[str, Path, str]]:
    """Return each link of a text to a file or a heading, with the file and the heading's anchor."""
    found = [
        link for link in re.findall(r"\]\(([^)\s]+)\)", BLOCKS.sub("", TEXTS[name])) if ":" not in link.split("#")[0]
    ]
    parts = [(link, *link.partition("#")[::2]) for link in found]
    return [
        (link, ((ROOT / name).parent / (path or Path(name).name)).resolve(), anchor) for link, path, anchor in parts
    ]


def test_no_link_is_dead_and_no_picture_is_unused() -> None:
    dead = [
        f"{name}: {link}"
        for name in TEXTS
        for link, file, anchor in links(name)
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8")))
    ]
    assert dead == []
    pictures = {*(ROOT / "docs").rglob("*.png"), *(ROOT / "docs").rglob("*.svg"), *(ROOT / "grafana").glob("*/*.png")}
    assert pictures - {file for name in TEXTS for _, file, _ in links(name)} == set()


def test_no_metric_series_or_alert_is_unknown() -> None:
    metrics = {f"{name}{end}" for name in metric_names() for end in ("", "_bucket", "_sum", "_count")} | NOT_METRICS
    assert unknown(r"(?<![\w:])ginkgo_\w+(?![\w:])", metrics, prose=True) == []
    recorded = {rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule}
    assert unknown(r"\b[a-z]+:ginkgo_\w+:\w+", recorded, prose=True) == []
    assert unknown(r"\bGinkgo[A-Z]\w+", alert_names() | {"GinkgoTestPage"}, prose=True) == []


def test_no_flag_variable_command_or_make_target_is_unknown() -> None:
    flags = flag_names() | RETIRED | {"--cluster.listen-address", "--storage.path", "--storage.tsdb.retention.time"}
    assert unknown(r"(?<![\w-])--[a-z]+(?:[.-][a-z]+)*\.[a-z]+(?:[.-][a-z]+)*", flags) == []
    assert unknown(r"\bGINKGO_EXPORTER_[A-Z_]+\b", [setting.variable for setting in all_settings()]) == []
    assert unknown(r"(?<![\w./-])(?<!SETUSER )ginkgo-exporter ([a-z]+)\b(?!/)", set(_COMMANDS)) == []
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert unknown(r"^ *make ([a-z-]+)", targets) == []


def test_no_endpoint_and_no_file_is_unknown() -> None:
    paths = yaml.safe_load((ROOT / "docs" / "reference" / "openapi.yaml").read_text(encoding="utf-8"))["paths"]
    own = re.compile("|".join(re.sub(r"\{\w+\}", r"[{}\\w$-]+", path) for path in paths))
    pattern = r"(?<![\w.}>])/(?:api/v1|-|runbooks)/[\w{}$/-]*"
    assert unknown(pattern, lambda name, _: name in FOREIGN or bool(own.fullmatch(name))) == []
    top = (folder for folder in ROOT.iterdir() if folder.name[0] != "." and folder.name not in {"build", "dist"})
    basenames = {path.name for folder in top for path in (folder, *folder.rglob("*"))}
    pattern = r"(?<![\w/.:$-])[\w-][\w./-]*\.(?:py|md|toml|svg|png)\b(?![\w/-])"
    assert unknown(pattern, lambda name, folder: name in basenames or exists(name, folder)) == []
    assert unknown(r"(?<![\w/.-])tests(?:/[\w.-]+)+", exists) == []


def test_generated_tables_match_the_code_and_each_has_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generator.main(["--check"]) == 0, "make docs writes the tables"
    texts = "".join(path.read_text(encoding="utf-8") for path in generator.pages())
    assert [name for name in generator.TABLES if f"<!-- {name} -->" not in texts] == []
    page = tmp_path / "docs" / "reference" / "exit-codes.md"
    page.parent.mkdir(parents=True)
    page.write_text("<!-- exits -->\nold\n<!-- /exits -->\n", encoding="utf-8")
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    assert generator.main(["--check"]) == 1
    assert "docs/reference/exit-codes.md differs" in capsys.readouterr().err


def test_each_fault_names_tests_that_exist() -> None:
    named = re.findall(
        r"\[([^]:]+)(?:: ([^]]+))?\]\(\.\./\.\./(tests/[^)]+\.py)\)", TEXTS["docs/explanation/faults.md"]
    )
    assert len(named) > 30
    missing = []
    for sentence, case, path in named:
        source = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).exists() else ""
        there = f"def test_{sentence.replace(' ', '_')}(" in source and (not case or f'"{case}": (' in source)
        missing += [] if there else [f"{path}: {sentence} {case}"]
    assert missing == []


def test_tests_run_as_the_acl_user_of_the_documentation() -> None:
    sys.path.insert(0, str(ROOT / "tests" / "source"))
    from rights import ACL_RIGHTS  # noqa: PLC0415 - the tests' own list

    (rights,) = re.findall(
        "^ACL SETUSER ginkgo-exporter .*>PASSWORD resetkeys (.*)$", TEXTS["docs/how-to/redis.md"], re.MULTILINE
    )
    assert rights.split() == ACL_RIGHTS
    (quoted,) = re.findall(r"`redis-cli (ACL SETUSER [^`]+)`", TEXTS["docs/how-to/redis.md"])
    assert shlex.split(quoted)[6:] == ACL_RIGHTS


def test_chinese_document_has_the_same_sections_commands_and_figures() -> None:
    for pair in CHINESE.items():
        for part in (r"^#+ ", r"^\|", r"```.*?```", r"`[^`\n]+`", r"\d+(?:[.,]\d+)*(?: (?:ms|s)\b)?"):
            flags = re.MULTILINE | re.DOTALL
            theirs, ours = (
                re.findall(part, TEXTS[name] if "`" in part else BLOCKS.sub("", TEXTS[name]), flags) for name in pair
            )
            assert sorted(theirs) == sorted(ours), (part, pair)


def test_package_chart_and_changelog_have_one_version_and_notes() -> None:
    headings = re.findall(r"^## \[(?!Unreleased)(.+)\] - \d{4}-\d\d-\d\d$", CHANGELOG, re.MULTILINE)
    numbers = [[int(part) for part in version.split(".")] for version in headings]
    assert headings[0] == __version__
    assert all(newer > older for newer, older in pairwise(numbers))
    chart = yaml.safe_load((ROOT / "helm" / "ginkgo-exporter" / "Chart.yaml").read_text(encoding="utf-8"))
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    command = ["make", "--no-print-directory", "notes", f"VERSION={__version__}"]
    notes = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "### " in notes
    assert "## [" not in notes


BENCHMARKS = (ROOT / "docs" / "explanation" / "benchmarks.md").read_text(encoding="utf-8")
CASES = re.split(r"^([\d,]+ nodes.*):$", BENCHMARKS, flags=re.MULTILINE)
TABLES = dict(zip(CASES[1::2], CASES[2::2], strict=True))
MEDIAN, BLOCK = 2, 7
"""The columns of the whole scrape and of the longest block of Redis, both medians in milliseconds."""


def shown(case: str, way: str, column: int = MEDIAN) -> str:
    """Return a figure of the table as a text rounds it."""
    (row,) = (line for line in TABLES[case].splitlines() if line.startswith(f"| {way} |"))
    milliseconds = float(row.split("|")[column].split("(")[0].replace(",", ""))
    return f"{milliseconds + 1e-9:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


OURS, LUA = "**ginkgo-exporter**", "redis_exporter with Lua"
FIGURES = {
    "README.md": [shown(case, way) for case in ("1,000 nodes", "10,000 nodes") for way in (OURS, LUA)],
    "docs/explanation/comparison.md": [
        shown("1,000 nodes", LUA, BLOCK),
        shown("1,000 nodes", "a plain script"),
        shown("1,000 nodes", OURS),
    ],
}


def test_times_in_the_texts_are_the_measured_ones() -> None:
    for name, figures in FIGURES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        assert [figure for figure in figures if figure not in text] == []


MEASURED = re.compile(r"\d (?:ms|MiB|MB) (?:of CPU|of memory|a scrape|more)|in \d+ ms|times the (?:CPU|time)|\bmedian")
SOURCE = re.compile(r".*benchmarks\.md|(?=.*`(?:make|python -m) )(?=.*\d cores)(?=.*20\d\d-\d\d-\d\d)", re.DOTALL)


def test_page_with_measured_figures_names_command_machine_and_day_or_links_to_the_benchmarks() -> None:
    paths = (*ROOT.glob("[RS]*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("helm/*/README.md"))
    texts = [text for path in paths if MEASURED.search(text := path.read_text(encoding="utf-8"))]
    assert [text[:50] for text in texts if not SOURCE.match(text)] == []


UNIT = Path(__file__).parents[2] / "docs" / "how-to" / "ginkgo-exporter.service"
LOOSE = 1.5
"""systemd calls an exposure below 2 safe; a server on the network that runs on the host's root has 1.1."""


@pytest.mark.server("systemd-analyze")
def test_systemd_accepts_the_unit_which_is_locked_down_and_ends_for_good_at_a_wrong_setting(tmp_path: Path) -> None:
    unit, text = tmp_path / UNIT.name, UNIT.read_text(encoding="utf-8")
    # systemd looks for the program.
    unit.write_text(text.replace("/opt/ginkgo-exporter/bin/ginkgo-exporter", "/bin/true"), encoding="utf-8")

    def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [binary("systemd-analyze"), "--no-pager", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    checked = analyze("verify", unit)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    checked = analyze("security", "--offline=true", f"--threshold={int(LOOSE * 10)}", "--json=short", unit)
    loose = {one["name"]: float(one["exposure"]) for one in json.loads(checked.stdout) if one["exposure"]}
    assert checked.returncode == 0, loose
    assert max(loose.values()) <= 0.5  # the host's network
    assert re.findall(r"^RestartPreventExitStatus=(.+)$", text, re.MULTILINE) == [str(int(ExitCode.USAGE))]


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
