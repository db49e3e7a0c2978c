"""What happens in a simulated fleet, and which alerts that raises; one module for each kind of trouble."""

from stories import backpressure, beats, counts, deaths, exporters, load, redis_faults

__all__ = ["backpressure", "beats", "counts", "deaths", "exporters", "load", "redis_faults"]
