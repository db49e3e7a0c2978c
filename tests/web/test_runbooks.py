"""Runbooks as pages: an id in commands is its own value and runs nothing, and what is known stands on top."""

import html
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.bundled import alert_severities
from exporter.journal.event import MOST_PORTFOLIOS, REASONS, EventKind
from exporter.journal.journal import Journal
from exporter.liveness import State, View
from exporter.portfolios.ledger import NodeReport
from exporter.settings import load
from exporter.snapshot.snapshot import Snapshot
from exporter.telemetry import Telemetry
from exporter.web import page as status
from exporter.web import runbooks
from exporter.web.runbooks import assignment, in_promql, with_node
from fleets import Exporter, snapshot_of
from lab.nodes import ALIVE, CRASHED, WALL, Pair
from portfolio_example import account_of, example

ROOT = Path(__file__).parent.parent.parent
NAMES = sorted(path.stem for path in (ROOT / "alerts" / "runbooks").glob("Ginkgo*.md"))


def fleet(journal: Journal | None = None) -> Any:
    """Return the part of a fleet that runbooks ask."""
    view = Mock(spec=View, refused_since=None, errors={}, server=None)
    journal = journal or Journal(None, Telemetry(), lambda: WALL, lambda: 0.0)
    return Mock(journal=journal, view=lambda: view, last_known=(None, {}), settings=load({}))


def status_page(snapshot: Snapshot) -> str:
    return status.render(snapshot, fleet(), None, status.query_of({})).decode()


def page(name: str, node_id: str, snapshot: Snapshot | None = None) -> str:
    return runbooks.runbook(name, node_id, fleet(), snapshot).decode()


def blocks(text: str) -> list[str]:
    return [html.unescape(each) for each in re.findall(r"<pre><code(?: [^>]*)?>(.*?)</code></pre>", text, re.DOTALL)]


@settings(max_examples=40)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_id_is_its_own_value(node_id: str) -> None:
    script = f'{assignment(node_id)}\nprintf %s "$NODE"\n'.encode()
    assert subprocess.run(["bash"], input=script, capture_output=True, check=True).stdout == node_id.encode()


def test_commands_name_the_node_by_a_variable_and_matchers_and_queries_hold_it_as_a_string() -> None:
    assert with_node("redis-cli GET heartbeat:node:NODE # NODE\n", "a'b") == (
        'NODE=\'a\'"\'"\'b\'\nredis-cli GET heartbeat:node:"$NODE" # "$NODE"\n'
    )
    assert with_node("redis-cli PING\n", "a") == "redis-cli PING\n"
    assert with_node("docker kill -- NODE\n", "") == 'NODE=\ndocker kill -- "$NODE"\n'
    line = with_node('silence add node_id=\\"NODE\\"\n', 'a"\\\n~.*')
    assert line == 'MATCHED=\'"a\\"\\\\\\n~.*"\'\nsilence add node_id="$MATCHED"\n'
    assert in_promql('up{node_id="NODE"}', 'a"b\\c\n') == 'up{node_id="a\\"b\\\\c\\n"}'


def test_every_runbook_is_a_page_is_listed_and_keeps_no_placeholder() -> None:
    assert sorted(alert_severities()) == NAMES
    listed = runbooks.index().decode()
    hostile = "x'$(touch pwned)"
    for name in NAMES:
        assert f'href="./{name}"' in listed
        plain, filled = page(name, ""), page(name, hostile)
        assert f"<h1>{name}</h1>" in plain
        for before, after in zip(blocks(plain), blocks(filled), strict=True):
            assert not re.search(r"\bNODE\b", after.replace("$NODE", "").replace("NODE=", "")), name
            if "NODE" in before and "{" not in before:
                set_first = [assignment(hostile), assignment(f'"{hostile}"', "MATCHED")]
                assert "touch" not in "".join(line for line in after.splitlines() if line not in set_first)
            if "NODE=" in after and shutil.which("bash"):
                checked = subprocess.run(["bash", "-n"], input=after.encode(), capture_output=True, check=False)
                assert checked.returncode == 0, checked.stderr
    assert '<input name="node_id" value=""' in page("GinkgoPortfoliosUntraded", "")


def test_markup_in_an_id_is_text_and_no_script_may_run() -> None:
    shown = page("GinkgoNodeOffline", "<script>alert(1)</script>\x1b", snapshot_of({}))
    assert "<script" not in shown
    assert "\x1b" not in shown
    assert "<li>Node n2 is online now.</li>" in page("GinkgoNodeOffline", "n2", snapshot_of({b"n2": ALIVE}))
    assert "script-src" not in runbooks.HEADERS["Content-Security-Policy"]


# --- what is known now -----------------------------------------------------------------------


def known(node_id: str, snapshot: Snapshot | None, journal: Journal | None = None) -> str:
    return " ".join(runbooks.known(node_id, fleet(journal), snapshot))


def test_what_is_known_of_the_node_stands_on_top() -> None:
    journal = Journal(None, Telemetry(), lambda: WALL, lambda: 0.0)
    journal.note(EventKind.SCHEDULER, EventKind.SCHEDULER, None, "stalled")
    journal.note(EventKind.NODE, "n1", "online", "offline", because="no heartbeat came in time")
    snapshot = snapshot_of({b"n1": CRASHED, b"n2": ALIVE})
    said = known("n1", snapshot, journal)
    assert said.startswith("Node n1 is offline now. It has been offline since 2026-01-06 12:30:45 UTC.")
    assert said.endswith("Node n1 is offline; it was online before. The reason is: no heartbeat came in time.")
    assert "Scheduler" not in said
    assert "The scheduler is stalled" in known("", snapshot, journal)
    assert known("n2", snapshot) == "Node n2 is online now."
    assert known("n3", snapshot) == "Node n3 is gone or forgotten now."
    assert known("n1", None).startswith("Redis cannot be read")
    assert known("", snapshot) == "Nodes now: 1 online, 1 offline."


def test_portfolios_of_the_node_and_their_open_positions_are_named() -> None:
    snapshot = snapshot_of({b"gamma": CRASHED, b"alpha": ALIVE}, account=example())
    dead = known("gamma", snapshot)
    assert "Its portfolios: p03, p09." in dead
    assert (
        f"Portfolio p03 is untraded. The reason is: {REASONS['node_offline']}."
        " It has been in this state since 2026-01-06 12:20:00 UTC."
        " It has 3 open positions. The plan gives it to gamma."
    ) in dead
    assert "p06" not in dead
    everything = known("", snapshot)
    assert "Open positions in untraded portfolios: at least 7." in everything
    assert everything.count("Portfolio p") == MOST_PORTFOLIOS
    assert "loaded on alpha, beta. Keep node alpha, and kill the process of node beta." in known("alpha", snapshot)
    assert status_page(snapshot).count("; failover overdue") == 4
    unknown = status_page(snapshot_of({}, account=example()._replace(positions={})))
    assert "open positions in untraded portfolios: number not known" in unknown
    assert "The portfolios cannot be read: no right." in status_page(replace(snapshot_of({}), problem="no right"))


def test_drops_are_named_with_the_portfolios_that_lose_events() -> None:
    exporter = Exporter()
    for at, drops in ((0, b"5"), (10, b"61")):
        account = account_of({b"p1": b"a"}, [NodeReport(b"a", State.ONLINE, [b"p1"])])
        snapshot = exporter.snapshot({b"a": Pair(ttl=30, fields={"dropped_events": drops})}, at, account)
    said = known("a", snapshot)
    assert "It dropped 56 events in the last five minutes." in said
    assert "Its portfolios: p1." in said
    assert "Node a dropped 56 events in the last five minutes." in known("", snapshot)
    assert "That alone is no all-clear" in status_page(snapshot)


def test_nodes_that_take_no_event_are_named_while_most_others_do() -> None:
    deaf = {b"deaf": {}, b"paused": {"status": b"PAUSED"}, b"idle": {"portfolio_count": b"0"}}
    for others, named in ((4, True), (3, False)):
        exporter = Exporter()
        for at in (0, 60):
            own = {**deaf, **{b"%d" % number: {"total_events": b"%d" % at} for number in range(others)}}
            usual = {"total_events": b"5", "portfolio_count": b"1"}
            pairs = {name: Pair(ttl=30, fields={**usual, **fields}) for name, fields in own.items()}
            snapshot = exporter.snapshot(pairs, at)
        said = known("", snapshot)
        assert ("Node deaf took no event in the last minute, while most other nodes did." in said) is named
        assert ("took no event" in said) is named
