"""One server: its state, from some sections of INFO; the rights that it refuses; and where the server is."""

import re
import time
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, Final

import structlog
from redis import ConnectionPool, Redis
from redis.connection import parse_url
from redis.exceptions import BusyLoadingError, NoPermissionError, ResponseError
from redis.sentinel import MasterNotFoundError, Sentinel

from exporter.errors import SourceError
from exporter.settings import Redis as RedisSettings
from exporter.source.connection import Pool, linked, options_of, shared_options
from exporter.source.gather import Until
from exporter.source.protocol import FAILURES, expected, pack, plain_error
from exporter.source.reading import REFUSALS, RIGHTS, Server

STATE: Final = pack(b"INFO", *b"server clients memory persistence replication stats errorstats commandstats".split())
"""The command that reads the state of a server: Redis 7 and newer take several sections in one command."""
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

FOLLOW: Final = 5.0
"""Seconds between two questions to Sentinel while the master answers: much shorter than a heartbeat's TTL."""
_SENTINEL_TIMEOUT: Final = 1.0
"""Seconds for each step of a question to one Sentinel, at most."""

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
            (reply,) = link.ask(pack(b"INFO", b"all"), 1)
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
        return _server(info, counts_errors=b"# Errorstats" in text)
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


class OneServer:
    """A single server, which holds all keys; its address is ``""``.

    Args:
        redis: The settings.

    Attributes:
        state: Its state, as it was read last.
        silent: Nothing: the server has all the time that a read has.
    """

    state = Server("", "")
    silent = ()

    def __init__(self, redis: RedisSettings) -> None:
        self._pool = Pool(options_of(redis, parse_url(redis.url[0].get_secret_value())))

    def addresses(self, deadline: float) -> tuple[str, ...]:  # noqa: ARG002 - nobody has to be asked
        """Return the address of the server."""
        return ("",)

    def know(self, deadline: float) -> None:
        """Make sure that the servers of keys are known: they are."""

    def holder(self, key: bytes) -> str:  # noqa: ARG002 - the server holds all keys
        """Return the address of the server."""
        return ""

    def places(self, keys: Sequence[bytes]) -> Mapping[str, Sequence[int]]:
        """Return the positions of all keys, by the address."""
        return {"": range(len(keys))}

    def pool(self, address: str, deadline: float) -> Pool:  # noqa: ARG002 - a single server
        """Return the connections to the server."""
        return self._pool

    def limit(self, address: str, deadline: float) -> Until:  # noqa: ARG002 - it may take all the time
        """Return the deadline."""
        return lambda: deadline

    def note(self, address: str, error: SourceError | None) -> None:
        """Hear how the server answered."""

    def moved(self, address: str, deadline: float) -> None:
        """Hear of a redirection: what answers is part of a cluster, whatever the settings say."""

    def seen(self, state: Server) -> Server:
        """Hear the state of the server, and return it.

        Raises:
            SourceError: The values of the server do not count.
        """
        self.state = state
        return state

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class Master(OneServer):
    """The master that the Sentinels at the addresses of the settings know under one name.

    Sentinel is asked every ``FOLLOW`` seconds and after each failed read: a master that was cut off from the nodes may
    still answer, but it gets no more heartbeats. While a master is known, a Sentinel that does not answer changes
    nothing. One lock guards the state.

    Credentials in the addresses are for the Sentinels; ``--redis.username`` and ``--redis.password-file`` are for the
    master. The TLS settings are for both.

    Args:
        redis: The settings.
    """

    def __init__(self, redis: RedisSettings) -> None:
        urls = [parse_url(url.get_secret_value()) for url in redis.url]
        timeout = min(_SENTINEL_TIMEOUT, redis.timeout / 2 / len(urls))
        shared = shared_options(redis) | {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        self._sentinel = Sentinel([])
        self._sentinel.sentinels = [Redis(connection_pool=ConnectionPool(**url | shared | {"db": 0})) for url in urls]
        address = {name: value for name, value in urls[0].items() if name not in ("username", "password")}
        self._options = options_of(redis, address)
        self._name = redis.sentinel_master or ""
        self._lock = Lock()  # for the attributes below
        self._ask_at = 0.0
        self._address: tuple[str, int] | None = None

    def pool(self, address: str, deadline: float) -> Pool:  # noqa: ARG002 - the Sentinels have time-outs of their own
        """Return the connections to the master.

        Raises:
            SourceError: No Sentinel names a master, and none is known.
        """
        with self._lock:
            if time.monotonic() >= self._ask_at:
                self._follow()
                self._ask_at = time.monotonic() + FOLLOW
            return self._pool

    def _follow(self) -> None:
        try:
            address = self._sentinel.discover_master(self._name)
        except FAILURES as error:
            if self._address is None:
                raise self._not_found(error) from None
            return
        if address != self._address:
            if self._address:
                self._pool.close()
            self._address, (host, port) = address, address
            self._pool = Pool(self._options | {"host": host, "port": port})

    def _not_found(self, error: Exception) -> SourceError:
        """Return why no Sentinel names a master; redis-py does not tell how the Sentinels failed, so one is asked."""
        if not isinstance(error, MasterNotFoundError):
            return plain_error(error)
        text = f"no Sentinel names a master {self._name!r} (see --redis.url and --redis.sentinel-master)"
        try:
            self._sentinel.sentinels[0].sentinel_masters()
        except FAILURES as cause:
            return SourceError(f"{text}: {plain_error(cause)}")
        return SourceError(text)

    def note(self, address: str, error: SourceError | None) -> None:  # noqa: ARG002 - a single master
        """After an error ask Sentinel at once, and first another one: it may be cut off from the others."""
        if error:
            with self._lock:
                self._ask_at = 0.0
                self._sentinel.sentinels.append(self._sentinel.sentinels.pop(0))

    def seen(self, state: Server) -> Server:
        """Hear the state of the server, and return it; raise a SourceError if the server is a replica."""
        if state.info_allowed and state.role != "master":
            raise SourceError("Redis is a replica, and no master since Sentinel named it: a failover")
        return super().seen(state)

    def close(self) -> None:
        """Close all connections."""
        for sentinel in self._sentinel.sentinels:
            sentinel.close()
        if self._address:
            self._pool.close()
