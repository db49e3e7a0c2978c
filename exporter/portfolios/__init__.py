"""The plan, the loaded lists and the states of nodes → the ledger: one state for each portfolio.

Comes in: the scheduler's plan, the list that each node writes of the portfolios it has loaded, and the
judge's states. Goes out: an ``Account`` of each read: the ledger, and since when each fault in it lasts.
Read ``ledger`` first, then ``account``.
"""
