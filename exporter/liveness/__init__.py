"""Readings → states: which nodes are alive, and what Redis's own faults say about it.

Comes in: readings of ``exporter.source``, each with what Redis said of itself. Goes
out: one state for each node. Read ``judge`` first.
"""
