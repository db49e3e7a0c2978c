"""The receiver tells and shows each change of an alert once, and nothing that a label can inject."""

import asyncio
import json

from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from exporter.demo.receiver import application


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
