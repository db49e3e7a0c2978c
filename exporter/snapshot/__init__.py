"""States and values → a snapshot: columns of texts for Prometheus, and rows for people.

In: a reading of ``exporter.source``, the judge's verdicts on it, and the account of the portfolios. Out: a
``Snapshot``. Read ``snapshot`` first, then ``maker``, which parses texts from Redis and makes it.
"""
