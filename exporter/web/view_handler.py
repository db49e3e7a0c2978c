"""The base of routes whose bodies are shared."""

from collections.abc import Hashable
from typing import Any

from exporter.web.handler import Handler
from exporter.web.views import Make, Views


class View(Handler):
    """A route whose bodies are shared: they are made at most once for one look at the fleet."""

    def initialize(self, views: Views, **parts: Any) -> None:  # type: ignore[override]
        """Take the parts that the application was made with."""
        super().initialize(**parts)
        self.views = views

    async def send_view(self, key: Hashable, make: Make, content_type: str) -> None:
        """Answer with a body of ``Views``; 503 if there are too many requests."""
        body = await self.views.body(key, make) if await self.budget.room(scrape=False) else None
        if body is None:
            self.busy()
        else:
            await self.send(body, content_type)
