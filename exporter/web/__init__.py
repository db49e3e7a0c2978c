"""The HTTP side: the scrape, the status page, its JSON, runbooks, and health.

HTTP requests come in. Answers made of snapshots go out as text, HTML or JSON. Read ``handlers`` first: it has the
routes. ``answers`` makes and sends bodies, ``server`` bounds the connections, ``auth`` decides who may ask.
"""
