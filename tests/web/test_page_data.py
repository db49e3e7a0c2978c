"""The status page and its rows as they leave the exporter, without a browser."""

import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest

from exporter.journal.situation import redis_away
from exporter.liveness.states import State
from exporter.settings import load
from exporter.web import page
from fleets import snapshot_of
from lab.readings import WALL, Pair

NODES = {
    b"node-1": Pair(ttl=12, fields={"total_events": b"1234567", "cpu_usage": b"12.5"}),
    b"node-2": Pair(),
    b"<b>\x1b": Pair(ttl=30),
}


@pytest.fixture
def without_gc() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def rows() -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(page.rows_json(snapshot_of(NODES), 30.0))
    return answer


@pytest.mark.usefixtures("without_gc")
def test_page_leaves_no_garbage_for_the_collector() -> None:
    snapshot, settings = snapshot_of(NODES), load({})
    page.render(snapshot, settings, [])
    gc.collect()
    for _ in range(10):
        page.render(snapshot, settings, [])
    assert gc.collect() == 0, "objects of a page refer to each other, and stay in memory until a collection"


def test_rows_hold_the_text_of_each_column_as_the_page_shows_it() -> None:
    body = page.render(snapshot_of(NODES), load({}), None).decode()
    for node in rows()["nodes"]:
        shown = [text.replace("<", "&lt;").replace(">", "&gt;") for text in node["texts"]]
        line = next(line for line in body.splitlines() if f">{shown[1]}<" in line)
        cells = [cell.rpartition(">")[2] for part in line.split("</td>") for cell in part.split("</th>")]
        assert [cell for cell in cells if cell] == shown


def test_rows_put_offline_nodes_first_and_say_when_redis_was_read() -> None:
    answer = rows()
    assert [node["node_id"] for node in answer["nodes"]] == ["node-2", "<b>\x1b", "node-1"]
    assert answer["redis_up"] is True
    assert answer["read"] == "2026-01-06 12:30:45 UTC"
    assert answer["nodes"][2]["heartbeat_age_seconds"] == 18


def test_rows_of_a_redis_that_cannot_be_read_are_empty_and_have_the_clocks_time() -> None:
    answer = json.loads(page.rows_json(None, 30.0, clock=lambda: WALL + 60))
    assert answer == {
        "redis_up": False,
        "trouble": page.TROUBLE,
        "notices": [],
        "events": "",
        "read": "2026-01-06 12:31:45 UTC",
        "nodes": [],
    }
    assert "Read at 2026-01-06 12:31:45 UTC" in page.render(None, load({}), None, clock=lambda: WALL + 60).decode()


def test_pushed_alerts_are_escaped_and_have_their_age() -> None:
    alert = {"labels": {"alertname": "A", "node_id": "<i>\x1b"}, "since": WALL - 65}
    body = page.render(None, load({}), [alert], clock=lambda: WALL).decode()
    assert r"node_id=&lt;i&gt;\x1b" in body
    assert "since 1m 5s ago" in body


def test_page_says_why_redis_cannot_be_read_and_what_was_known_before() -> None:
    trouble = redis_away(WALL, "cannot <b>connect</b>\n", WALL - 10, {State.ONLINE: 5, State.OFFLINE: 0})
    assert trouble == (
        "Redis cannot be read since 2026-01-06 12:30:45 UTC: cannot <b>connect</b>\\n. So nothing is known of the nodes"
        " now. The last that was known is old, of 2026-01-06 12:30:35 UTC: 5 online. No node is called dead for this;"
        " GinkgoRedisUnreachable pages when it lasts for a minute."
    )
    body = page.render(None, load({}), None, trouble=trouble).decode()
    assert "cannot &lt;b&gt;connect" in body
    assert json.loads(page.rows_json(None, 30, trouble=trouble))["trouble"] == trouble
    assert json.loads(page.rows_json(snapshot_of(NODES), 30, trouble=trouble))["trouble"] == ""
    assert redis_away(None, "", None, {}).startswith("Redis cannot be read. So nothing is known")
