"""How long a scrape takes: against Redis's own limit, and against other ways."""
