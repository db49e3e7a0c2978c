"""Changes of nodes, portfolios, Redis, push and scheduler → events with the evidence of each verdict.

Input: changes; the package that finds a change tells it. Output: events, kept in memory and, with ``--journal.file``,
in a file. Read ``event`` first, which also says an event in plain words, then ``journal``, which takes changes and
returns events.
"""
