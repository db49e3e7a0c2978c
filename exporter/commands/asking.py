"""Whom ``nodes``, ``portfolios``, ``explain`` and ``forget`` ask: a running exporter by its JSON, or Redis itself."""

import base64
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import unquote, urlencode, urlsplit

from exporter.commands.command_line import say
from exporter.errors import ExporterError, SettingsError, SourceError
from exporter.escaping import printable
from exporter.fleet import Fleet
from exporter.journal.event import Event, EventKind, event_of
from exporter.settings import Settings, http_url
from exporter.snapshot.rows import Row, faults_first, portfolio_rows, rows_of

NODES: Final = "nodes"
PORTFOLIOS: Final = "portfolios"
_TIMES: Final = {NODES: ("offline_since", "offline_since_exact", "offline_seconds"), PORTFOLIOS: ("since",)}
"""The keys of a row that say since when it is so."""
_TIMEOUT: Final = 10.0
_LONGEST: Final = 256 * 1024 * 1024


class RunningExporter:
    """A running exporter.

    Args:
        url: Address of its status page. A user and a password in it are sent as basic auth.

    Attributes:
        place: The address without user and password.
        runbooks: The address of its runbooks.
        remembers: Whether it watched before, and so may know since when a node is offline.

    Raises:
        SettingsError: The URL is invalid.
    """

    remembers = True

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        bare = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        try:
            http_url(bare)
        except ValueError:
            raise SettingsError("--exporter.url: not an address such as http://localhost:19121") from None
        self.place = bare.rstrip("/")
        self.runbooks = f"{self.place}/runbooks"
        pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
        self._headers = {"Authorization": f"Basic {base64.b64encode(pair).decode()}"} if parts.username else {}

    def rows(self, name: str) -> list[Row]:
        """Return all rows of a list, ``NODES`` or ``PORTFOLIOS``.

        Raises:
            ExporterError: The exporter cannot be asked.
            SourceError: The exporter cannot read Redis.
        """
        answer = self.get(name, {}, {"redis_up", name})
        if not answer["redis_up"]:
            why = printable(str(answer.get("trouble") or "Redis cannot be read: see its log."))
            raise SourceError(f"the exporter at {self.place} says: {why}")
        rows: list[Row] = answer[name]
        return rows if name == NODES else faults_first(rows)

    def events(self, limit: int, subject: str = "", kinds: Collection[EventKind] = ()) -> list[Event]:
        """Return the newest events, the oldest of them first.

        Args:
            limit: How many events, at most.
            subject: What they are about; empty for anything.
            kinds: Their kinds; empty for any.

        Raises:
            ExporterError: The exporter cannot be asked.
        """
        query = {"subject": subject, "kind": [kind.value for kind in kinds], "limit": limit}
        answer = self.get("events", {name: value for name, value in query.items() if value}, {"events"})
        try:
            return [event_of(value) for value in reversed(answer["events"])]
        except ValueError:
            raise ExporterError(f"the exporter at {self.place} gives events of another version") from None

    def get(self, name: str, query: dict[str, Any], keys: Collection[str]) -> dict[str, Any]:
        """Return an answer of ``/api/v1/`` that has these keys.

        Raises:
            ExporterError: The exporter cannot be asked.
        """
        place = self.place
        url = f"{place}/api/v1/{name}?{urlencode(query, doseq=True)}"
        request = urllib.request.Request(url, headers=self._headers)  # noqa: S310 - checked above
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310 - checked above
                answer = json.loads(response.read(_LONGEST))
        except urllib.error.HTTPError as error:
            error.close()  # it has the connection
            hint = " (give them as http://USER:PASSWORD@…)" if error.code == 401 else ""  # noqa: PLR2004
            raise ExporterError(
                f"the exporter at {place} answers {error.code} {printable(error.reason)}{hint}"
            ) from None
        except (OSError, HTTPException) as error:
            why = getattr(error, "reason", error)
            text = getattr(why, "strerror", "") or str(why) or type(why).__name__
            raise ExporterError(f"cannot reach the exporter at {place}: {text} (see --exporter.url)") from None
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or not answer.keys() >= set(keys):
            raise ExporterError(f"the server at {place} is not a ginkgo-exporter (see --exporter.url)")
        return answer


class RedisItself:
    """Redis, read by a fleet of this process.

    Args:
        settings: Where Redis is, and the names of its keys.
        fleet: Reads it; started if it watches Redis between two readings.
        remembers: Whether it was started.

    Attributes:
        place: The addresses of Redis without user and password.
        runbooks: Empty.
        remembers: As above.
    """

    runbooks = ""

    def __init__(self, settings: Settings, fleet: Fleet, *, remembers: bool) -> None:
        urls = (urlsplit(url.get_secret_value()) for url in settings.redis.url)
        self.place = ", ".join(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" for parts in urls)
        self.remembers, self._fleet = remembers, fleet

    def rows(self, name: str) -> list[Row]:
        """Return all rows of a list.

        Raises:
            SourceError: Redis, or the plan, cannot be read.
        """
        snapshot = self._fleet.read() if self.remembers else self._fleet.look()
        if name == PORTFOLIOS and snapshot.problem:
            raise SourceError(f"the portfolios cannot be read: {snapshot.problem}")
        account = snapshot.account
        portfolios = faults_first(portfolio_rows(account)) if account else []
        rows = list(rows_of(snapshot)) if name == NODES else portfolios
        # At a single reading nobody knows since when a node is offline, or a portfolio at fault.
        unknown: Row = {} if self.remembers else dict.fromkeys(_TIMES[name])
        return [row | unknown for row in rows]


@contextmanager
def asking(
    settings: Settings, url: str | None, *, quiet: bool = False, watch: bool = False
) -> Iterator[RunningExporter | RedisItself]:
    """Lend whom to ask: the exporter at an address, the one on this machine unless a Redis was given, or Redis.

    Args:
        settings: Where Redis is, and the port of an exporter on this machine.
        url: The address of an exporter; None if the user gave none.
        quiet: Whether the output itself says who was asked; if not, a line on standard error says so.
        watch: Whether Redis is watched between two readings.
    """
    exporter = RunningExporter(url) if url else None if "url" in settings.redis.given else _exporter_here(settings)
    if exporter:
        if not url and not quiet:
            say(f"ginkgo-exporter: the exporter at {exporter.place} was asked", file=sys.stderr)
        yield exporter
        return
    with closing(Fleet(settings)) as fleet:
        if watch:
            fleet.start()
        yield RedisItself(settings, fleet, remembers=watch)


def _exporter_here(settings: Settings) -> RunningExporter | None:
    here = RunningExporter(f"http://localhost:{settings.web.listen_address.port}")
    try:
        here.get(NODES, {"limit": 1}, {"redis_up", NODES})
    except ExporterError:
        return None
    return here
