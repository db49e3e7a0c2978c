"""The record: what is known after some events. A live journal and a restart make it by the same function."""

import re
from collections.abc import Mapping
from typing import Any, Final

from exporter.escaping import printable_json
from exporter.journal.event import Event, EventKind
from exporter.liveness import Change, Evidence, Loss, State
from exporter.portfolios.account import EarlierFault
from exporter.portfolios.ledger import PortfolioState

CHECKPOINT: Final = "checkpoint"
"""The only key of a line that holds a record."""
_DEAD: Final = (State.OFFLINE, State.FORGOTTEN)
_KEPT: Final = ("offline_since", "offline_since_exact", "loss", "loss_first", "deadline", "heartbeat")
"""The evidence on a dead node that outlives a restart."""
_INVALID: Final = re.compile(rb"\\x([89a-f][0-9a-f])")


class Record:
    """What is known after some events. Whoever has it guards it.

    Applying an event twice changes nothing, so a record may be ahead of the place in a file at which it stands.

    Attributes:
        alive: The nodes that were last known online or undecided.
        dead: The nodes that were last known offline or forgotten, with the evidence on each.
        faults: The portfolios that are at fault; an unknown state ends no fault.
        run: How the last change of the exporter itself ended: ``started`` or ``stopped``; None if there was none.
    """

    def __init__(self) -> None:
        self.alive: dict[str, None] = {}
        self.dead: dict[str, Mapping[str, Any]] = {}
        self.faults: dict[str, EarlierFault] = {}
        self.run: str | None = None

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> "Record":
        """Return the record that a checkpoint holds; raises a ValueError, KeyError, TypeError or AttributeError."""
        record = cls()
        record.alive = dict.fromkeys(value["alive"])
        record.dead = {name: {**node, "state": State(node["state"])} for name, node in value["dead"].items()}
        record.faults = {name: EarlierFault(*fault) for name, fault in value["faults"].items()}
        record.run = value["run"]
        return record

    def line(self) -> bytes:
        """Return the record as one line of JSON."""
        value = {"alive": list(self.alive), "dead": self.dead, "faults": self.faults, "run": self.run}
        return printable_json({CHECKPOINT: value}, separators=(",", ":")).encode() + b"\n"

    def apply(self, event: Event) -> None:
        """Take note of an event."""
        if event.kind is EventKind.EXPORTER:
            self.run = event.after if event.after in ("started", "stopped") else self.run
        elif event.kind is EventKind.NODE and event.after in tuple(State):
            self._apply_to_nodes(event)
        elif event.kind is EventKind.PORTFOLIO and event.after != PortfolioState.UNKNOWN:
            for position, subject in enumerate(event.subjects):
                since = event.evidence_at(position).get("since")
                self.faults.pop(subject, None)
                if isinstance(since, int | float):
                    self.faults[subject] = EarlierFault(event.after, since)

    def _apply_to_nodes(self, event: Event) -> None:
        for position, subject in enumerate(event.subjects):
            self.alive.pop(subject, None)
            self.dead.pop(subject, None)
            if event.after in _DEAD:
                evidence = event.evidence_at(position)
                kept = {key: evidence[key] for key in _KEPT if evidence.get(key) is not None}
                self.dead[subject] = {"state": State(event.after), "time": event.time, **kept}
            elif event.after != State.GONE:
                self.alive[subject] = None

    def changes(self, now: float, unix: float) -> list[Change]:
        """Return the last change of each known node, in monotonic times.

        Args:
            now: The monotonic time of now. What has happened is not later: the clock of the earlier run may have been
                ahead.
            unix: The Unix time of now.
        """
        known = [Change(_raw(name), None, State.ONLINE, float("-inf"), "an earlier run knew it") for name in self.alive]
        for name, node in self.dead.items():
            at, since = node["time"], node.get("offline_since", node["time"])
            end, first = node.get("deadline", since), node.get("loss_first", since)
            at, since, end, first = (now - max(0.0, unix - each) for each in (at, since, end, first))
            known.append(
                Change(
                    name=_raw(name),
                    before=None,
                    after=node["state"],
                    at=at,
                    why="it was offline in an earlier run of this exporter",
                    died=since,
                    exact=node.get("offline_since_exact") is True,
                    loss=Loss(_raw(node["loss"]), first) if "loss" in node else None,
                    evidence=Evidence(
                        end=end if "deadline" in node else None,
                        text=_raw(node["heartbeat"]) if "heartbeat" in node else None,
                    ),
                )
            )
        return known


def _raw(shown: str) -> bytes:
    """Return the bytes that ``shown_id`` shows so, and that are not all UTF-8."""
    return _INVALID.sub(lambda match: bytes.fromhex(match[1].decode()), shown.encode("utf-8", "surrogatepass"))
