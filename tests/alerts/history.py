"""An hour of samples of 10,000 healthy nodes, which Prometheus scrapes at once.

The samples have times of their own, so that they are in Prometheus's memory, as the samples of an hour's scrapes would
be. promtool could write blocks on the disk instead, but a query over a block and the memory costs about twice as much.
"""

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Final, Self

from lab.nodes import FIELDS

STEP: Final = 15
"""Seconds between two samples of a series."""
STEP_OF_TOTALS: Final = 60
"""Seconds between two samples of a series that is recorded once a minute."""
PAGE: Final = 12
"""Samples of each series in one scrape."""
GROWING: Final = "ginkgo_node_events_total"
EVENTS: Final = int(FIELDS["total_events"])
"""Last value of the series that grow."""
SERIES: Final = {
    "ginkgo_node_up": (30, 1),
    "ginkgo_node_heartbeat_ttl_seconds": (10, 25),
    "ginkgo_node_queue_size": (10, 0),
    "ginkgo_node_portfolios": (10, 3),
    "ginkgo_node_events_total": (30, EVENTS),
    "ginkgo_node_backpressure_total": (10, 5),
    "ginkgo_node_dropped_events_total": (10, 0),
    "node:ginkgo_node_backpressure:rate5m": (65, 0),
    "node:ginkgo_node_events_total:max": (65, EVENTS),
    "node:ginkgo_node_queue_size:fullest": (10, 0),
    # The recordings of an earlier release, which are compared with today's.
    "first_node:ginkgo_node_backpressure:rate5m": (65, 0),
    "first_node:ginkgo_node_events_total:max": (65, EVENTS),
}
"""By name of a series: the minutes of the longest window that a rule reads it over, and its value."""


class History:
    """A target that returns the past page by page, oldest first, and then empty pages.

    Args:
        nodes: Number of nodes.
        instance: Label `instance` of the series: the exporter that exports them later.
    """

    def __init__(self, nodes: int, instance: str) -> None:
        self._nodes, self._instance = nodes, instance
        self.handed_over = False
        now = int(time.time())
        pages = self._pages(range(now - 65 * 60, now, STEP), now)
        history = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = next(pages, b"")
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)
                history.handed_over = not body

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _pages(self, times: range, now: int) -> Iterator[bytes]:
        labels = {
            name: [
                f'{name}{{{instance}job="ginkgo-exporter",node_id="node-{number}"}} '.encode()
                for number in range(self._nodes)
            ]
            for name in SERIES
            for instance in ["" if ":" in name else f'instance="{self._instance}",']
        }
        for start in range(0, len(times), PAGE):
            page = []
            for at in times[start : start + PAGE]:
                for name, (minutes, value) in SERIES.items():
                    step = STEP_OF_TOTALS if name.endswith(":max") else STEP
                    if at >= now - minutes * 60 and not (now - at) % step:
                        end = b"%d %d000\n" % (value - (now - at) * (GROWING in name), at)
                        page.append(end.join([*labels[name], b""]))
            yield b"".join(page)
