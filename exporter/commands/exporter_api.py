"""Asks a running exporter for its JSON, as ``--exporter.url`` wants it."""

import base64
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Sequence
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import unquote, urlencode, urlsplit

from exporter.errors import ExporterError, SettingsError, SourceError
from exporter.escaping import printable

_TIMEOUT: Final = 10.0
_LONGEST: Final = 256 * 1024 * 1024


class ExporterApi:
    """A running exporter.

    Args:
        url: Address of its status page. A user and a password in it are sent as basic auth.
        clock: Returns Unix time.

    Attributes:
        place: The address without user and password.

    Raises:
        SettingsError: The URL is invalid.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or True)
        except ValueError:
            good = False
        if not good:
            raise SettingsError("--exporter.url: not an address such as http://localhost:19121")
        self.place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
        self._clock = clock
        self._headers = {}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"

    def rows(self, name: str) -> tuple[list[dict[str, Any]], float]:
        """Return all rows of a list, page by page, and Unix time by the exporter's clock.

        Args:
            name: The list: ``nodes`` or ``portfolios``.

        Raises:
            ExporterError: The exporter cannot be asked, or cannot read Redis.
        """
        answer, wall = self._rows(name, "")
        rows = list(answer[name])
        while answer.get("next"):
            answer, _ = self._rows(name, "?" + urlencode({"cursor": answer["next"]}))
            rows += answer[name]
        return rows, wall

    def events(self, arguments: Sequence[tuple[str, str]]) -> list[Any]:
        """Return the events of one page as JSON, newest first.

        Args:
            arguments: What ``/api/v1/events`` is asked for.

        Raises:
            ExporterError: The exporter cannot be asked.
        """
        answer, _ = self._get("events", "?" + urlencode(arguments), {"events"})
        return list(answer["events"])

    def _rows(self, name: str, query: str) -> tuple[dict[str, Any], float]:
        answer, wall = self._get(name, query, {"redis_up", name})
        if not answer["redis_up"]:
            why = printable(str(answer.get("trouble") or "Redis cannot be read: see its log."))
            raise SourceError(f"the exporter at {self.place} says: {why}")
        return answer, wall

    def _get(self, name: str, query: str, keys: Collection[str]) -> tuple[dict[str, Any], float]:
        """Return an answer, which must have these keys, and Unix time by the exporter's clock."""
        place = self.place
        request = urllib.request.Request(f"{place}/api/v1/{name}{query}", headers=self._headers)  # noqa: S310 - checked above
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310 - as above
                answer, date = json.loads(response.read(_LONGEST)), response.headers["Date"]
        except urllib.error.HTTPError as error:
            error.close()  # it has the connection
            hint = " (give them as http://USER:PASSWORD@…)" if error.code == 401 else ""  # noqa: PLR2004
            raise ExporterError(
                f"the exporter at {place} answers {error.code} {printable(error.reason)}{hint}"
            ) from None
        except urllib.error.URLError as error:
            reason = error.reason
            why = reason.verify_message if isinstance(reason, ssl.SSLCertVerificationError) else reason
            text = why.strerror if isinstance(why, OSError) and why.strerror else str(why)
            raise ExporterError(f"cannot reach the exporter at {place}: {text} (see --exporter.url)") from None
        except (OSError, HTTPException) as error:
            raise ExporterError(
                f"the exporter at {place} did not answer in full: {error or type(error).__name__}"
            ) from None
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or not answer.keys() >= set(keys):
            raise ExporterError(f"the server at {place} is not a ginkgo-exporter (see --exporter.url)")
        if not date:
            return answer, self._clock()
        second = parsedate_to_datetime(date).timestamp()
        # The header has whole seconds. Our own clock gives the fraction, as long as it agrees with the header.
        return answer, min(max(second, self._clock()), second + 1)
