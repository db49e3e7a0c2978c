"""The sentences on what is now: page, table, JSON, log, readiness and ``explain`` say the same in the same words."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from exporter.journal.sentences import FIRST, at, shown
from exporter.liveness.states import State

_MOST: Final = 5
"""Most causes that are named."""


def redis_unreadable(since: float | None, error: str) -> str:
    """Return that Redis cannot be read, since when and why, as one sentence.

    Args:
        since: Unix time since which it cannot be read; None if that is unknown.
        error: Why, in one line; empty if that is unknown.
    """
    when = "" if since is None else f" since {at(since)}"
    return f"Redis cannot be read{when}{f': {shown(error)}' if error else ''}."


def redis_away(since: float | None, error: str, known_at: float | None, counts: Mapping[State, int]) -> str:
    """Return sentences on an outage of Redis: its start and cause, the last known states, and the alerts to expect.

    Args:
        since: Unix time since which it cannot be read; None if that is unknown.
        error: Why, in one line; empty if that is unknown.
        known_at: Unix time of the last read; None if there was none.
        counts: How many nodes there were in each state at that time.
    """
    said = [redis_unreadable(since, error), "So nothing is known of the nodes now."]
    if known_at is not None:
        known = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "no nodes"
        said.append(f"The last that was known is old, of {at(known_at)}: {known}.")
    said.append("No node is called dead for this; GinkgoRedisUnreachable pages when it lasts for a minute.")
    return " ".join(said)


def writes_refused(since: float, errors: Mapping[str, int]) -> str:
    """Return sentences on a Redis that refuses writes.

    Args:
        since: Unix time since which it does.
        errors: The refused writes by error, since Redis started.
    """
    counted = ", ".join(f"{shown(error)} {count}" for error, count in errors.items() if count)
    return (
        f"Redis refuses writes since {at(since)}{f' ({counted})' if counted else ''}, so no node can beat."
        " No node is called dead for this; GinkgoRedisWritesRefused pages."
    )


def alertmanager_refuses(url: str, since: float, problem: str) -> str:
    """Return sentences on an Alertmanager that takes no posts.

    Args:
        url: Its address.
        since: Unix time since which it takes none.
        problem: Why, in one line.
    """
    return (
        f"Alertmanager {shown(url)} takes no posts since {at(since)}: {shown(problem)}."
        " Its alerts are posted again until it takes them."
    )


def undecided(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return sentences on the undecided nodes among some rows: which, for which reason, and until when.

    Args:
        rows: Rows of ``exporter.snapshot.rows``, or of the JSON of another exporter.
    """
    causes: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["state"] == State.UNDECIDED:
            causes.setdefault(str(row.get("undecided_because") or "the reason is unknown"), []).append(row)
    largest = sorted(causes.items(), key=lambda item: -len(item[1]))
    said = [_undecided(cause, nodes) for cause, nodes in largest[:_MOST]]
    if left := sum(len(nodes) for _, nodes in largest[_MOST:]):
        said.append(f"{left} more nodes are undecided for other reasons.")
    return said


def _undecided(cause: str, rows: Sequence[Mapping[str, Any]]) -> str:
    names = ", ".join(shown(row["node_id"]) for row in rows[:FIRST])
    more = f" and {len(rows) - FIRST} more" if len(rows) > FIRST else ""
    subject = f"Node {names} is" if len(rows) == 1 else f"{len(rows)} nodes ({names}{more}) are"
    ends = [row["undecided_until"] for row in rows if row.get("undecided_until") is not None]
    who = "It" if len(rows) == 1 else "They"
    until = f" {who} cannot be called dead before {at(min(ends))}." if ends else ""
    return f"{subject} undecided: {shown(cause)}.{until}"
