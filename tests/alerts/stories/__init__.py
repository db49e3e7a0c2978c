"""Events in a simulated fleet, and the alerts that they raise; one module for each kind of trouble."""

from stories import backpressure, beats, counts, deaths, exporters, load, plan, portfolios, redis_faults, workers

__all__ = [
    "backpressure",
    "beats",
    "counts",
    "deaths",
    "exporters",
    "load",
    "plan",
    "portfolios",
    "redis_faults",
    "workers",
]
