"""Where ``explain`` takes its facts from: a running exporter, or the file of a journal."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from exporter.commands.exporter_api import ExporterApi
from exporter.errors import ExporterError, SourceError
from exporter.journal.event import Event, EventKind, event_of
from exporter.journal.file import KEPT
from exporter.journal.lines import read_back
from exporter.journal.memory import Query, page_of

_MOST_READ: Final = 1 << 30
_MOST_EVENTS: Final = 1_000_000


class Facts(Protocol):
    """What is known.

    Attributes:
        place: Where it is known.
    """

    place: str

    def events(self, query: Query, limit: int) -> Sequence[Event]:
        """Return the newest events that a query accepts, the oldest of them first."""

    def names(self) -> Mapping[EventKind, frozenset[str]]:
        """Return all known ids of nodes and of portfolios."""

    def now(self, kind: EventKind, subject: str) -> Mapping[str, Any] | None:
        """Return the row of a node or a portfolio as it is now; None if that is not known."""

    @property
    def trouble(self) -> str:
        """Why nothing is known of now, in one line; empty if something is."""


class RunningExporter:
    """The facts of a running exporter.

    Args:
        api: The exporter.

    Raises:
        ExporterError: The exporter cannot be asked.
    """

    def __init__(self, api: ExporterApi) -> None:
        self.place = f"the exporter at {api.place}"
        self.trouble = ""
        self._api = api
        self._rows: dict[EventKind, dict[str, dict[str, Any]]] = {EventKind.NODE: {}, EventKind.PORTFOLIO: {}}
        try:
            self._rows[EventKind.NODE] = {row["node_id"]: row for row in api.rows("nodes")[0]}
            self._rows[EventKind.PORTFOLIO] = {row["portfolio_id"]: row for row in api.rows("portfolios")[0]}
        except SourceError as error:
            self.trouble = str(error)

    def events(self, query: Query, limit: int) -> Sequence[Event]:
        """Ask ``/api/v1/events``."""
        arguments = [("subject", subject) for subject in query.subjects or ()]
        arguments += [("kind", kind.value) for kind in query.kinds or ()]
        arguments += [("since", repr(query.since))] if query.since is not None else []
        arguments += [("until", repr(query.until))] if query.until is not None else []
        try:
            return [event_of(value) for value in reversed(self._api.events([*arguments, ("limit", str(limit))]))]
        except ValueError:
            raise ExporterError(f"{self.place} gives events of another version") from None

    def names(self) -> Mapping[EventKind, frozenset[str]]:
        """Return the ids in the lists of now and in the last events."""
        return _names(self.events(Query(), 1000), {kind: rows.keys() for kind, rows in self._rows.items()})

    def now(self, kind: EventKind, subject: str) -> Mapping[str, Any] | None:
        """Return the row of the list of now."""
        return self._rows.get(kind, {}).get(subject)


class JournalOnDisk:
    """The facts of a journal's files.

    Args:
        path: The newest file.

    Raises:
        ExporterError: It cannot be read.
    """

    trouble = "this is a journal: it tells what was seen, and not what is now"

    def __init__(self, path: Path) -> None:
        self.place = f"the journal {path}"
        try:
            if not path.exists():
                raise FileNotFoundError(2, "No such file or directory")
            self._events = read_back(path, KEPT, _MOST_EVENTS, _MOST_READ).events
        except OSError as error:
            raise ExporterError(f"--journal.file: {path}: {error.strerror or error}") from None

    def events(self, query: Query, limit: int) -> Sequence[Event]:
        """Search the events of the files."""
        found = page_of(filter(query.accepts, reversed(self._events)), limit).events
        return list(reversed(found))

    def names(self) -> Mapping[EventKind, frozenset[str]]:
        """Return the ids in all events."""
        return _names(self._events, {})

    def now(self, kind: EventKind, subject: str) -> Mapping[str, Any] | None:  # noqa: ARG002 - a journal knows no now
        """Return None."""
        return None


def _names(events: Iterable[Event], known: Mapping[EventKind, Iterable[str]]) -> Mapping[EventKind, frozenset[str]]:
    names: dict[EventKind, set[str]] = {
        kind: set(known.get(kind, ())) for kind in (EventKind.NODE, EventKind.PORTFOLIO)
    }
    for event in events:
        if event.kind in names:
            names[event.kind].update(event.subjects)
    return {kind: frozenset(ids) for kind, ids in names.items()}
