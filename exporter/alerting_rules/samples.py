"""Samples of made-up series, in the notation of promtool's unit tests, and labels that a selector takes or refuses."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from exporter.alerting_rules.promql import Matcher
from exporter.errors import SettingsError

STALE: Final = "stale"
"""After this a series is missing."""
MISSING: Final = "_"
"""No sample."""

_ELSEWHERE: Final = "elsewhere"


@dataclass(frozen=True, slots=True)
class Clock:
    """When a made-up story turns, and how often it is scraped.

    Attributes:
        interval: Seconds between two scrapes.
        turn: Scrapes before the change.
        length: All scrapes.
    """

    interval: int
    turn: int
    length: int


class Gauge(NamedTuple):
    """A value that changes once; ``STALE`` and ``MISSING`` are values too."""

    before: float | str
    after: float | str

    def values(self, clock: Clock) -> str:
        """Return the samples."""
        before, after = _text(self.before), _text(self.after)
        if after == STALE:
            return f"{before}x{clock.turn - 1} {STALE}"
        if before == MISSING:
            return f"_x{clock.turn} {after}x{clock.length - clock.turn}"
        return f"{before}x{clock.turn - 1} {after}x{clock.length - clock.turn}"


class Counter(NamedTuple):
    """A total that rises at one rate per second, and then at another."""

    before: float
    after: float

    def values(self, clock: Clock) -> str:
        """Return the samples."""
        first, then = self.before * clock.interval, self.after * clock.interval
        end = first * (clock.turn - 1)
        return f"0+{_text(first)}x{clock.turn - 1} {_text(end + then)}+{_text(then)}x{clock.length - clock.turn}"


class Swing(NamedTuple):
    """A gauge that is 1 until the change, and then changes some times between 0 and 1, once a scrape."""

    times: int

    def values(self, clock: Clock) -> str:
        """Return the samples."""
        swings = " ".join(str((number + 1) % 2) for number in range(1, self.times + 1))
        rest = clock.length - clock.turn - self.times
        return f"1x{clock.turn - 1} {swings} {(self.times + 1) % 2}x{max(rest, 1)}"


class Climb(NamedTuple):
    """A gauge that is missing until the change, and then has another value at each scrape."""

    def values(self, clock: Clock) -> str:
        """Return the samples."""
        return f"_x{clock.turn} 1+{clock.interval}x{clock.length - clock.turn}"


Values = Gauge | Counter | Swing | Climb


def taken(matchers: Sequence[Matcher]) -> dict[str, str]:
    """Return labels that all selectors take.

    Raises:
        SettingsError: For one of the selectors no such label can be made up.
    """
    labels: dict[str, str] = {}
    for matcher in matchers:
        value = next((text for text in _candidates(matcher) if takes(matcher, text)), None)
        if value is None:
            raise SettingsError(f"--tests: no value can be made up that the selector {matcher} takes")
        labels[matcher.label] = value
    if not all(takes(matcher, labels.get(matcher.label, "")) for matcher in matchers):
        raise SettingsError("--tests: the selectors contradict each other")
    return {name: value for name, value in labels.items() if value}


def refused(matchers: Sequence[Matcher]) -> dict[str, str] | None:
    """Return labels that the first selector refuses; None if there is no selector."""
    for matcher in matchers:
        for value in (_ELSEWHERE, "", *_candidates(matcher)):
            if not takes(matcher, value):
                return {name: text for name, text in (taken(matchers) | {matcher.label: value}).items() if text}
    return None


def takes(matcher: Matcher, value: str) -> bool:
    """Return whether a selector takes a value of its label; a missing label is an empty value."""
    wanted = json.loads(matcher.quoted)
    if matcher.operator in ("=", "!="):
        return bool((value == wanted) == (matcher.operator == "="))
    return (re.fullmatch(wanted, value) is not None) == (matcher.operator == "=~")


def _candidates(matcher: Matcher) -> Iterator[str]:
    wanted = json.loads(matcher.quoted)
    if matcher.operator == "=":
        yield wanted
    elif matcher.operator == "=~":
        for part in re.sub(r"[()]", "", wanted).split("|"):
            yield re.sub(r"\\(.)", r"\1", part.replace(".*", "").replace(".+", "x").strip("^$"))
    elif matcher.operator == "!=":
        yield from ("", "other", wanted)
    else:
        yield from ("other", "", *re.sub(r"[()]", "", wanted).split("|"))


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.12g}"
