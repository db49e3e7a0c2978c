"""The exporter with the bridge's times scaled to a short TTL, and its clock set wrong: as a program, for the tests."""

import functools
import os
import time

_OFF = float(os.environ.get("CLOCK_OFF", "0"))
_real_time = time.time
time.time = lambda: _real_time() + _OFF  # before anything takes it over; the monotonic clock stays

from exporter import cli  # noqa: E402
from exporter.push.bridge import Bridge  # noqa: E402

cli.Bridge = functools.partial(  # type: ignore[misc, assignment]
    Bridge,
    refresh=float(os.environ["REFRESH"]),
    lasts=float(os.environ["LASTS"]),
    blind=float(os.environ["BLIND"]),
)
cli.main()
