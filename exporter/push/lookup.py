"""Looks up the address of an Alertmanager in a thread of its own.

The event loop's own lookups share a few threads. A name server that does not answer
blocks one of these threads for half a minute per attempt. So the lookups for one
Alertmanager would soon delay the lookups for all others.
"""

import asyncio
import socket
from contextlib import suppress
from threading import Thread
from typing import Any

from tornado.netutil import Resolver

Address = tuple[int, Any]


class Lookup(Resolver):
    """Resolves names in threads of its own. All callers that look up the same name at one time share a thread."""

    def initialize(self) -> None:
        """Begin without a lookup; tornado calls this in place of ``__init__``."""
        self._under_way: dict[tuple[str, int, int], asyncio.Future[list[Address]]] = {}

    async def resolve(self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[Address]:
        """Return the family and the address of each socket address of a name.

        Raises:
            OSError: The name cannot be resolved.
        """
        key = host, port, family
        if key not in self._under_way:
            future: asyncio.Future[list[Address]] = asyncio.get_running_loop().create_future()
            try:
                Thread(target=_resolve, args=(future, *key), name="lookup", daemon=True).start()
            except RuntimeError as error:  # the machine has no thread left
                raise OSError(str(error)) from error
            self._under_way[key] = future
            future.add_done_callback(lambda _: self._under_way.pop(key))
        return await asyncio.shield(self._under_way[key])


def _resolve(future: "asyncio.Future[list[Address]]", host: str, port: int, family: int) -> None:
    try:
        found: list[Address] = [
            (kind, address) for kind, _, _, _, address in socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        ]
    except OSError as error:
        _hand_over(future, error)
    except UnicodeError as error:
        _hand_over(future, OSError(str(error)))
    else:
        _hand_over(future, found)


def _hand_over(future: "asyncio.Future[list[Address]]", outcome: list[Address] | OSError) -> None:
    def hand_over() -> None:
        if isinstance(outcome, OSError):
            future.set_exception(outcome)
            future.exception()  # asyncio would log the exception as lost if all callers have left
        else:
            future.set_result(outcome)

    with suppress(RuntimeError):  # the event loop may be closed by now
        future.get_loop().call_soon_threadsafe(hand_over)
