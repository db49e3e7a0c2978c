"""HTTP: the scrape, the status page, its JSON, and health."""
