"""Readings → states: decides which nodes are alive, and allows for Redis's own faults.

Input: readings of ``exporter.source``, each with what Redis said about itself.
Output: one state for each node. Read ``judge`` first, then ``rules``.
"""
