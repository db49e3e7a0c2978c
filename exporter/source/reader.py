"""Reads nodes' values and the servers' states, in all modes: from the servers that hold the keys, as a stream of parts.

Hashes are read before heartbeats, so that a node that beats between the two reads counts as alive. Which hashes exist
is asked in a second look, and only for those without known fields.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from redis.exceptions import AskError, BusyLoadingError, NoPermissionError

from exporter.contract import FIELDS
from exporter.errors import SourceError, SourceTooLargeError
from exporter.source.connection import CHUNK, KeyNames, expected, hmget, is_wrong_type, pack, plain_error
from exporter.source.discovery import Spent
from exporter.source.gather import Inquiry, Question, Topology
from exporter.source.reading import MISSING, REFUSALS, TOO_LARGE, Reading, Server, shown_id

if TYPE_CHECKING:
    from exporter.source.gather import Servers

NODE_BYTES: Final = 2**20
"""Bytes of one reply about a node, at most; a node's usual values have 200 bytes together."""
NO_FIELDS: Final = [None] * len(FIELDS)
"""The reply of HMGET for a hash that is missing or has no known field."""

STATE: Final = pack(b"INFO", b"all")
"""The command that reads the state of a server. Redis before 7 takes one section at a time, and `all` is one."""
UNKNOWN_SERVER: Final = Server(run_id="", role="server of unknown role", info_allowed=False)
"""A server that refuses INFO to the exporter's user."""

_WIPES: Final = (b"cmdstat_flushall", b"cmdstat_flushdb", b"cmdstat_swapdb")
_ERRORS: Final = {error: b"errorstat_" + error.encode() for error in REFUSALS}
_CHILDREN: Final = (b"rdb_bgsave_in_progress", b"aof_rewrite_in_progress")
_SAVES: Final = (b"rdb_last_save_time", b"rdb_saves", b"aof_rewrites")
_FIELDS: Final = (
    *(b"run_id", b"redis_mode", b"server_mode", b"uptime_in_seconds", b"role", b"loading"),
    *(b"master_link_status", b"master_last_io_seconds_ago"),
    *(b"rdb_last_load_keys_loaded", b"aof_enabled", b"rdb_last_bgsave_status"),
    *(b"used_memory", b"maxmemory", b"maxmemory_policy", b"paused_actions"),
    *_WIPES,
    *_ERRORS.values(),
    *_CHILDREN,
    *_SAVES,
)
_LINES: Final = re.compile(rb"\n(%b):(?:calls=|count=)?([^\r\n,]*)" % b"|".join(_FIELDS))
"""Finds all fields in one pass; a dictionary of all 200 lines would take four times as long."""
_OUTCOMES: Final = {b"ok": True, b"err": False}

log = structlog.get_logger(__name__)


class Omissions:
    """What Redis does not give to the readers; each is told once.

    Args:
        spent: Told of each node whose values are too large.

    Attributes:
        large: The nodes with values that are too large, in the order in which discovery tries them again. Nobody asks
            for values of these nodes.
    """

    def __init__(self, spent: Spent) -> None:
        self.large: Mapping[bytes, None] = {}
        self._spent, self._lacks_info = spent, False

    def add(self, name: bytes) -> None:
        """Record a node whose values are too large."""
        if name not in self.large:
            self.large = {**self.large, name: None}
            self._spent("replies", f"the values of node {shown_id(name)} are not read: they are too large")

    def note(self, server: Server) -> None:
        """Record whether INFO is allowed."""
        if not server.info_allowed and not self._lacks_info:
            log.error("Redis refuses INFO to this user, so living nodes may be called dead", grant="+info")
        self._lacks_info = not server.info_allowed


class _Slice(NamedTuple):
    """Some of the nodes, and what is asked about them.

    Attributes:
        names: The nodes.
        early: What is asked before ``late`` is asked about any node.
        late: The rest. Both together ask HMGET, PTTL and GET about each node. ``late`` asks about one node after the
            other: Redis makes the replies to all commands that it takes in at once, and these may be large.
    """

    names: Sequence[bytes]
    early: Question
    late: Question


class Reader:
    """Reads nodes' values. Only one thread at a time may use it.

    Args:
        servers: The servers.
        keys: The names of the nodes' keys.
        omissions: What Redis does not give.
    """

    def __init__(self, servers: "Servers", keys: KeyNames, omissions: Omissions) -> None:
        self._servers, self._keys, self._omissions = servers, keys, omissions
        self._about, self._large = tuple[object, ...](), omissions.large
        self._slices: list[_Slice] = []
        # Of the present read:
        self._topology, self._inquiry, self._asked = Topology(), Inquiry(servers, 0.0), 0.0
        self._members: dict[str, Server] = {}

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:
        """Return the values of these nodes as one reading; raises the same errors as ``parts``."""
        self._topology = self._servers.know(deadline)
        (reading,) = self._readings([self._slice(names)], deadline)
        return reading

    def parts(self, names: Sequence[bytes], deadline: float) -> Iterator[Reading]:
        """Yield the values of these nodes in parts, in the order of the names; there is at least one part.

        Each part comes as soon as it is read. While the caller works on a part, Redis works on the next one. The
        packed requests are kept while the caller passes the same sequence object; only those about nodes whose values
        have become too large, or are no longer, are packed again.

        Args:
            names: The nodes.
            deadline: Monotonic seconds.

        Raises:
            SourceError: Redis could not be read in full before the deadline; of a cluster, no primary could be read.
        """
        self._topology = self._servers.know(deadline)
        about, large = (names, self._topology), self._omissions.large
        if about != self._about:
            step = max(CHUNK, len(names) // 100) * len(self._topology.addresses)  # each part has a cost of its own
            self._slices = [self._slice(names[start : start + step]) for start in range(0, max(1, len(names)), step)]
        elif large is not self._large:
            changed = large.keys() ^ self._large.keys()
            self._slices = [s if changed.isdisjoint(s.names) else self._slice(s.names) for s in self._slices]
        self._about, self._large = about, large
        yield from self._readings(self._slices, deadline)

    def _slice(self, names: Sequence[bytes]) -> _Slice:
        early, late = list[tuple[str, bytes]](), list[tuple[str, bytes]]()
        first = late if len(self._topology.addresses) == 1 else early  # one server runs all commands in their order
        for name in names:
            key, beat = (prefix + name for prefix in self._keys)
            ttl, place, is_large = pack(b"PTTL", beat), self._topology.holder(beat), name in self._omissions.large
            first.append((self._topology.holder(key), pack(b"PTTL", key) if is_large else hmget(key)))
            late += (place, ttl), (place, ttl if is_large else pack(b"GET", beat))
        return _Slice(names, Question(early), Question(late))

    def _readings(self, slices: Sequence[_Slice], deadline: float) -> Iterator[Reading]:
        self._asked, self._inquiry = time.monotonic(), Inquiry(self._servers, deadline, NODE_BYTES, self._omit)
        early = list(self._inquiry.stream([each.early for each in slices]))
        late = [self._states(), *(each.late for each in slices)]
        with closing(self._inquiry.stream(late)) as replies:
            self._see(next(replies))
            for some, first, each in zip(replies, early, slices, strict=False):  # the end of ``replies`` is awaited
                yield self._reading(each.names, first, some)

    def _states(self) -> Question:
        return Question([(address, STATE) for address in self._topology.addresses])

    def _see(self, replies: Sequence[Any]) -> None:
        """Take the replies about the state of all servers."""
        self._members = {}
        for address, reply in zip(self._topology.addresses, replies, strict=True):
            try:
                self._members[address] = server_of(reply, masters_only=self._servers.masters_only)
            except SourceError as error:
                self._inquiry.fail(address, error)

    def _omit(self, words: Sequence[bytes]) -> None:
        """Record the node of a command whose reply is too large: at once, since the read may end too late."""
        self._omissions.add(words[1].removeprefix(self._keys[words[0] == b"GET"]))

    def _reading(self, names: Sequence[bytes], early: list[Any], late: list[Any]) -> Reading:
        step, unread = 2 if early else 3, set[int]()
        rows, ttl_ms, beats = early or late[::3], late[step - 2 :: step], late[step - 1 :: step]
        kinds = [set(map(type, column)) for column in (rows, ttl_ms, beats)]
        if kinds != [{list}, {int}, {bytes}] or MISSING in ttl_ms:  # else all nodes are alive
            unread = self._clear_up(names, rows, ttl_ms, beats)
        without_hash = self._without_hash(names, rows, unread) if NO_FIELDS in rows else set()
        server = self._server()
        if failed := self._inquiry.errors.keys():
            unread.update(i for i, name in enumerate(names) if not failed.isdisjoint(server.holders(name)))
        for position in unread:
            rows[position], ttl_ms[position], beats[position] = NO_FIELDS, MISSING, None
        if set(map(len, rows)) - {len(FIELDS)}:
            raise SourceError("Redis gave more or fewer values than it was asked for")
        return Reading(
            asked=self._asked,
            at=time.monotonic(),
            wall=time.time(),
            server=server,
            names=names,
            fields=tuple(zip(*rows, strict=True)) or ((),) * len(FIELDS),
            ttl_ms=ttl_ms,
            beats=beats,
            without_hash=frozenset(without_hash - unread),
            unread=frozenset(unread),
        )

    def _clear_up(self, names: Sequence[bytes], rows: list[Any], ttl_ms: list[Any], beats: list[Any]) -> set[int]:
        """Turn replies into values, and return the positions of nodes that could not be read.

        A heartbeat of which only the TTL or only the value came has expired or was written between the two commands,
        or is no string: it counts as missing, as it was at one of these moments.
        """
        unread = set[int]()
        for position, some in enumerate(zip(rows, ttl_ms, beats, strict=True)):
            row, ttl, beat = some
            error = next((reply for reply in some if isinstance(reply, Exception) and not is_wrong_type(reply)), None)
            if isinstance(error, SourceTooLargeError):
                row, beat = NO_FIELDS, TOO_LARGE
            elif error:
                self._refuse(self._keys[error is not row] + names[position], error)
                unread.add(position)
                ttl = MISSING
            elif type(beat) is int:  # the value of this node was not asked for
                beat = TOO_LARGE
            if ttl == MISSING or type(beat) is not bytes:
                ttl, beat = MISSING, None
            rows[position] = row if type(row) is list else NO_FIELDS
            ttl_ms[position], beats[position] = expected(ttl, int), beat
        return unread

    def _without_hash(self, names: Sequence[bytes], rows: Sequence[Any], unread: set[int]) -> set[int]:
        """Return the positions of nodes without hash; and look at the servers again: a FLUSHALL deletes hashes."""
        keys = {self._keys.metrics + names[i]: i for i, row in enumerate(rows) if row == NO_FIELDS}
        exist = Question([(self._topology.holder(key), pack(b"EXISTS", key)) for key in keys])
        states, replies = self._inquiry.stream([self._states(), exist])
        self._see(states)
        missing = set[int]()
        for (key, position), reply in zip(keys.items(), replies, strict=True):
            if isinstance(reply, Exception):
                self._refuse(key, reply)
                unread.add(position)
            elif not reply:
                missing.add(position)
        return missing

    def _refuse(self, key: bytes, error: Exception) -> None:
        """Record that a server refuses to show a key, unless that is for the key's slot alone, which is on its way."""
        on_its_way = isinstance(error, AskError) or "Hash slot not served" in str(error)
        if not isinstance(error, SourceError) and not (self._servers.redirects and on_its_way):
            self._inquiry.fail(self._topology.holder(key), plain_error(error))

    def _server(self) -> Server:
        """Return the servers that can be read."""
        failed = self._inquiry.errors
        members = {address: server for address, server in self._members.items() if address not in failed}
        if not members:
            raise next(iter(failed.values()))
        server = self._servers.whole(members, self._topology, self._keys)
        self._omissions.note(server)
        return server


def server_of(reply: Any, *, masters_only: bool = False) -> Server:
    """Return the server that gave this reply to ``STATE``.

    Raises:
        SourceError: The server is loading its data; or it is a replica without a link to its master, so its data
            are old, or any replica with ``masters_only``; or a reply cannot be parsed.
    """
    if isinstance(reply, NoPermissionError):
        return UNKNOWN_SERVER
    text = expected(reply, bytes)
    info: dict[bytes, bytes] = dict(_LINES.findall(b"\n" + text))
    if info.get(b"loading", b"0") != b"0":  # a server that is loading answers INFO without an error
        raise plain_error(BusyLoadingError())
    if info.get(b"master_link_status", b"up") != b"up":
        raise SourceError("Redis is a replica whose link to its master is down")
    if masters_only and info.get(b"role") != b"master":
        raise SourceError("Redis was a master and is a replica now: a failover")
    try:
        return _server(info, counts_errors=b"# Errorstats" in text and b"ERRORSTATS_DISABLED" not in text)
    except (ValueError, ArithmeticError) as error:
        raise SourceError(f"Redis gave an INFO that cannot be read: {error}") from None


def _server(info: Mapping[bytes, bytes], *, counts_errors: bool) -> Server:
    def number(name: bytes) -> int:
        return int(info.get(name, b"0"))

    limit, role = number(b"maxmemory"), info.get(b"role", b"").decode("ascii")
    saved = _OUTCOMES.get(info.get(b"rdb_last_bgsave_status", b""))
    return Server(
        run_id=info.get(b"run_id", b"").decode("ascii"),
        role=role,
        uptime=float(info.get(b"uptime_in_seconds", b"inf")),
        # INFO does not say how many keys came from an append-only file, so any such file may have held nodes.
        restored=info.get(b"rdb_last_load_keys_loaded", b"0") != b"0" or info.get(b"aof_enabled") == b"1",
        refused={error: number(line) for error, line in _ERRORS.items()} if counts_errors else None,
        blocked=not counts_errors and saved is False,
        flushes=sum(map(number, _WIPES)),
        paused=info.get(b"paused_actions") in (b"write", b"all"),
        silence=max(0.0, number(b"master_last_io_seconds_ago")) if role == "slave" else 0.0,
        last_save_ok=saved,
        memory_used_ratio=number(b"used_memory") / limit if limit else None,
        evicts=info.get(b"maxmemory_policy", b"noeviction") != b"noeviction",
        standalone=info.get(b"redis_mode", info.get(b"server_mode")) == b"standalone",  # Valkey says server_mode
        saving=any(info.get(child) == b"1" for child in _CHILDREN),
        saves=tuple(info.get(save, b"") for save in _SAVES),
    )
