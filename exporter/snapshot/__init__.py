"""States and values → a snapshot: columns of texts for Prometheus, and rows for people.

In: a reading of ``exporter.source``, and the judge's verdicts on it. Out: a ``Snapshot``. Read
``snapshot`` first, then ``maker``, which makes it, and ``values``, which parses texts from Redis.
"""
