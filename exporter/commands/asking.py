"""Whom ``nodes``, ``portfolios``, ``explain`` and ``forget`` ask: a running exporter by its JSON, or Redis itself."""

import base64
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import unquote, urlencode, urlsplit

from exporter.commands.command_line import say
from exporter.errors import ExporterError, SettingsError, SourceError
from exporter.escaping import printable
from exporter.fleet import Fleet
from exporter.journal.event import Event, EventKind, event_of
from exporter.settings import Settings, http_url, without_passwords
from exporter.snapshot.rows import Row, fault_order, offline_first, portfolio_rows, rows_of

NODES: Final = "nodes"
PORTFOLIOS: Final = "portfolios"
_TIMES: Final = dict.fromkeys(("offline_since", "offline_since_exact", "offline_seconds", "since"))
"""The values of a row that say since when it is so. A single reading of Redis does not know them."""
_ORDERS: Final[dict[str, Callable[[Row], Any]]] = {NODES: offline_first, PORTFOLIOS: fault_order}


class RunningExporter:
    """A running exporter.

    Args:
        url: Address of its status page. A user and a password in it are sent as basic auth.

    Attributes:
        place: The address without user and password.

    Raises:
        SettingsError: The URL is invalid.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        try:
            self.place = http_url(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")
        except ValueError:
            raise SettingsError("--exporter.url: not an address such as http://localhost:19121") from None
        pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
        self._headers = {"Authorization": f"Basic {base64.b64encode(pair).decode()}"} if parts.username else {}

    def rows(self, name: str) -> list[Row]:
        """Return all rows of a list, ``NODES`` or ``PORTFOLIOS``, the worst states first.

        Raises:
            ExporterError: The exporter cannot be asked.
            SourceError: The exporter cannot read Redis.
        """
        answer = self.get(name)
        if not answer["redis_up"]:
            why = printable(str(answer.get("trouble") or "Redis cannot be read: see the exporter's log."))
            raise SourceError(f"the exporter at {self.place} says: {why}")
        return sorted(answer[name], key=_ORDERS[name])

    def events(self, subject: str = "", kinds: Collection[EventKind] = ()) -> list[Event]:
        """Return the 50 newest events, the oldest of them first.

        Args:
            subject: What they are about; empty for anything.
            kinds: Their kinds; empty for any.

        Raises:
            ExporterError: The exporter cannot be asked.
        """
        answer = self.get("events", limit=50, subject=subject, kind=[*kinds])
        try:
            return [event_of(value) for value in reversed(answer["events"])]
        except ValueError:
            raise ExporterError(f"the exporter at {self.place} gives events of another version") from None

    def get(self, name: str, **query: object) -> dict[str, Any]:
        """Return the answer of ``/api/v1/`` for a name, which is a key of the answer.

        Raises:
            ExporterError: The exporter cannot be asked.
        """
        url = f"{self.place}/api/v1/{name}?{urlencode(query, doseq=True)}"
        request = urllib.request.Request(url, headers=self._headers)  # noqa: S310 - checked above
        problem = "is not a ginkgo-exporter"
        try:
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - checked above
                answer: dict[str, Any] = json.load(response)
            if name in answer:
                return answer
        except urllib.error.HTTPError as error:
            error.close()  # it has the connection
            hint = " (give user and password as http://USER:PASSWORD@…)" if error.code == 401 else ""  # noqa: PLR2004
            problem = f"answers {error.code} {printable(error.reason)}{hint}"
        except (OSError, HTTPException) as error:
            problem = f"cannot be reached: {getattr(error, 'reason', error) or type(error).__name__}"
        except ValueError:
            pass
        raise ExporterError(f"--exporter.url: the server at {self.place} {problem}")


class RedisItself:
    """Redis, read by a fleet of this process.

    Args:
        settings: Where Redis is, and the names of its keys.
        fleet: Reads it; started if it watches Redis between two readings.
        watches: Whether it was started, and so may know since when a state lasts.

    Attributes:
        place: The addresses of Redis without user and password.
    """

    def __init__(self, settings: Settings, fleet: Fleet, *, watches: bool) -> None:
        self.place = ", ".join(without_passwords(url.get_secret_value()) for url in settings.redis.url)
        self._fleet, self._watches = fleet, watches

    def rows(self, name: str) -> list[Row]:
        """Return all rows of a list, the worst states first.

        Raises:
            SourceError: Redis, or the plan, cannot be read.
        """
        snapshot = self._fleet.read() if self._watches else self._fleet.look()
        if name == PORTFOLIOS and snapshot.problem:
            raise SourceError(f"the portfolios cannot be read: {snapshot.problem}")
        account = snapshot.account
        rows = rows_of(snapshot) if name == NODES else portfolio_rows(account) if account else ()
        return sorted((row if self._watches else row | _TIMES for row in rows), key=_ORDERS[name])


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
    if not url and "url" not in settings.redis.given:
        here = RunningExporter(f"http://localhost:{settings.web.listen_address.port}")
        with suppress(ExporterError):
            here.get(NODES, limit=1)
            url = here.place
            if not quiet:
                say(f"ginkgo-exporter: the exporter at {url} was asked", file=sys.stderr)
    if url:
        yield RunningExporter(url)
        return
    with closing(Fleet(settings)) as fleet:
        if watch:
            fleet.start()
        yield RedisItself(settings, fleet, watches=watch)
