"""A snapshot → the text formats of Prometheus.

In: a ``Snapshot``, and facts about the read. Out: text 0.0.4 and OpenMetrics. All of it is in ``text``:
``LineWriter`` writes the columns of nodes, and ``own_families`` are the exporter's own.
"""
