"""ginkgo-exporter: Prometheus metrics and alerts for Ginkgo's ExecutionNodes.

A scrape begins in ``web`` and asks the ``fleet``, which shares one read among simultaneous scrapes:

    settings → source → liveness → portfolios → snapshot → journal, exposition → web, push, commands

``source`` turns Redis's replies into a reading: fields, TTL and heartbeat of each node. ``liveness``
gives each node of a reading a state, by the heartbeats that it remembers and by Redis's own faults.
``portfolios`` gives each portfolio a state, by the scheduler's plan and the nodes' loaded lists.
``snapshot`` parses the values, and joins them with the states into columns. ``journal`` keeps changes
as events with their evidence. ``exposition`` writes columns as text 0.0.4 or OpenMetrics, which ``web``
sends. ``liveness`` reports changes of state to ``push``, which posts alerts. ``commands.serve``
puts the parts together. ``reporter`` is used by nodes: it writes the keys that the exporter reads.
"""

from pathlib import Path as _Path

__version__ = "0.2.0"
__repository__ = "https://github.com/ginkgo-trading/ginkgo-exporter"

_built = _Path(__file__).parent / "REVISION"
__revision__ = _built.read_text(encoding="ascii").strip() if _built.is_file() else "unknown"
"""The commit of which an image or a wheel was built; a checkout does not know its own."""
