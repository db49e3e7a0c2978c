"""Looking up the address of an Alertmanager."""

import asyncio

import pytest

from exporter.push import lookup


def test_lookup_without_a_free_thread_fails_and_the_next_one_works(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoThread(lookup.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    async def look_up() -> None:
        resolver = lookup.Lookup()
        with monkeypatch.context() as full:
            full.setattr(lookup, "Thread", NoThread)
            with pytest.raises(OSError, match="can't start new thread"):
                await resolver.resolve("localhost", 80)
        async with asyncio.timeout(10):
            assert await resolver.resolve("localhost", 80)

    asyncio.run(look_up())
