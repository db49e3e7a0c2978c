"""The availability of trading on a real Prometheus: that of a simulated month equals the truth."""

import random
import subprocess
from bisect import bisect
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from grafana.proof import tsdb
from grafana.proof.expressions import expressions, fill, read
from grafana.proof.lives import END
from grafana.proof.tsdb import Prometheus

ROOT = Path(__file__).parents[2]
FLEET = {found.where: found.text for found in expressions(read(ROOT / "grafana" / "dashboards" / "fleet.json"))}
DAY, SCRAPE, PORTFOLIOS = 86_400, 120, 40
LOOK = 5
"""Seconds between two looks at the truth."""
BEGIN = END - 30 * DAY
RULE = "installation:ginkgo_portfolios_traded:ratio"


class Spell(NamedTuple):
    """What lasts until a time: how many portfolios are untraded or unknown; None while Redis cannot be read."""

    until: float
    untraded: int | None
    unknown: int


def month(dice: random.Random) -> list[Spell]:
    """Draw the spells of a month: mostly all is well, and now and then portfolios are untraded for up to two hours."""
    spells, at = [], float(BEGIN)
    while at < END:
        spells.append(Spell(at := at + dice.expovariate(1 / 20_000), 0, 0))
        lasts = dice.uniform(60, 7_200)
        kind = dice.random()
        untraded = None if kind < 0.1 else dice.randint(1, PORTFOLIOS // 4) if kind < 0.9 else 0
        spells.append(Spell(at := at + lasts, untraded, dice.randint(0, 10)))
    return spells


def samples(spells: list[Spell]) -> Iterator[str]:
    ends = [spell.until for spell in spells]
    scraped = [(at, spells[bisect(ends, at)]) for at in range(BEGIN, END + 1, SCRAPE)]
    place = 'job="ginkgo-exporter",instance="a:1"'
    for metric, label, of in (
        ("ginkgo_portfolios", 'state="traded"', lambda spell: PORTFOLIOS - spell.untraded - spell.unknown - 2),
        ("ginkgo_portfolios", 'state="misplaced"', lambda _: 2),
        ("ginkgo_portfolios", 'state="untraded"', lambda spell: spell.untraded),
        ("ginkgo_portfolios", 'state="unknown"', lambda spell: spell.unknown),
        ("ginkgo_portfolios_untraded", 'reason="node_offline"', lambda spell: spell.untraded),
    ):
        for at, spell in scraped:
            if spell.untraded is not None:
                yield f"{metric}{{{place},{label}}} {of(spell)} {at}\n"
    yield "# EOF\n"


def is_open(at: float) -> bool:
    time = datetime.fromtimestamp(at, UTC)
    return time.weekday() < 5 and 60 <= time.hour * 60 + time.minute < 450


def truth(spells: list[Spell], begin: float, *, market: bool) -> float:
    """Return the share of a span in which portfolios were traded."""
    ends = [spell.until for spell in spells]
    traded = known = 0.0
    for at in range(int(begin), END, LOOK):
        spell = spells[bisect(ends, at)]
        if spell.untraded is not None and (not market or is_open(at)):
            known += 1
            traded += (PORTFOLIOS - spell.untraded - spell.unknown) / (PORTFOLIOS - spell.unknown)
    return traded / known


@pytest.fixture(scope="module")
def spells() -> list[Spell]:
    return month(random.Random(39))  # noqa: S311 - each run is alike


@pytest.fixture(scope="module")
def prometheus(spells: list[Spell], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("month")
    groups = yaml.safe_load((ROOT / "alerts" / "ginkgo.rules.yml").read_text(encoding="utf-8"))["groups"]
    (rule,) = [rule for group in groups for rule in group["rules"] if rule.get("record") == RULE]
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "ratio", "rules": [rule]}]}))
    (folder / "samples.om").write_text("".join(samples(spells)))
    made = ["promtool", "tsdb", "create-blocks-from"]
    subprocess.run([*made, "openmetrics", "--quiet", folder / "samples.om", folder / tsdb.BLOCKS], check=True)
    with tsdb.running(folder, lookback=2 * SCRAPE) as server:
        span = [f"--start={BEGIN}", f"--end={END}", f"--eval-interval={SCRAPE}s", f"--url={server.url}"]
        subprocess.run([*made, "rules", *span, f"--output-dir={folder / 'recorded'}", folder / "rules.yml"], check=True)
    for block in (folder / "recorded").iterdir():
        block.rename(folder / tsdb.BLOCKS / block.name)
    with tsdb.running(folder, lookback=2 * SCRAPE) as server:
        yield server


@pytest.mark.server("prometheus")
@pytest.mark.timeout(300)
def test_availability_of_a_simulated_month_equals_the_truth(spells: list[Spell], prometheus: Prometheus) -> None:
    today = END % DAY
    for title, span, near in (("30 days", 30 * DAY, 0.001), ("7 days", 7 * DAY, 0.002), ("Today", today, 0.004)):
        for kind in ("Traded", "Market hours"):
            query = fill(FLEET[f"{kind}: {title} A"], __range=f"{today}s")
            (shown,) = prometheus.instant(query)
            expected = truth(spells, END - span, market=kind == "Market hours")
            assert float(shown["value"][1]) == pytest.approx(expected, abs=near), (title, kind)
    (lost,) = prometheus.instant(fill(FLEET["Portfolio-minutes lost in 30 days A"]))
    starts = [float(BEGIN), *(spell.until for spell in spells)]
    minutes = sum(
        (min(s.until, END) - start) / 60 * (s.untraded or 0) for start, s in zip(starts, spells, strict=False)
    )
    assert lost["metric"]["reason"] == "node_offline"
    assert float(lost["value"][1]) == pytest.approx(minutes, rel=0.01)
