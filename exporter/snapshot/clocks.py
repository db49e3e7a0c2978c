"""Logs a hint if a node's clock, its time zone or its heartbeat TTL does not fit the settings."""

from typing import Final

import structlog

from exporter.snapshot.values import Values
from exporter.source.names import shown_id
from exporter.source.reading import Reading

TOLERANCE: Final = 60.0
"""Seconds. A difference up to this one is not logged."""

log = structlog.get_logger(__name__)


class ClockCheck:
    """Compares the times that nodes write with the TTLs of their heartbeats. It logs one hint in its life.

    Args:
        ttl: Seconds that a heartbeat lives, by the settings.
    """

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._logged = False

    def check(self, reading: Reading, written: Values) -> None:
        """Log a hint about the first node whose heartbeat does not fit.

        Args:
            reading: The nodes and the TTLs of their heartbeats.
            written: The Unix time that each node wrote; None if it is missing.
        """
        for name, ms, text in zip(reading.names, reading.ttl_ms, written, strict=True):
            if self._logged:
                return
            if ms / 1000 > self._ttl + TOLERANCE:
                self._logged = True
                log.warning(
                    "a heartbeat lives longer than --heartbeat.ttl: ages and times are reckoned from that",
                    node_id=shown_id(name),
                    seconds=round(ms / 1000),
                )
            elif ms > 0 and text:
                off = float(text) - (reading.wall - self._ttl + ms / 1000)
                if abs(off) > TOLERANCE:
                    self._logged = True
                    log.warning(
                        "a node writes a time that is far off: see its clock, and --heartbeat.timezone",
                        node_id=shown_id(name),
                        seconds_off=round(off),
                    )
