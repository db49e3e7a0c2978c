"""The scraper beside the attackers: what Prometheus would see."""

import re
import threading
import time
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Final

from lab.siege.stand import Stand

INTERVAL: Final = 1.0
"""Seconds between two scrapes."""
_TIMEOUT: Final = 10.0
_UP: Final = re.compile(rb"^ginkgo_redis_up 1", re.MULTILINE)
_ONLINE: Final = re.compile(rb'^ginkgo_node_up\{node_id="execution-node-\d+"\} 1$', re.MULTILINE)


@dataclass(slots=True)
class Seen:
    """What a scraper saw.

    Attributes:
        seconds: How long each scrape took.
        whole: Scrapes with all nodes.
        down: Scrapes that said, in full, that Redis cannot be read.
        wrong: What other scrapes were, by kind, with how often.
    """

    seconds: list[float] = field(default_factory=list)
    whole: int = 0
    down: int = 0
    wrong: dict[str, int] = field(default_factory=dict)

    def note_wrong(self, kind: str) -> None:
        """Note a scrape that was neither whole nor honest about Redis."""
        self.wrong[kind] = self.wrong.get(kind, 0) + 1


class Scraper:
    """Scrapes once a second until it is stopped.

    Args:
        stand: The exporter.
        nodes: Nodes of the fleet: all of them are online in a whole scrape.
    """

    def __init__(self, stand: Stand, nodes: int) -> None:
        self._stand, self._nodes = stand, nodes
        self.seen = Seen()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> Seen:
        """End after the scrape that is under way, and return what was seen."""
        self._stopped.set()
        self._thread.join()
        return self.seen

    def _run(self) -> None:
        while not self._stopped.is_set():
            start = time.monotonic()
            self._scrape(start)
            self._stopped.wait(max(0.0, start + INTERVAL - time.monotonic()))

    def _scrape(self, start: float) -> None:
        try:
            status, body = self._stand.get("/metrics", _TIMEOUT)
        except (OSError, HTTPException) as error:
            self.seen.note_wrong(type(error).__name__)
            return
        finally:
            self.seen.seconds.append(time.monotonic() - start)
        if status != 200:
            self.seen.note_wrong(f"HTTP {status}")
        elif not _UP.search(body):
            self.seen.down += 1
        elif len(_ONLINE.findall(body)) == self._nodes:
            self.seen.whole += 1
        else:
            self.seen.note_wrong("nodes missing or called dead")
