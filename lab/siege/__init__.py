"""``make siege``: attacks on the exporter, each with what it cost and what a scraper beside it saw.

Comes in: a Redis of its own or a fake one, and an exporter under a limit of memory. Goes out: a table. Read ``attacks``
first: every attack stands there. Nothing here is a tool against foreign servers: all attackers know one address, that
of the exporter which they were started with.
"""
