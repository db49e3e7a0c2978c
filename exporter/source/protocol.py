"""What the exporter sends to Redis, and what the replies mean: packed commands, values of nodes, errors."""

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from redis import RedisError
from redis.exceptions import AskError, AuthenticationError, BusyLoadingError, NoPermissionError
from redis.exceptions import TimeoutError as RedisTimeout

from exporter.contract import FIELDS
from exporter.errors import SourceError, SourceTimeoutError
from exporter.settings import Keys

FAILURES: Final = (RedisError, OSError)
"""The errors that redis-py and sockets raise."""
CHUNK: Final = 500
"""Keys, or nodes, in one request. A larger one would be no faster, and Redis's other clients would wait longer."""


def pack(*words: bytes) -> bytes:
    """Return one command in Redis's wire format (an array of bulk strings)."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def commands_of(packed: bytes) -> Iterator[bytes]:
    """Yield each of some packed commands."""
    start = 0
    while start < len(packed):
        end = packed.index(b"\r\n", start)
        words, position = int(packed[start + 1 : end]), end + 2
        for _ in range(words):
            end = packed.index(b"\r\n", position)
            position = end + 4 + int(packed[position + 1 : end])
        yield packed[start:position]
        start = position


_FIELD_WORDS: Final = pack(*(field.encode() for field in FIELDS)).split(b"\r\n", 1)[1]
_HMGET: Final = b"*%d\r\n$5\r\nHMGET\r\n$%%d\r\n%%b\r\n%b" % (2 + len(FIELDS), _FIELD_WORDS)
_PTTL: Final = b"*2\r\n$4\r\nPTTL\r\n$%d\r\n%b\r\n"


def hmget(key: bytes) -> bytes:
    """Return the command that reads the known fields of a node's hash."""
    return _HMGET % (len(key), key)


def hmget_nothing(key: bytes) -> bytes:
    """Return a command with the reply of ``hmget`` for a hash without known fields, however large its values are."""
    return pack(b"HMGET", key, *[b""] * len(FIELDS))


def pttl(key: bytes) -> bytes:
    """Return the command that reads the TTL of a key."""
    return _PTTL % (len(key), key)


class KeyNames(NamedTuple):
    """The names of the nodes' keys: two prefixes, each followed by the node's id."""

    metrics: bytes
    heartbeat: bytes

    @classmethod
    def of(cls, keys: Keys) -> "KeyNames":
        """Return the key names that the settings give."""
        return cls(keys.metrics_prefix.encode(), keys.heartbeat_prefix.encode())


def expected(reply: Any, kind: type) -> Any:
    """Return a reply if it has the expected type.

    Raises:
        SourceError: The reply is an error (a missing right, Redis is loading, …), or has another type.
    """
    if type(reply) is kind:
        return reply
    if isinstance(reply, RedisError):
        raise plain_error(reply)
    raise SourceError(f"Redis gave an answer of an unexpected kind: {type(reply).__name__}")


def is_wrong_type(reply: Any) -> bool:
    """Return whether a reply says that the key has the wrong type; such a reply affects this key only."""
    return isinstance(reply, RedisError) and str(reply).startswith("WRONGTYPE")


_NOT_CONNECTED: Final = re.compile(r"Error -?\d+ connecting to (.+?)\. (.+?)\.")
_NOT_TRUSTED: Final = re.compile(r"certificate verify failed: (.+?)\.? \(_ssl")
_FORMS: Final = {
    AuthenticationError: "Redis refused the user or the password: {} (see --redis.username, --redis.password-file)",
    AskError: "what answers is part of a Redis Cluster: see --redis.mode",
    NoPermissionError: "Redis: {} (docs/how-to/redis.md lists the rights)",
}
_HINTS: Final = {
    "unknown command 'SENTINEL'": "what answers is no Sentinel: see --redis.mode",
    "cluster support disabled": "what answers is no cluster: see --redis.mode",
    "don't hash to the same slot": "what answers is part of a Redis Cluster: see --redis.mode",
    "DB index is out of range": "see the number at the end of --redis.url",
    "CERTIFICATE_REQUIRED": "Redis requires a client certificate: see --redis.tls-cert-file",
}


def plain_error(error: Exception) -> SourceError:  # noqa: PLR0911 - one for each kind
    """Return an error of redis-py or of a socket as one line without secrets."""
    if isinstance(error, RedisTimeout | TimeoutError):
        return SourceTimeoutError("Redis did not answer in time")
    if isinstance(error, BusyLoadingError):
        return SourceError("Redis is loading its data")
    text = " ".join(str(error).split()) or type(error).__name__
    if hint := next((hint for part, hint in _HINTS.items() if part in text), ""):
        text = f"{text.partition(', with args')[0]} ({hint})"
    if distrust := _NOT_TRUSTED.search(text):
        return SourceError(
            f"Redis's certificate is not trusted: {distrust[1]} (see --redis.tls-ca-file, and the host in --redis.url)"
        )
    if refused := _NOT_CONNECTED.fullmatch(text):
        where, why = refused.groups()
        return SourceError(f"cannot connect to Redis at {where}: {why} (is it running there? see --redis.url)")
    if text.startswith("Protocol error"):
        return SourceError(f"what answers does not speak Redis's protocol (see --redis.url): {text}")
    for kind, form in _FORMS.items():
        if isinstance(error, kind):
            return SourceError(form.format(text.partition(" : <")[0]))
    return SourceError(text if isinstance(error, OSError) else f"Redis: {text}")
