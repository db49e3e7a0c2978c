"""Meanings of Redis's replies: a value, a key of the wrong type, or an error."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from redis import RedisError

from exporter.contract import FIELDS
from exporter.errors import SourceError
from exporter.source.plain_error import plain_error

NO_FIELDS: Final = [None] * len(FIELDS)
"""The reply of HMGET for a hash that is missing or has no known field."""

OTHER_COUNT: Final = "Redis gave more or fewer fields than it was asked for"
"""Why a reply to HMGET cannot be used."""


def expected(reply: Any, kind: type) -> Any:
    """Return a reply if it has the expected type.

    Raises:
        SourceError: The reply has another type.
    """
    return reply if type(reply) is kind else refuse(reply)


def columns_of(rows: Sequence[Sequence[bytes | None]]) -> tuple[tuple[bytes | None, ...], ...]:
    """Return one column for each field, given each node's reply to HMGET.

    Raises:
        SourceError: The replies have different lengths.
    """
    if not rows:
        return ((),) * len(FIELDS)
    try:
        columns = tuple(zip(*rows, strict=True))
    except ValueError:
        columns = ()
    if len(columns) != len(FIELDS):
        raise SourceError(OTHER_COUNT)
    return columns


def check_values(columns: Iterable[Iterable[Any]]) -> None:
    """Raise the error that a wrong type among the values of fields means.

    The types of 90,000 values are not looked at in each read: a wrong one is found when it cannot be used.

    Raises:
        SourceError: A value is neither bytes nor None.
    """
    for column in columns:
        for value in column:
            if value is not None and type(value) is not bytes:
                refuse(value)


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
