"""What Redis's replies mean: values, keys of the wrong type, refusals."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from redis import RedisError

from exporter.contract import FIELDS
from exporter.errors import SourceError
from exporter.source.plain_error import plain_error

NO_FIELDS: Final = [None] * len(FIELDS)
"""What HMGET answers for a hash that is missing, or has none of the fields."""


def checked(reply: Any, kind: type) -> Any:
    """Return a reply of the kind that was asked for; refuse any other."""
    return reply if type(reply) is kind else refuse(reply)


def columns_of(rows: Iterable[Sequence[bytes | None]]) -> tuple[tuple[bytes | None, ...], ...]:
    """Return the values of each field in turn, given what HMGET answered for each node.

    Raises:
        SourceError: Some have fewer than others.
    """
    try:
        return tuple(zip(*rows, strict=True)) or ((),) * len(FIELDS)
    except ValueError:
        raise SourceError("Redis left out some of the fields that it was asked for") from None


def refuse(reply: Any) -> Any:
    """Raise what an unexpected reply means: no rights, loading, a master out of reach.

    Raises:
        SourceError: Always.
    """
    if isinstance(reply, RedisError):
        raise plain_error(reply)
    raise SourceError(f"Redis gave an answer of an unexpected kind: {type(reply).__name__}")


def is_wrong_type(reply: Any) -> bool:
    """Return whether a reply says that the key holds another type: it costs that key only."""
    return isinstance(reply, RedisError) and str(reply).startswith("WRONGTYPE")
