"""One node whose writes are noted by hand, and what the soak's judges say of answers and pages about it."""

from collections.abc import Iterable
from typing import Any
from unittest.mock import Mock

from exporter.contract import HEARTBEAT_TTL
from exporter.push.alerts import NODE_OFFLINE
from lab.monitoring import Notice
from lab.nodes import FIELDS
from lab.oracle import OFFLINE, ONLINE, UNIX, Answer, Oracle, Pages, shown
from lab.platform import COUNTERS, RandomNode
from lab.truth import TTL, Chance, Fault, Recorder, Write

COUNTS = {metric.name for metric in COUNTERS}
GONE = None


class Truth:
    """Nodes without a thread that writes for them."""

    def __init__(self, *names: str) -> None:
        self.nodes = {name: RandomNode(name) for name in names or ("a",)}
        self.recorder = Recorder(Mock())
        self.chance = Chance(self.recorder)
        self.oracle = Oracle(self.nodes, self.recorder, self.chance)
        self.notices: list[Notice] = []
        self.events: list[dict[str, Any]] = []
        self.pages = Pages(self.oracle, beside_rules=True)

    def write(self, key: str, value: Any, at: float, *, lost: bool = False) -> None:
        self.recorder.keys[key].writes.append(Write(value, at, at + 0.001, sure=True, lost=lost))

    def beat(self, at: float, name: str = "a", **changed: str) -> None:
        heartbeat, metrics = self.nodes[name].own_keys
        self.write(heartbeat, "a beat", at)
        self.write(metrics, {**FIELDS, **changed}, at)

    def stop(self, at: float, *, lost: bool = False) -> None:
        """Delete the node's keys, or have Redis lose them."""
        for key in self.nodes["a"].own_keys:
            self.write(key, None, at, lost=lost)

    def fault(self, since: float, until: float, **kinds: bool) -> None:
        down = (since, until) if not kinds.get("readable") else ()
        self.chance.faults.append(Fault(since, *down, until=until, **kinds))

    def wrong(self, at: float, state: str | None, without: Iterable[str] = (), **values: Any) -> list[str]:
        """Return what is wrong with an answer in which the first node is in that state."""
        heartbeat = self.recorder.keys[self.nodes["a"].own_keys[0]]
        beats = [write for write in heartbeat.writes if write.value and write.begun <= at]
        given = {name: value for name, value in shown(FIELDS).items() if state == ONLINE or name in COUNTS}
        given[HEARTBEAT_TTL.name] = max(0.0, beats[-1].ended + TTL - at) if beats and state == ONLINE else 0
        given |= {f"ginkgo_node_{name}": value for name, value in values.items()}
        given = {name: value for name, value in given.items() if name not in without}
        return list(self.oracle.judge(Answer(at, at + 0.01, {"a": state} if state else {}, {"a": given})))

    def say(self, at: float, state: str, *, member: bool = False, event: bool = True) -> None:
        """Have a scrape say what the node is, and an event, too."""
        list(self.oracle.judge(Answer(at, at + 0.01, {"a": state}, lost=frozenset({"a"} if member else ()))))
        if event:
            self.tell(at, None, state, **({"loss": "a"} if member else {}))

    def tell(self, at: float, before: str | None, after: str, **evidence: str) -> None:
        """Have an event say what the node is."""
        known = {"id": at, "time": UNIX + at, "kind": "node", "subjects": ["a"], "evidence": evidence}
        self.events.insert(0, {**known, "from": before, "to": after})

    def page(self, at: float, name: str = NODE_OFFLINE, status: str = "firing", ends: float = 999.0) -> list[str]:
        """Have a notification come, and return what is wrong with the pages."""
        labels = {"alertname": name, **({"node_id": "a"} if name == NODE_OFFLINE else {})}
        self.notices.append(Notice(at, {"status": status, "labels": labels, "startsAt": str(at), "endsAt": str(ends)}))
        return self.judged(at)

    def judged(self, at: float) -> list[str]:
        return list(self.pages.judge(self.events, self.notices, at))


def seen_online() -> Truth:
    truth = Truth()
    truth.beat(100)
    assert not truth.wrong(100.4, ONLINE)
    return truth


def dead() -> Truth:
    """Return a node that beat at 100, and that a scrape calls dead."""
    truth = seen_online()
    truth.say(103.1, OFFLINE)
    return truth
