"""What the nodes' heartbeats tell ``check``: whether TTL, time zone and format fit the settings."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Final, NamedTuple

from exporter.commands.finding import Finding
from exporter.journal.sentences import shown
from exporter.settings import Heartbeat
from exporter.snapshot.clocks import TOLERANCE
from exporter.snapshot.rows import duration
from exporter.source.names import shown_id
from exporter.source.reading import NO_EXPIRY, Reading

_SLACK: Final = 1.0
"""Seconds by which a TTL may exceed the setting: clocks and rounding."""
_TOO_SHORT: Final = 0.6
"""Share of ``--heartbeat.ttl`` below which all TTLs are too short: a node beats when two thirds of the TTL are left."""
_ENOUGH: Final = 3
"""Living nodes from which on short TTLs are no chance."""
_ZONE_STEP: Final = 900
"""Seconds: offsets of time zones are multiples of a quarter of an hour."""


class _Written(NamedTuple):
    """A living heartbeat that is a time.

    Attributes:
        name: The node.
        off: Seconds by which the written time is ahead of the time that the TTL shows.
        naive: Whether the time names no offset.
    """

    name: bytes
    off: float
    naive: bool


def heartbeat_findings(reading: Reading, heartbeat: Heartbeat) -> Iterator[Finding]:
    """Yield what is wrong with the heartbeats of a reading.

    Args:
        reading: The nodes.
        heartbeat: The settings of heartbeats.
    """
    living = [position for position, ms in enumerate(reading.ttl_ms) if ms > 0]
    longest = max((reading.ttl_ms[position] / 1000 for position in living), default=0.0)
    if longest > heartbeat.ttl + _SLACK:
        name = next(reading.names[p] for p in living if reading.ttl_ms[p] / 1000 == longest)
        yield Finding(
            f"the heartbeat of node {shown(shown_id(name))} lives for {duration(math.ceil(longest))} more, longer than"
            f" --heartbeat.ttl ({duration(heartbeat.ttl)}), so ages are wrong, and after a fault of Redis living nodes"
            " can be called offline",
            "Set --heartbeat.ttl to the TTL that the nodes give to their heartbeats",
            must=True,
        )
    elif len(living) >= _ENOUGH and longest < _TOO_SHORT * heartbeat.ttl:
        yield Finding(
            f"no heartbeat lives for more than {duration(math.ceil(longest))}, and --heartbeat.ttl is"
            f" {duration(heartbeat.ttl)}, so after a fault of Redis deaths are found late",
            "Set --heartbeat.ttl to the TTL that the nodes give to their heartbeats",
        )
    if endless := [reading.names[p] for p, ms in enumerate(reading.ttl_ms) if ms == NO_EXPIRY]:
        yield Finding(
            f"{_some(endless, 'heartbeat')} never expires, so it proves no life and its node is offline",
            "The node must write it with SETEX",
        )
    fitting = [p for p in living if reading.ttl_ms[p] / 1000 <= heartbeat.ttl + _SLACK]
    written, unreadable = _times(reading, fitting, heartbeat)
    if unreadable:
        yield Finding(
            f"{_some(unreadable, 'heartbeat')} is no time in ISO 8601, so the time of the last beat is unknown",
            "The node must write a time such as 2026-01-06T12:30:45.123456+00:00",
        )
    yield from _clock_findings(written, reading.wall, heartbeat)


def _times(reading: Reading, positions: Sequence[int], heartbeat: Heartbeat) -> tuple[list[_Written], list[bytes]]:
    """Return the heartbeats at these positions that are times, and the nodes whose heartbeat is not a time."""
    written, unreadable = [], []
    for position in positions:
        expected = reading.wall - heartbeat.ttl + reading.ttl_ms[position] / 1000
        try:
            time = datetime.fromisoformat((reading.beats[position] or b"").decode("ascii"))
            unix = (time if time.tzinfo else time.replace(tzinfo=heartbeat.timezone)).timestamp()
        except (ValueError, OverflowError):
            unreadable.append(reading.names[position])
        else:
            written.append(_Written(reading.names[position], unix - expected, time.tzinfo is None))
    return written, unreadable


def _clock_findings(written: Sequence[_Written], wall: float, heartbeat: Heartbeat) -> Iterator[Finding]:
    naive = [each for each in written if each.naive]
    steps = Counter(round(each.off / _ZONE_STEP) * _ZONE_STEP for each in naive)
    (step, count), *_ = steps.most_common(1) or [(0, 0)]
    zone_is_wrong = step != 0 and count == len(naive) and all(abs(each.off - step) <= TOLERANCE for each in naive)
    if zone_is_wrong:
        own = datetime.fromtimestamp(wall, heartbeat.timezone).utcoffset() or timedelta()
        try:
            nodes = datetime.fromtimestamp(wall, UTC).astimezone(timezone(own + timedelta(seconds=step)))
        except ValueError:  # no time zone is that far from UTC
            zone_is_wrong = False
        else:
            yield Finding(
                f"{_some([each.name for each in naive], 'heartbeat')} is written in another time zone, UTC{nodes:%z}:"
                f" it names no offset and is read in --heartbeat.timezone ({heartbeat.timezone}), so the times of"
                f" last beats are wrong by {duration(abs(step))}",
                "Set --heartbeat.timezone to the nodes' time zone, such as Asia/Shanghai",
                must=True,
            )
    wrong = [each for each in written if abs(each.off) > TOLERANCE and not (zone_is_wrong and each.naive)]
    if wrong:
        yield Finding(
            f"{_some([each.name for each in wrong], 'heartbeat')} has a time that is {duration(abs(wrong[0].off))}"
            f" {'ahead' if wrong[0].off > 0 else 'behind'}, so the times of last beats are wrong. Ages and alerts come"
            " from the TTL and are right",
            "See the clock of the node, and --heartbeat.timezone",
        )


def _some(names: Sequence[bytes], thing: str) -> str:
    """Return ``the heartbeat of node a``, with how many others it stands for."""
    others = len(names) - 1
    more = f" (and of {others} more {'nodes' if others > 1 else 'node'})" if others else ""
    return f"the {thing} of node {shown(shown_id(names[0]))}{more}"
