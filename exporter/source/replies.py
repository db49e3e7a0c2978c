"""Meanings of Redis's replies: a value, a key of the wrong type, or an error."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from redis import RedisError

from exporter.contract import FIELDS
from exporter.errors import SourceError
from exporter.source.plain_error import plain_error

NO_FIELDS: Final = [None] * len(FIELDS)
"""The reply of HMGET for a hash that is missing or has no known field."""


def expected(reply: Any, kind: type) -> Any:
    """Return a reply if it has the expected type.

    Raises:
        SourceError: The reply has another type.
    """
    return reply if type(reply) is kind else refuse(reply)


def columns_of(rows: Iterable[Sequence[bytes | None]]) -> tuple[tuple[bytes | None, ...], ...]:
    """Return one column for each field, given each node's reply to HMGET.

    Raises:
        SourceError: The replies have different lengths.
    """
    try:
        return tuple(zip(*rows, strict=True)) or ((),) * len(FIELDS)
    except ValueError:
        raise SourceError("Redis left out some of the fields that it was asked for") from None


def refuse(reply: Any) -> Any:
    """Raise the error that an unexpected reply means: a missing right, Redis is loading, the master is unreachable.

    Raises:
        SourceError: Always.
    """
    if isinstance(reply, RedisError):
        raise plain_error(reply)
    raise SourceError(f"Redis gave an answer of an unexpected kind: {type(reply).__name__}")


def is_wrong_type(reply: Any) -> bool:
    """Return whether a reply says that the key has the wrong type; such a reply affects this key only."""
    return isinstance(reply, RedisError) and str(reply).startswith("WRONGTYPE")
