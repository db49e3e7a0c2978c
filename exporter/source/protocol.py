"""What the exporter sends to Redis, and what the replies mean: packed commands, values of nodes, errors."""

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import hiredis
from redis import RedisError
from redis.exceptions import TimeoutError as RedisTimeout

from exporter.contract import FIELDS
from exporter.errors import SourceError, SourceTimeoutError

FAILURES: Final = (RedisError, OSError)
"""The errors that redis-py and sockets raise."""
CHUNK: Final = 500
"""Keys, or nodes, in one request. A larger one would be no faster, and Redis's other clients would wait longer."""


def pack(*words: bytes) -> bytes:
    """Return one command in Redis's wire format (an array of bulk strings)."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def commands_of(packed: bytes) -> Iterator[list[bytes]]:
    """Return the words of each of some packed commands."""
    reader = hiredis.Reader()
    reader.feed(packed)
    return iter(reader.gets, False)


_FIELDS: Final = tuple(field.encode() for field in FIELDS)


def hmget(key: bytes) -> bytes:
    """Return the command that reads the known fields of a node's hash."""
    return pack(b"HMGET", key, *_FIELDS)


class KeyNames(NamedTuple):
    """The names of the nodes' keys: two prefixes, each followed by the node's id."""

    metrics: bytes
    heartbeat: bytes


def expected(reply: Any, kind: type) -> Any:
    """Return a reply if it has the expected type.

    Raises:
        SourceError: The reply is an error (a missing right, Redis is loading, …), or has another type.
    """
    if type(reply) is kind:
        return reply
    if isinstance(reply, Exception):
        raise plain_error(reply)
    raise SourceError(f"Redis gave an answer of an unexpected kind: {type(reply).__name__}")


def is_wrong_type(reply: Any) -> bool:
    """Return whether a reply says that the key has the wrong type; such a reply affects this key only."""
    return isinstance(reply, RedisError) and str(reply).startswith("WRONGTYPE")


TLS_HINT: Final = "(rediss:// is for a port that speaks TLS, redis:// for one that does not: see --redis.url)"
_MEANINGS: Final = {
    r"certificate verify failed: (.+?)\.? \(_ssl": (
        "Redis's certificate is not trusted: {} (see --redis.tls-ca-file, and the host in --redis.url)"
    ),
    "CERTIFICATE_REQUIRED": "Redis requires a client certificate: see --redis.tls-cert-file",
    r"^\w+: (.*(closed by server|_ssl\.c).*)": "{} " + TLS_HINT,
    r"Error -?\d+ connecting to (.+?)\. (.+?)\.": (
        "cannot connect to Redis at {}: {} (is it running there? see --redis.url)"
    ),
    "^MasterNotFoundError: No master found for (.+?)( : |$)": (
        "no Sentinel names a master {} (see --redis.url and --redis.sentinel-master)"
    ),
    "^UnicodeDecodeError": "--redis.password-file is no text in UTF-8",
    "^BusyLoadingError": "Redis is loading its data",
    "^(Ask|Moved)Error": "what answers is part of a Redis Cluster: see --redis.mode",
    "unknown command 'SENTINEL'": "what answers is no Sentinel: see --redis.mode",
    "cluster support disabled": "what answers is no cluster: see --redis.mode",
    "(DB index is out of range)": "Redis: {} (see the number at the end of --redis.url)",
    r"^Authentication\w+: (.*)": (
        "Redis refused the user or the password: {} (see --redis.username, --redis.password-file)"
    ),
    "^NoPermissionError: (.*)": "Redis: {} (docs/how-to/redis.md lists the rights)",
    "(Protocol error.*)": "what answers does not speak Redis's protocol (see --redis.url): {}",
    r"^(?:\w+: )?(.*)": "Redis: {}",
}
"""What an error means, by a regular expression that finds it; the first one counts."""


def plain_error(error: Exception) -> SourceError:
    """Return an error of redis-py or of a socket as one line without secrets."""
    if isinstance(error, SourceError):
        return error
    if isinstance(error, RedisTimeout | TimeoutError):
        return SourceTimeoutError("Redis did not answer in time")
    text = " ".join(f"{type(error).__name__}: {error}".split())
    found = ((re.search(pattern, text), meaning) for pattern, meaning in _MEANINGS.items())
    return next(SourceError(meaning.format(*match.groups())) for match, meaning in found if match)
