"""A snapshot → the text formats of Prometheus.

In: a ``Snapshot``, and facts about the read. Out: text 0.0.4 and OpenMetrics. Read ``text`` first; ``lines``
writes the columns of nodes, and ``families`` are the exporter's own.
"""
