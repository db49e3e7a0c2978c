"""Runbooks as pages: the node is in each command, and pasting a command runs nothing but it."""

import html
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.journal.changes import Entry
from exporter.journal.event import EventKind
from exporter.journal.journal import Journal
from exporter.liveness.offline import Offline, unknown
from exporter.telemetry import Telemetry
from exporter.web.known import MOST_PORTFOLIOS, known_of
from exporter.web.runbooks import alert_summaries, index, runbook
from exporter.web.shell import assignment, in_promql, with_node
from fleets import snapshot_of
from hostile_ids import HOSTILE
from journal_events import T0
from lab.readings import ALIVE, CRASHED
from lab.servers import RedisServer, running_exporter
from portfolio_snapshots import example

ROOT = Path(__file__).parent.parent.parent


def blocks(page: str) -> list[str]:
    return [html.unescape(text) for text in re.findall(r"<pre><code(?: [^>]*)?>(.*?)</code></pre>", page, re.DOTALL)]


def value_in(shell: str, line: str, folder: Path) -> str:
    """Return what a shell gives the variable when the line is pasted."""
    done = subprocess.run(
        [shell], input=f'{line}\nprintf %s "$NODE"\n'.encode(), capture_output=True, check=True, cwd=folder
    )  # fmt: skip
    assert list(folder.iterdir()) == []
    return done.stdout.decode()


@pytest.mark.parametrize("node_id", HOSTILE)
def test_line_sets_the_variable_and_runs_nothing(node_id: str, tmp_path: Path) -> None:
    line = assignment(node_id)
    assert line.isprintable()
    assert value_in("bash", line, tmp_path) == node_id


@settings(max_examples=60)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_id_is_its_own_value(node_id: str) -> None:
    line = assignment(node_id)
    assert line.isprintable()
    done = subprocess.run(["bash"], input=f'{line}\nprintf %s "$NODE"\n'.encode(), capture_output=True, check=True)
    assert done.stdout == node_id.encode()


@pytest.mark.parametrize("node_id", [name for name in HOSTILE if name.isprintable()])
def test_id_without_control_characters_suits_every_shell(node_id: str, tmp_path: Path) -> None:
    assert value_in("sh", assignment(node_id), tmp_path) == node_id


def test_commands_name_the_node_by_the_variable() -> None:
    assert with_node("redis-cli GET heartbeat:node:NODE # NODE\n", "a'b") == (
        'NODE=\'a\'"\'"\'b\'\nredis-cli GET heartbeat:node:"$NODE" # "$NODE"\n'
    )
    assert with_node("redis-cli PING\n", "a") == "redis-cli PING\n"


def test_without_an_id_the_reader_sets_the_variable() -> None:
    assert with_node("docker kill -- NODE\n", "") == 'NODE=\ndocker kill -- "$NODE"\n'
    assert with_node('silence add node_id=\\"NODE\\"\n', "") == 'NODE=\nsilence add node_id=\\""$NODE"\\"\n'
    page = (runbook("GinkgoPortfoliosUntraded", "", []) or b"").decode()
    assert [block for block in blocks(page) if block.startswith("NODE=\n")]
    assert '<input name="node_id" value=""' in page


def test_a_matcher_of_alertmanager_gets_the_id_as_a_string() -> None:
    line = with_node('silence add node_id=\\"NODE\\"\n', 'a"\\\n~.*')
    assert line == 'MATCHED=\'"a\\"\\\\\\n~.*"\'\nsilence add node_id="$MATCHED"\n'


def test_query_holds_the_id_as_a_string_of_promql() -> None:
    assert in_promql('up{node_id="NODE"}', 'a"b\\c\n') == 'up{node_id="a\\"b\\\\c\\u000a"}'


def test_every_runbook_is_a_page_and_is_listed() -> None:
    names = {path.stem for path in (ROOT / "alerts" / "runbooks").glob("Ginkgo*.md")}
    assert set(alert_summaries()) == names
    listed = index().decode()
    for name in names:
        assert f'href="./{name}"' in listed
        page = runbook(name, "n1", []) or b""
        assert f"<h1>{name}</h1>".encode() in page
    assert runbook("Unknown", "", []) is None
    assert runbook("../README", "", []) is None


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "alerts" / "runbooks").glob("Ginkgo*.md")))
def test_no_command_of_a_runbook_keeps_the_placeholder_or_takes_the_id_as_its_own_text(name: str) -> None:
    hostile = "x'$(touch pwned)"
    plain, filled = ((runbook(name, node, []) or b"").decode() for node in ("", hostile))
    for before, after in zip(blocks(plain), blocks(filled), strict=True):
        assert not re.search(r"\bNODE\b", after.replace("$NODE", "").replace("NODE=", ""))
        if "NODE" in before and "{" not in before:
            set_first = [assignment(hostile), assignment(f'"{hostile}"', "MATCHED")]
            lines = [line for line in after.splitlines() if line not in set_first]
            assert len(lines) < len(after.splitlines())
            assert "touch" not in "".join(lines)
    if shutil.which("bash"):
        for block in blocks(filled):
            if "NODE=" in block:
                checked = subprocess.run(["bash", "-n"], input=block.encode(), capture_output=True, check=False)
                assert checked.returncode == 0, checked.stderr


def test_markup_in_an_id_is_text() -> None:
    page = (runbook("GinkgoNodeOffline", "<script>alert(1)</script>\x1b", ["<b>known</b>"]) or b"").decode()
    assert "<script" not in page
    assert "<b>known" not in page
    assert "\x1b" not in page


class _Since:
    """Every node is offline since T0."""

    def __call__(self, name: bytes) -> Offline:  # noqa: ARG002 - every node
        return Offline(T0, exact=True)

    def undecided(self, name: bytes) -> None:
        """Return None: no node is undecided."""


def test_what_is_known_stands_on_top() -> None:
    journal = Journal(None, Telemetry(), lambda: T0, lambda: 0.0)
    evidence = {"because": "its heartbeat ended"}
    journal.tell(lambda: [Entry(0.0, EventKind.NODE, "n1", "online", "offline", evidence)])
    snapshot = snapshot_of({b"n1": CRASHED, b"n2": ALIVE})
    offline = known_of("n1", snapshot, _Since(), journal)
    assert offline[0].startswith("Now node n1 is ")
    assert offline[-1] == "2026-01-06 12:30:45 UTC: Node n1 is offline. The reason: its heartbeat ended."
    assert known_of("n2", snapshot, unknown, journal) == ["Now node n2 is online."]
    assert known_of("n3", snapshot, unknown, journal) == ["Redis holds nothing of node n3 now."]
    assert known_of("n1", None, unknown, journal)[0].startswith("Redis cannot be read")
    assert known_of("", snapshot, unknown, journal)[0].startswith("Now: 1 online")


def test_events_on_top_are_those_that_explain_the_alert() -> None:
    journal = Journal(None, Telemetry(), lambda: T0, lambda: 0.0)
    journal.tell(lambda: [Entry(0.0, EventKind.REDIS, "redis", "takes writes", "writes refused", {})])
    for number in range(10):
        journal.tell(
            lambda name=f"n{number}": [
                Entry(0.0, EventKind.NODE, name, "online", "undecided", {"deadline": float(name[1:])})
            ]
        )
    snapshot = snapshot_of({b"n1": ALIVE})
    assert "refused" not in " ".join(known_of("", snapshot, unknown, journal))
    assert "Redis: writes refused." in known_of("", snapshot, unknown, journal, alert="GinkgoRedisWritesRefused")[-1]


def test_portfolios_that_a_dead_node_may_still_trade_stand_on_top() -> None:
    journal = Journal(None, Telemetry(), lambda: T0, lambda: 0.0)
    nodes = snapshot_of({b"gamma": CRASHED, b"alpha": ALIVE})
    snapshot = replace(nodes, portfolios=example().portfolios)
    dead = " ".join(known_of("gamma", snapshot, unknown, journal))
    assert "Its last list names p03, p09. It may still trade them if its process runs." in dead
    assert (
        "Portfolio p03 is untraded (node_offline), since 2026-01-06 12:20:00 UTC; the plan gives it to gamma." in dead
    )
    assert "Portfolio p06" not in dead
    everything = known_of("", snapshot, unknown, journal, alert="GinkgoPortfoliosUntraded")
    assert len([sentence for sentence in everything if sentence.startswith("Portfolio ")]) == MOST_PORTFOLIOS
    assert everything[-1].endswith("portfolios more are not traded as planned.")
    assert "Its last list" not in " ".join(everything)
    assert "Its last list" not in " ".join(known_of("alpha", snapshot, unknown, journal))


def test_runbooks_are_served_with_a_policy_that_allows_no_script(redis_server: RedisServer, tmp_path: Path) -> None:
    with running_exporter(tmp_path, "--redis.url", redis_server.url) as exporter:
        listed = exporter.get("/runbooks/")
        page = exporter.get(f"/runbooks/GinkgoNodeOffline?node_id={quote(HOSTILE[2])}")
        missing = exporter.get("/runbooks/GinkgoNothing")
        with pytest.raises(ConnectionError):  # the exporter does not read a header of a megabyte to its end
            exporter.get(f"/runbooks/GinkgoNodeOffline?node_id={'a' * 1_000_000}")
        status = exporter.get("/")
    assert (listed.status, page.status, missing.status) == (200, 200, 404)
    assert "script-src" not in page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert assignment(HOSTILE[2]) in html.unescape(page.body.decode())
    assert b'href="./runbooks/"' in status.body
