"""The identity and the state of a server, from some sections of INFO."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from redis.exceptions import BusyLoadingError, NoPermissionError, ResponseError

from exporter.errors import SourceError
from exporter.source.connection import Pool, linked
from exporter.source.plain_error import plain_error
from exporter.source.reading import REFUSALS, Server
from exporter.source.replies import expected
from exporter.source.requests import OLD_SERVER, pack
from exporter.source.rights import Rights

UNKNOWN_SERVER: Final = Server(run_id="", role="server of unknown role", info_allowed=False)
"""A server that refuses INFO to the exporter's user."""

_WIPES: Final = (b"cmdstat_flushall", b"cmdstat_flushdb", b"cmdstat_swapdb")
_ERRORS: Final = {error: b"errorstat_" + error.encode() for error in REFUSALS}
_FIELDS: Final = (
    *(b"run_id", b"uptime_in_seconds", b"role", b"loading", b"master_link_status", b"master_last_io_seconds_ago"),
    *(b"rdb_last_load_keys_loaded", b"aof_enabled", b"rdb_last_bgsave_status", b"evicted_keys"),
    *(b"used_memory", b"maxmemory", b"maxmemory_policy", b"paused_actions", b"errorstat_ERRORSTATS_DISABLED"),
    *_WIPES,
    *_ERRORS.values(),
)
_LINES: Final = re.compile(rb"\n(%b):([^\r\n]*)" % b"|".join(_FIELDS))
"""Finds all fields in one pass; a dictionary of all 200 lines would take four times as long."""
_OUTCOMES: Final = {b"ok": True, b"err": False}
_HAS_ERRORSTATS: Final = b"# Errorstats"
_STOPS_WRITES: Final = pack(b"CONFIG", b"GET", b"stop-writes-on-bgsave-error") + pack(b"CONFIG", b"GET", b"save")


def seen_server(reply: Any, pool: Pool, deadline: float, rights: Rights, where: str = "") -> Server:
    """Return the server that gave this reply to ``pool.server_request``, and record whether it allows INFO.

    Servers older than Redis 7 take one section of INFO only. Such a server is asked once more, on another
    connection, and ``pool.server_request`` is changed.

    Servers older than Redis 6.2 do not count refused writes. While the last snapshot of such a server
    is a failed one, each read also asks for its configuration, on another connection. It asks each time
    because an operator can end the refusal by a change of the configuration.

    Args:
        reply: The reply.
        pool: Connections to the server.
        deadline: Monotonic seconds.
        rights: Records whether INFO is allowed.
        where: The address of the server; empty if there is only one server.

    Raises:
        SourceError: For the same reasons as ``server_of``.
    """
    if type(reply) is ResponseError:
        pool.server_request = OLD_SERVER
        with linked(pool, deadline) as link:
            (reply,) = link.ask(OLD_SERVER, 1)
    server = server_of(reply)
    if not server.info_allowed:
        rights.refused("info", where)
        return server
    rights.granted("info", where)
    if server.refused is None and server.last_save_ok is False:
        return replace(server, blocked=_stops_writes(pool, deadline))
    return server


def server_of(reply: Any) -> Server:
    """Return the server that gave this reply to INFO.

    Raises:
        SourceError: The server is loading its data; or it is a replica without a link to its master, so its data
            are old; or a reply cannot be parsed.
    """
    if isinstance(reply, NoPermissionError):
        return UNKNOWN_SERVER
    text: bytes = expected(reply, bytes)
    info: dict[bytes, bytes] = dict(_LINES.findall(b"\n" + text))
    if info.get(b"loading", b"0") != b"0":  # a server that is loading answers INFO without an error
        raise plain_error(BusyLoadingError())
    if info.get(b"master_link_status", b"up") != b"up":
        raise SourceError("Redis is a replica whose link to its master is down")
    try:
        return _server(info, counts_errors=_HAS_ERRORSTATS in text)
    except (ValueError, ArithmeticError) as error:
        raise SourceError(f"Redis gave an INFO that cannot be read: {error}") from None


def _server(info: Mapping[bytes, bytes], *, counts_errors: bool) -> Server:
    limit = int(info.get(b"maxmemory", b"0"))
    role = info.get(b"role", b"").decode("ascii")
    return Server(
        run_id=info.get(b"run_id", b"").decode("ascii"),
        role=role,
        uptime=float(info.get(b"uptime_in_seconds", b"inf")),
        # INFO does not say how many keys came from an append-only file, so any such file may have held nodes.
        restored=info.get(b"rdb_last_load_keys_loaded", b"0") != b"0" or info.get(b"aof_enabled") == b"1",
        evicted=int(info.get(b"evicted_keys", b"0")),
        refused=_refused(info) if counts_errors else None,
        flushes=sum(_count(info[wipe], b"calls=") for wipe in _WIPES if wipe in info),
        paused=info.get(b"paused_actions") in (b"write", b"all"),
        silence=max(0.0, float(info.get(b"master_last_io_seconds_ago", b"0"))) if role == "slave" else 0.0,
        last_save_ok=_OUTCOMES.get(info.get(b"rdb_last_bgsave_status", b"")),
        memory_used_ratio=int(info.get(b"used_memory", b"0")) / limit if limit else None,
        evicts=info.get(b"maxmemory_policy", b"noeviction") != b"noeviction",
    )


def _refused(info: Mapping[bytes, bytes]) -> dict[str, int] | None:
    """Return the refused writes by error; None if the server stopped counting because of too many kinds of errors."""
    if b"errorstat_ERRORSTATS_DISABLED" in info:
        return None
    return {error: _count(info.get(line, b"count=0"), b"count=") for error, line in _ERRORS.items()}


def _count(text: bytes, name: bytes) -> int:
    """Return the number that follows a name; the name must be at the start of the text."""
    found, _, rest = text.partition(name)
    if found:
        raise ValueError(text)
    return int(rest.partition(b",")[0])


def _stops_writes(pool: Pool, deadline: float) -> bool:
    """Return whether a failed snapshot stops all writes, by the configuration; False if CONFIG GET is not allowed."""
    with linked(pool, deadline) as link:
        replies = link.ask(_STOPS_WRITES, 2)
    match replies:
        case [[_, b"yes"], [_, bytes(save)]]:
            return bool(save)
    return False
