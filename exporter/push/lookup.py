"""Looks up an Alertmanager's name without being in anybody's way.

The event loop's own lookups share a few threads. A name server that does not answer
holds one of them for half a minute per attempt, so the lookups for one Alertmanager
would soon keep those for all others waiting.
"""

import asyncio
import socket
from contextlib import suppress
from threading import Thread
from typing import Any

from tornado.netutil import Resolver

Address = tuple[int, Any]


class Lookup(Resolver):
    """Resolves names in threads of its own: one at a time for each name, awaited by every caller that needs it."""

    def initialize(self) -> None:
        """Begin without a lookup under way."""
        self._under_way: dict[tuple[str, int, int], asyncio.Future[list[Address]]] = {}

    async def resolve(self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[Address]:
        """Return the family and the address of each place that a name stands for.

        Raises:
            OSError: The name cannot be resolved.
        """
        key = host, port, family
        if key not in self._under_way:
            future = self._under_way[key] = asyncio.get_running_loop().create_future()
            future.add_done_callback(lambda _: self._under_way.pop(key))
            Thread(target=_resolve, args=(future, *key), name="lookup", daemon=True).start()
        return await asyncio.shield(self._under_way[key])


def _resolve(future: "asyncio.Future[list[Address]]", host: str, port: int, family: int) -> None:
    try:
        found: list[Address] = [
            (kind, address) for kind, _, _, _, address in socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        ]
    except OSError as error:
        _tell(future, error)
    except UnicodeError as error:
        _tell(future, OSError(str(error)))
    else:
        _tell(future, found)


def _tell(future: "asyncio.Future[list[Address]]", outcome: list[Address] | OSError) -> None:
    def tell() -> None:
        if isinstance(outcome, OSError):
            future.set_exception(outcome)
            future.exception()  # nobody may be waiting any more
        else:
            future.set_result(outcome)

    with suppress(RuntimeError):  # the loop may be closed by now
        future.get_loop().call_soon_threadsafe(tell)
