"""The HTTP side: the scrape, the status page, its JSON, and health.

HTTP requests come in. Answers made of snapshots go out as text, HTML or JSON. Read ``app`` first: it has the
routes. ``admission`` decides which requests are answered, ``connections`` limits their number.
"""
