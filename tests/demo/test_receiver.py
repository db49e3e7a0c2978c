"""The receiver tells and shows each change of an alert once, and nothing that a label can inject."""

import asyncio
import json
import subprocess
from pathlib import Path

import pytest
import yaml
from tornado.httpclient import AsyncHTTPClient

from exporter.bundled import bundled
from exporter.demo.programs import ROUTES, routed_to
from exporter.demo.receiver import Receiver
from lab.servers import binary


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
        receiver, client = Receiver("127.0.0.1", 0, lines.append), AsyncHTTPClient(force_instance=True)
        url = f"http://127.0.0.1:{receiver.port}"
        for name, body in posts:
            await client.fetch(f"{url}/{name}", method="POST", body=body)
        page = await client.fetch(url)
        client.close()
        await receiver.close()
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


@pytest.mark.server("amtool")
def test_routes_are_those_of_the_example_and_lead_to_the_demo_alone(tmp_path: Path) -> None:
    example, ours = yaml.safe_load(bundled(ROUTES).read_text()), routed_to("http://127.0.0.1:1")
    assert (ours["route"], ours["inhibit_rules"]) == (example["route"], example["inhibit_rules"])
    assert [one["name"] for one in ours["receivers"]] == [one["name"] for one in example["receivers"]]
    assert "example.org" not in yaml.safe_dump(ours)
    for receiver in ours["receivers"]:
        assert set(receiver) == {"name", "webhook_configs"}
        assert receiver["webhook_configs"][0]["url"] == f"http://127.0.0.1:1/{receiver['name']}"
    file = tmp_path / "alertmanager.yml"
    file.write_text(yaml.safe_dump(ours))
    subprocess.run([binary("amtool"), "check-config", file], check=True)
