"""The receiver of compose.yaml shows what Alertmanager posts, and nothing that a label can inject."""

import asyncio
import json
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient

from exporter.demo.pages import Pages

HOST = "127.0.0.1"


def notification(status: str, summary: str = "Node a is offline", **annotations: str) -> str:
    alert = {
        "status": status,
        "fingerprint": "f",
        "labels": {"alertname": "GinkgoNodeOffline", "severity": "critical", "node_id": "a"},
        "annotations": {"summary": summary, **annotations},
        "startsAt": "2026-01-01T00:00:00.5Z",
        "endsAt": "2026-01-01T00:01:00Z" if status == "resolved" else "0001-01-01T00:00:00Z",
    }
    return json.dumps({"status": status, "alerts": [alert]})


async def ask(*bodies: str) -> tuple[str, list[dict[str, Any]]]:
    """Post notifications to the receiver `pager`; return the page, and the JSON."""
    pages = Pages(HOST, 0)
    url = f"http://{HOST}:{pages.port}"
    client = AsyncHTTPClient(force_instance=True)
    try:
        for body in bodies:
            await client.fetch(f"{url}/pager", method="POST", body=body)
        page = await client.fetch(f"{url}/")
        found = await client.fetch(f"{url}/", headers={"Accept": "application/json"})
        assert (await client.fetch(f"{url}/-/healthy")).code == 200
    finally:
        client.close()
        await pages.close()
    return page.body.decode(), json.loads(found.body)["pages"]


def told(*bodies: str) -> tuple[str, list[dict[str, Any]]]:
    return asyncio.run(ask(*bodies))


def test_each_change_is_shown_once_and_the_newest_first(capsys: pytest.CaptureFixture[str]) -> None:
    page, kept = told(notification("firing"), notification("firing"), notification("resolved"))

    assert [(one["receiver"], one["status"]) for one in kept] == [("pager", "resolved"), ("pager", "firing")]
    assert page.index("resolved") < page.index(">firing")
    lines = capsys.readouterr().out.splitlines()
    assert [line[9:] for line in lines] == [
        "pager: FIRING GinkgoNodeOffline: Node a is offline",
        "pager: RESOLVED GinkgoNodeOffline: Node a is offline",
    ]


def test_texts_of_an_alert_are_escaped_and_only_addresses_of_the_web_are_links() -> None:
    page, _ = told(notification("firing", "<script>alert(1)</script>", runbook_url="javascript:alert(1)"))
    linked, _ = told(notification("firing", runbook_url="https://a.example/r"))

    assert "<script>" not in page
    assert "javascript:" not in page
    assert '<a href="https://a.example/r">GinkgoNodeOffline</a>' in linked


def test_an_empty_page_says_so() -> None:
    page, kept = told()

    assert "Nothing has arrived yet" in page
    assert kept == []
