"""Judges the journal: each change that an answer or a page shows has its event in time, and no event is untrue."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from exporter.journal.observer import CANNOT_BE_READ
from exporter.liveness.judge import State
from exporter.push.alerts import NODE_OFFLINE
from exporter.push.journaling import TAKEN
from exporter.source.names import shown_id
from lab.soak import answers
from lab.soak.alertmanager import Notice
from lab.soak.answers import Answer, ShownNode
from lab.soak.model import Model
from lab.soak.pages import DELIVERED_WITHIN
from lab.soak.report import Report

WITHIN: Final = 1.0
"""Seconds by which an event's time may differ from the look that shows the change."""
_PAGE: Final = 1000


def events_since(port: int, since: float) -> list[Mapping[str, Any]]:
    """Return the events since a Unix time, as ``/api/v1/events`` gives them; the newest comes first.

    Raises:
        BrokenAnswer: The exporter did not answer as it should.
    """
    found: list[Mapping[str, Any]] = []
    cursor = ""
    while True:
        _, _, body = answers.get(port, f"/api/v1/events?since={since:.3f}&limit={_PAGE}{cursor}")
        answer = json.loads(body)
        found += answer["events"]
        if not answer["next"]:
            return found
        cursor = f"&cursor={answer['next']}"


@dataclass(frozen=True, slots=True)
class Expected:
    """An event that there must be, with the span of its time in monotonic seconds."""

    kind: str
    subject: str
    after: str
    since: float
    until: float


class EventJudge:
    """Compares the events of one exporter after the other with its answers, with the pages, and with the truth.

    Args:
        model: The truth about each node.
        report: The counts.
        clock: Returns monotonic seconds.
        wall: Returns Unix seconds.
    """

    def __init__(
        self,
        model: Model,
        report: Report,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._model, self._report, self._clock, self._wall = model, report, clock, wall
        self._expected: list[Expected] = []
        self._told: dict[tuple[str, str, str], list[float]] = {}  # the times of events by kind, subject and new state
        self._ids: set[int] = set()
        self._last: Answer | None = None
        self._dead: dict[str, float] = {}  # when a scrape last showed a node as offline
        self._offline: dict[str, float] = {}  # nodes that scrapes show as offline, and the last look before the first
        self.started = clock()

    def exporter_started(self, at: float) -> None:
        """Take note of a new process, whose journal begins empty."""
        self._expected, self._told, self._ids, self._last, self._offline = [], {}, set(), None, {}
        self._dead, self.started = {}, at

    @property
    def since(self) -> float:
        """Unix time from which on events are wanted."""
        return self._wall() - self._clock() + max(self.started, self._clock() - 60)

    def saw(self, answer: Answer) -> None:
        """Take note of a scrape: each state that is not that of the scrape before has its event."""
        if answer.source != "scrape" or answer.nodes is None:
            return
        self._dead |= {name: answer.until for name, seen in answer.nodes.items() if seen.state is State.OFFLINE}
        last, self._last = self._last, answer
        if last is None or last.nodes is None:
            return
        for name in last.nodes.keys() | answer.nodes.keys():
            before, after = _state(last.nodes, name), _state(answer.nodes, name)
            if before is after or before is State.GONE:
                continue
            self._expected.append(Expected("node", _id(name), after.value, last.since, answer.until))
            if after is State.OFFLINE:
                self._offline[name] = last.since
            else:
                self._offline.pop(name, None)

    def heard(self, notice: Notice) -> None:
        """Take note of a page about a node: the journal says that an Alertmanager took it.

        Alertmanager may send a page again, after a restart say. Then the event may be as old as the death.
        """
        if notice.firing and notice.alertname == NODE_OFFLINE:
            since = notice.at - DELIVERED_WITHIN - self._model.chance.slack
            if since > self.started:
                since = min(since, self._offline.get(notice.node_id, since))
                self._expected.append(Expected("push", _id(notice.node_id), TAKEN, since, notice.at))

    def judge(self, events: Iterable[Mapping[str, Any]], until: float) -> Iterator[str]:
        """Yield a text for each event that is untrue, and for each that is missing.

        Args:
            events: Events of the present exporter; those that were judged before may come again.
            until: Monotonic seconds of the moment at which they were asked for.
        """
        behind = self._wall() - self._clock()
        new = [event for event in events if event["id"] not in self._ids]
        for event in sorted(new, key=lambda event: float(event["time"])):
            self._ids.add(event["id"])
            self._report.events[f"{event['kind']}: {event['to']}"] += len(event["subjects"])
            at = event["time"] - behind
            for subject in event["subjects"]:
                self._told.setdefault((event["kind"], subject, event["to"]), []).append(at)
            yield from self._untrue(event, at)
        due = [expected for expected in self._expected if expected.until < until - WITHIN]
        self._expected = [expected for expected in self._expected if expected.until >= until - WITHIN]
        yield from filter(None, map(self._missing, due))

    def _missing(self, expected: Expected) -> str:
        slack = WITHIN + self._model.chance.slack
        times = self._told.get((expected.kind, expected.subject, expected.after), [])
        if any(expected.since - slack <= at <= expected.until + slack for at in times):
            self._report.events["changes and pages with their event"] += 1
            return ""
        nearest = min((abs(at - expected.until) for at in times), default=None)
        return (
            f"no event of {expected.subject!r} to {expected.after!r} ({expected.kind}) within"
            f" {expected.until - expected.since:.2f} s; the nearest is {nearest} s away"
        )

    def _untrue(self, event: Mapping[str, Any], at: float) -> Iterator[str]:
        slack = WITHIN + self._model.chance.slack
        if event["kind"] == "node" and event["to"] == State.OFFLINE.value:
            names = {_id(name): name for name in self._model.platform.nodes}
            for subject in event["subjects"]:
                name = names.get(subject, "")
                shown = self._dead.get(name, 0.0) >= at  # and the model has judged that scrape
                if not shown and not self._model.may_be_offline(name, at - slack, at + slack):
                    yield f"an event says that {subject!r} died, and it lives"
        if event["kind"] == "redis" and event["to"] == CANNOT_BE_READ:
            faults = self._model.chance.faults
            if not any(fault.hits(at - slack, at + slack) for fault in faults) and at > self.started + slack:
                yield f"an event says that Redis cannot be read ({event['evidence'].get('error')}), and it is well"


def _state(nodes: Mapping[str, ShownNode], name: str) -> State:
    return nodes[name].state if name in nodes else State.GONE


def _id(name: str) -> str:
    return shown_id(name.encode())
