"""The status page's section on portfolios."""

import gc
import re

from exporter.settings import load
from exporter.snapshot.snapshot import Snapshot
from exporter.web import page
from exporter.web.portfolio_section import MOST_ROWS, portfolio_section
from fleets import snapshot_of
from portfolio_snapshots import example, traded, with_portfolios


def section(snapshot: Snapshot | None, *, everything: bool = False) -> str:
    return portfolio_section(snapshot, everything=everything, pause=lambda: None).decode()


def shown(html: str) -> list[str]:
    return re.findall(r"<tr class=\"[\w ]+\"><td>\w+</td><td>(.*?)</td>", html)


def test_faults_come_first_and_traded_portfolios_are_left_out() -> None:
    html = section(example())
    assert shown(html) == ["p03", "p04", "p09", "p13", "p05", "p06", "p07", "p08", "p10", "p11", "p12"]
    assert "<b>2</b> traded" in html
    assert "<b>4</b> untraded" in html
    assert "Show all" in html


def test_all_portfolios_are_shown_on_demand() -> None:
    html = section(example(), everything=True)
    assert shown(html)[-2:] == ["p01", "p02"]
    assert len(shown(html)) == 13
    assert "Show faults only" in html


def test_no_fault_is_said_in_words() -> None:
    assert "No portfolio is at fault." in section(traded(3))


def test_too_many_rows_are_counted() -> None:
    html = section(traded(MOST_ROWS + 5), everything=True)
    assert len(shown(html)) == MOST_ROWS
    assert "5 more portfolios are not shown" in html


def test_hostile_id_is_text() -> None:
    html = section(with_portfolios({b"<script>\x1b": b"<b>"}, []))
    assert "<script>" not in html
    assert "&lt;script&gt;\\x1b" in html


def test_installation_without_ledger_has_no_section() -> None:
    assert section(snapshot_of({})) == section(None) == ""
    body = page.render(snapshot_of({}), load({}), None).decode()
    assert '<section id="portfolios" aria-labelledby="portfolios-title" hidden></section>' in body
    assert '<h2 id="portfolios-title">' in page.render(example(), load({}), None).decode()


def test_section_leaves_no_garbage() -> None:
    snapshot = example()
    section(snapshot)
    gc.collect()
    gc.disable()
    try:
        section(snapshot)
        assert gc.collect() == 0
    finally:
        gc.enable()
