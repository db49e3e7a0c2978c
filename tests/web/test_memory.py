"""Memory is given back once, when a crowd is over."""

import asyncio
import threading

from exporter.web.memory import MemoryReturn, trim


def test_memory_is_given_back_once_after_the_last_of_a_crowd() -> None:
    calls, done = list[int](), threading.Event()

    def give_back() -> None:
        calls.append(1)
        done.set()

    async def scenario() -> None:
        memory = MemoryReturn(give_back, 0.05)
        for _ in range(20):
            memory.after_crowd()
        await asyncio.to_thread(done.wait, 30)

    asyncio.run(scenario())
    assert calls == [1]


def test_trim_works_on_this_system() -> None:
    trim()
