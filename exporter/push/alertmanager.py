"""One Alertmanager: posts alerts to it, in its own time, and never an old one.

An alert is posted with its end two minutes ahead and posted anew while it lasts;
its end is never posted (unless nobody else writes these alerts), since a second
writer's end would end it for Prometheus too.
"""

import asyncio
import json
import random
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any, Final

import structlog
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse

from exporter.push.alerts import Alert, Texts
from exporter.push.config import HttpConfig

LASTS: Final = 120.0
"""Seconds from a post to the end that it gives an alert."""
FRESH: Final = 2.0
"""Seconds for which what a look at Redis showed may be posted: later a node may be back."""
IDLE: Final = 15.0
"""Seconds without a post after which an empty one is sent, to know that the next will be taken."""
BATCH: Final = 256
"""Alerts a post."""
_CONNECT: Final = 2.0
_REQUEST: Final = 5.0
_BACKOFF: Final = (0.25, 2.0)

log = structlog.get_logger(__name__)


class Alertmanager:
    """Posts to one Alertmanager. For the event loop.

    Args:
        url: Its address.
        texts: Labels and annotations.
        config: Authentication and TLS.
        posted: Told of each post: whether it was taken, and the alerts in it.
        lasts: See ``LASTS``.
    """

    def __init__(
        self,
        url: str,
        texts: Texts,
        *,
        config: HttpConfig,
        posted: "Callable[[Alertmanager, bool, Iterable[Alert]], None]",
        lasts: float = LASTS,
    ) -> None:
        self.url = url
        self.last_taken = float("-inf")
        self._texts, self._config, self._posted, self._lasts = texts, config, posted, lasts
        self._pending: dict[tuple[str, str], tuple[Alert, float]] = {}
        self._ended: dict[tuple[str, str], Alert] = {}
        self._told: set[tuple[str, str]] = set()
        self._wake = asyncio.Event()
        self._clock: float | None = None  # its time less our monotonic one
        self._wall = 0.0  # our time less our monotonic one, when that was seen
        self._silent = False
        self._failing = False
        self._http = AsyncHTTPClient(force_instance=True)

    def offer(self, alerts: Iterable[Alert], at: float) -> None:
        """Have alerts posted that were true at ``at`` (monotonic seconds); what is newer replaces what waits."""
        for alert in alerts:
            self._pending[alert.key] = alert, at
            self._ended.pop(alert.key, None)
        self._wake.set()

    def end(self, alerts: Iterable[Alert], *, resolve: bool) -> None:
        """Post alerts no more; with ``resolve``, post that they ended."""
        for alert in alerts:
            self._pending.pop(alert.key, None)
            self._told.discard(alert.key)
            if resolve:
                self._ended[alert.key] = alert
                self._wake.set()

    async def run(self) -> None:
        """Post what is offered, until cancelled."""
        backoff = _BACKOFF[0]
        while True:
            self._wake.clear()  # before the posts: what is offered during the last of them must not wait
            if await self._post_all():
                backoff = _BACKOFF[0]
                try:
                    async with asyncio.timeout(IDLE):
                        await self._wake.wait()
                except TimeoutError:
                    pass
            else:
                await asyncio.sleep(backoff * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
                backoff = min(2 * backoff, _BACKOFF[1])

    async def try_once(self) -> str:
        """Send an empty post, and return what was wrong with it; empty if it was taken."""
        return await self._send([])

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    async def _post_all(self) -> bool:
        """Post what waits, batch by batch; return False at the first that is not taken."""
        if self._doubtful() and not await self._post([], {}):
            return False
        while True:
            alerts, ended = self._batch(time.monotonic())
            if not alerts and not ended:
                break
            if not await self._post(alerts, ended):
                return False
        if time.monotonic() - self.last_taken >= IDLE:
            return await self._post([], {})
        return True

    def _doubtful(self) -> bool:
        """Return whether to send an empty post first.

        Either its time is not known, or no longer: this machine slept, or a clock was
        set. Or it did not answer: what is sent to one that hangs may be read when it
        wakes up, minutes later, and then it must be nothing.
        """
        return self._clock is None or self._silent or abs(_wall() - self._wall) > 1.0

    def _batch(self, now: float) -> tuple[list[Alert], dict[tuple[str, str], Alert]]:
        """Return what to post next: ends, then what it was not told yet, then the rest; nothing that is not fresh."""
        ended = dict(islice(self._ended.items(), BATCH))
        fresh = [alert for alert, at in self._pending.values() if now - at <= FRESH]
        fresh.sort(key=lambda alert: alert.key in self._told)
        return fresh[: BATCH - len(ended)], ended

    async def _post(self, alerts: list[Alert], ended: Mapping[tuple[str, str], Alert]) -> bool:
        now = time.monotonic()
        body = [self._body(alert, now + self._lasts) for alert in alerts]
        body += [self._body(alert, now) for alert in ended.values()]
        sent = {alert.key: self._pending[alert.key] for alert in alerts}
        problem = await self._send(body)
        taken = not problem
        if taken:
            self.last_taken = time.monotonic()
        # What was offered meanwhile is newer and stays.
        for key, item in sent.items() if taken else ():
            if self._pending.get(key) == item:
                del self._pending[key]
                self._told.add(key)
        for key, alert in ended.items() if taken else ():
            if self._ended.get(key) is alert:
                del self._ended[key]
        if taken == self._failing:
            self._failing = not taken
            if problem:
                log.error("Alertmanager takes no alerts", url=self.url, error=problem)
            else:
                log.info("Alertmanager takes alerts again", url=self.url)
        self._posted(self, taken, alerts)
        return taken

    def _body(self, alert: Alert, ends: float) -> dict[str, Any]:
        offset = self._clock if self._clock is not None else _wall()
        return {
            "labels": self._texts.labels(alert),
            "annotations": self._texts.annotations(alert),
            "startsAt": _rfc3339(alert.began + offset),
            "endsAt": _rfc3339(ends + offset),
        }

    async def _send(self, body: list[dict[str, Any]]) -> str:
        """Send a post, and return what was wrong with it in one line; empty if it was taken."""
        try:
            request = HTTPRequest(
                f"{self.url}/api/v2/alerts",
                method="POST",
                body=json.dumps(body, ensure_ascii=False).encode(),
                headers={"Content-Type": "application/json", **self._config.headers()},
                connect_timeout=_CONNECT,
                request_timeout=_REQUEST,
                follow_redirects=False,
                ssl_options=self._config.context() if self.url.startswith("https:") else None,
            )
            response = await self._http.fetch(request, raise_error=False)
        except (ConnectionError, socket.gaierror) as error:
            self._silent = True
            return f"cannot connect: {error.strerror or error} (is it running there? see --alertmanager.url)"
        except (HTTPClientError, OSError, ValueError) as error:
            self._silent = True
            return " ".join(str(error).split()) or type(error).__name__
        if response.error and response.code == 599:  # noqa: PLR2004 - tornado's code for no answer
            self._silent = True
            return str(response.error)
        self._silent = False
        self._set_clock(response)
        if response.code != 200:  # noqa: PLR2004
            text = (response.body or b"")[:200].decode("utf-8", "replace")
            return f"HTTP {response.code} {' '.join(text.split())}".strip()
        return ""

    def _set_clock(self, response: HTTPResponse) -> None:
        """Take over Alertmanager's time. ``Date`` is cut to the second, so an alert begins too early by less."""
        try:
            unix = parsedate_to_datetime(response.headers["Date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            unix = time.time()
        self._clock = unix - time.monotonic()
        self._wall = _wall()


def _wall() -> float:
    return time.time() - time.monotonic()


def _rfc3339(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds")
