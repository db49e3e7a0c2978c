"""The identity and the state of a server, from some sections of INFO; and the rights that the exporter's user lacks."""

import re
from collections.abc import Mapping
from typing import Any, Final

import structlog
from redis.exceptions import BusyLoadingError, NoPermissionError, ResponseError

from exporter.errors import SourceError
from exporter.source.connection import Pool, linked
from exporter.source.protocol import expected, pack, plain_error
from exporter.source.reading import REFUSALS, RIGHTS, Server

_SECTIONS: Final = (
    *(b"server", b"clients", b"memory", b"persistence", b"replication", b"stats"),
    *(b"errorstats", b"commandstats"),
)
STATE: Final = pack(b"INFO", *_SECTIONS)
"""The command that reads the state of a server: Redis 7 and newer take several sections in one command."""
_OLD_STATE: Final = pack(b"INFO", b"all")
"""The same for older servers. They refuse ``STATE``."""
UNKNOWN_SERVER: Final = Server(run_id="", role="server of unknown role", info_allowed=False)
"""A server that refuses INFO to the exporter's user."""

_EFFECTS: Final = {
    "info": "restarts, failovers and refused writes of Redis cannot be seen, so that living nodes may be called dead",
    "scan": "no node can be found",
}
_WIPES: Final = (b"cmdstat_flushall", b"cmdstat_flushdb", b"cmdstat_swapdb")
_ERRORS: Final = {error: b"errorstat_" + error.encode() for error in REFUSALS}
_CHILDREN: Final = (b"rdb_bgsave_in_progress", b"aof_rewrite_in_progress")
_SAVES: Final = (b"rdb_last_save_time", b"rdb_saves", b"aof_rewrites")
_FIELDS: Final = (
    *(b"run_id", b"redis_mode", b"server_mode", b"uptime_in_seconds", b"role", b"loading"),
    *(b"master_link_status", b"master_last_io_seconds_ago"),
    *(b"rdb_last_load_keys_loaded", b"aof_enabled", b"rdb_last_bgsave_status", b"evicted_keys"),
    *(b"used_memory", b"maxmemory", b"maxmemory_policy", b"paused_actions", b"errorstat_ERRORSTATS_DISABLED"),
    *_WIPES,
    *_ERRORS.values(),
    *_CHILDREN,
    *_SAVES,
)
_LINES: Final = re.compile(rb"\n(%b):([^\r\n]*)" % b"|".join(_FIELDS))
"""Finds all fields in one pass; a dictionary of all 200 lines would take four times as long."""
_OUTCOMES: Final = {b"ok": True, b"err": False}
_HAS_ERRORSTATS: Final = b"# Errorstats"

log = structlog.get_logger(__name__)


class Rights:
    """The commands that Redis refuses to the exporter's user, and the servers that refused them when asked last."""

    def __init__(self) -> None:
        self._refused: dict[str, set[str]] = {command: set() for command in RIGHTS}

    def missing(self) -> frozenset[str]:
        """Return the commands, in lower case."""
        return frozenset(command for command, servers in self._refused.items() if servers)

    def note(self, command: str, address: str, *, is_refused: bool) -> None:
        """Record whether a server refuses a command; the first refusal is logged."""
        servers = self._refused[command]
        if not is_refused:
            servers.discard(address)
            return
        if not servers:
            log.error("the Redis user lacks a right", command=command, effect=_EFFECTS[command], grant=f"+{command}")
        servers.add(address)


def missing_right(command: str) -> str:
    """Return what follows from a right that Redis refuses, and how to give it; the command is in lower case."""
    return (
        f"Redis refuses {command.upper()} to the exporter's user, so {_EFFECTS[command]}: grant +{command}"
        " to the user of --redis.username (docs/how-to/redis.md lists all rights)"
    )


def seen_server(reply: Any, pool: Pool, deadline: float, rights: Rights, address: str) -> Server:
    """Return the server that gave this reply to ``STATE``, and record whether it allows INFO.

    Servers older than Redis 7 take one section of INFO only. Such a server is asked once more, on another connection.

    Args:
        reply: The reply.
        pool: Connections to the server.
        deadline: Monotonic seconds.
        rights: Records whether INFO is allowed.
        address: The address of the server; empty if there is only one server.

    Raises:
        SourceError: For the same reasons as ``server_of``.
    """
    if type(reply) is ResponseError:
        with linked(pool, deadline) as link:
            (reply,) = link.ask(_OLD_STATE, 1)
    server = server_of(reply)
    rights.note("info", address, is_refused=not server.info_allowed)
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
    saved = _OUTCOMES.get(info.get(b"rdb_last_bgsave_status", b""))
    refused = _refused(info) if counts_errors else None
    return Server(
        run_id=info.get(b"run_id", b"").decode("ascii"),
        role=role,
        uptime=float(info.get(b"uptime_in_seconds", b"inf")),
        # INFO does not say how many keys came from an append-only file, so any such file may have held nodes.
        restored=info.get(b"rdb_last_load_keys_loaded", b"0") != b"0" or info.get(b"aof_enabled") == b"1",
        evicted=int(info.get(b"evicted_keys", b"0")),
        refused=refused,
        blocked=refused is None and saved is False,
        flushes=sum(_count(info[wipe], b"calls=") for wipe in _WIPES if wipe in info),
        paused=info.get(b"paused_actions") in (b"write", b"all"),
        silence=max(0.0, float(info.get(b"master_last_io_seconds_ago", b"0"))) if role == "slave" else 0.0,
        last_save_ok=saved,
        memory_used_ratio=int(info.get(b"used_memory", b"0")) / limit if limit else None,
        evicts=info.get(b"maxmemory_policy", b"noeviction") != b"noeviction",
        standalone=info.get(b"redis_mode", info.get(b"server_mode")) == b"standalone",  # Valkey says server_mode
        saving=any(info.get(child) == b"1" for child in _CHILDREN),
        saves=tuple(info.get(save, b"") for save in _SAVES),
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
