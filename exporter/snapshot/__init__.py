"""States and values → what one read saw of the fleet: columns of texts, and rows for people.

Comes in: a reading of ``exporter.source`` and the judge's verdicts on it. Goes out: a
``Snapshot``. Read ``snapshot`` first, then ``values``, where texts from Redis are checked.
"""
