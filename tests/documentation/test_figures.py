"""The times in the texts are those of the table of benchmarks, and measured figures have a source."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

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
