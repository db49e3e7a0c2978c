"""Requests → answers: the scrape, the status page, its JSON, and health.

Comes in: HTTP requests. Goes out: text, HTML and JSON made of snapshots. Read ``app`` first: the
routes stand there.
"""
