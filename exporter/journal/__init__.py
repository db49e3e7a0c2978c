"""Changes of nodes, portfolios, Redis, push and scheduler → events with the evidence of each verdict.

Input: changes, told by the rooms that find them. Output: events, kept in memory and, with ``--journal.file``,
in a file. Read ``event`` first, then ``journal``, which is the entrance. ``sentences`` says an event in plain words.
"""
