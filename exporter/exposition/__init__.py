"""A snapshot → the text formats of Prometheus, and a collector of prometheus_client as their reference.

In: a ``Snapshot``. Out: text 0.0.4 and OpenMetrics, or metric families of prometheus_client. Read
``text`` first, then ``lines``. Other programs use ``collector.NodeCollector``.
"""
