"""A snapshot → the text formats of Prometheus, and the collector that is their reference.

Comes in: a ``Snapshot``. Goes out: text 0.0.4 and OpenMetrics, or metric families of
prometheus_client. Read ``text`` first. Other programs use ``collector.NodeCollector``.
"""
