"""The sentences on what is now."""

from exporter.journal.situation import alertmanager_refuses, redis_away, redis_unreadable, undecided, writes_refused
from exporter.liveness.states import State
from lab.readings import WALL


def row(
    name: str, because: str | None = "its death may be part of a mass loss", until: float | None = None
) -> dict[str, object]:
    return {"node_id": name, "state": "undecided", "undecided_because": because, "undecided_until": until}


def test_outage_says_since_when_and_why() -> None:
    assert redis_unreadable(WALL, "no answer") == "Redis cannot be read since 2026-01-06 12:30:45 UTC: no answer."
    assert redis_unreadable(None, "") == "Redis cannot be read."


def test_outage_says_what_was_last_known_and_which_alert_comes() -> None:
    counts = {State.ONLINE: 5, State.OFFLINE: 0, State.UNDECIDED: 1}
    assert redis_away(WALL + 60, "no answer", WALL, counts) == (
        "Redis cannot be read since 2026-01-06 12:31:45 UTC: no answer. So nothing is known of the nodes now."
        " The last that was known is old, of 2026-01-06 12:30:45 UTC: 5 online, 1 undecided."
        " No node is called dead for this; GinkgoRedisUnreachable pages when it lasts for a minute."
    )
    assert "12:30:45 UTC: no nodes." in redis_away(None, "", WALL, {})
    assert "The last" not in redis_away(None, "", None, {})


def test_refused_writes_name_their_errors_and_the_alert() -> None:
    said = writes_refused(WALL, {"MISCONF": 7, "OOM": 0})
    assert said.startswith("Redis refuses writes since 2026-01-06 12:30:45 UTC (MISCONF 7), so no node can beat.")
    assert "GinkgoRedisWritesRefused" in said
    assert "()" not in writes_refused(WALL, {})


def test_alertmanager_that_takes_nothing_is_named_with_time_and_reason() -> None:
    said = alertmanager_refuses("http://a:9093", WALL, "HTTP 401")
    assert said.startswith("Alertmanager http://a:9093 takes no posts since 2026-01-06 12:30:45 UTC: HTTP 401.")


def test_one_undecided_node_has_its_reason_and_its_time() -> None:
    assert undecided([row("a", "a second look decides", WALL), {"node_id": "b", "state": "online"}]) == [
        "Node a is undecided: a second look decides. It cannot be called dead before 2026-01-06 12:30:45 UTC."
    ]


def test_nodes_with_one_reason_share_a_sentence_and_the_earliest_time() -> None:
    (said,) = undecided([row(name, until=WALL + number) for number, name in enumerate("abcd")])
    assert said == (
        "4 nodes (a, b, c and 1 more) are undecided: its death may be part of a mass loss."
        " They cannot be called dead before 2026-01-06 12:30:45 UTC."
    )


def test_causes_are_counted_beyond_the_largest_five() -> None:
    rows = [*(row(f"n{number}", f"cause {number}") for number in range(7)), row("m", "cause 5"), row("o", "cause 5")]
    said = undecided(rows)
    assert len(said) == 6
    assert said[0].startswith("3 nodes (n5, m, o) are undecided")
    assert said[-1] == "2 more nodes are undecided for other reasons."


def test_row_of_an_older_exporter_has_an_unknown_reason() -> None:
    assert undecided([{"node_id": "a", "state": "undecided"}]) == ["Node a is undecided: the reason is unknown."]


def test_id_and_reason_of_another_process_stay_on_one_line() -> None:
    (said,) = undecided([row("a\n\x1b[2J", "x\ny")])
    assert "\n" not in said
    assert "\x1b" not in said
