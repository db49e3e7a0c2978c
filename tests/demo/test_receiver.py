from typing import Any

from exporter.demo.receiver import news


def notification(status: str, *nodes: str, **labels: str) -> dict[str, Any]:
    alerts = [
        {
            "status": status,
            "fingerprint": node,
            "labels": {"alertname": "GinkgoNodeOffline", "severity": "critical", "node_id": node, **labels},
            "annotations": {"summary": f"Node {node} is offline"},
        }
        for node in nodes
    ]
    return {"status": status, "alerts": alerts}


def test_each_alert_is_one_line_with_receiver_state_name_and_summary() -> None:
    assert list(news("pager", notification("firing", "a", "b"), {})) == [
        "pager is told: FIRING GinkgoNodeOffline (critical): Node a is offline",
        "pager is told: FIRING GinkgoNodeOffline (critical): Node b is offline",
    ]


def test_repeated_notification_is_no_news_and_a_change_is() -> None:
    told: dict[tuple[str, str], str] = {}
    assert len(list(news("pager", notification("firing", "a"), told))) == 1
    assert not list(news("pager", notification("firing", "a"), told))
    assert len(list(news("pager", notification("firing", "a", "b"), told))) == 1
    assert len(list(news("pager", notification("resolved", "a"), told))) == 1
    assert len(list(news("pager", notification("firing", "a"), told))) == 1


def test_receivers_are_told_separately() -> None:
    told: dict[tuple[str, str], str] = {}
    assert len(list(news("pager", notification("firing", "a"), told))) == 1
    assert len(list(news("chat", notification("firing", "a"), told))) == 1


def test_alert_without_severity_or_summary_is_told_all_the_same() -> None:
    bare = {"alerts": [{"status": "firing", "fingerprint": "f", "labels": {"alertname": "A"}, "annotations": {}}]}
    assert list(news("pager", bare, {})) == ["pager is told: FIRING A (no severity): "]
