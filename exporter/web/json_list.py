"""Parts that the lists of nodes and of portfolios in JSON share: the arguments of a query, the form of an answer."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

Arguments = Mapping[str, Sequence[bytes]]
"""The arguments of a URL by name, in the order in which they stand there."""

_LONGEST_LIMIT: Final = 9
_LONGEST_CURSOR: Final = 4096


def last_values(arguments: Arguments) -> dict[str, str]:
    """Return the last value of each argument."""
    return {name: values[-1].decode("utf-8", "replace") for name, values in arguments.items()}


def state_in(given: Mapping[str, str], states: Sequence[str]) -> str | None:
    """Return the state that a query asks for; None if it asks for all.

    Raises:
        ValueError: There is no such state.
    """
    state = given.get("state") or None
    if state is not None and state not in states:
        raise ValueError(f"state: must be one of {', '.join(states)}")
    return state


def limit_in(given: Mapping[str, str], most: int, things: str) -> int | None:
    """Return the length of a page, ``most`` at most; None if the query does not give a length.

    Raises:
        ValueError: It is not a number from 1 on.
    """
    limit = given.get("limit") or None
    if limit is None:
        return None
    if not (limit.isascii() and limit.isdigit() and len(limit) <= _LONGEST_LIMIT and int(limit)):
        raise ValueError(f"limit: must be a number of {things} from 1 on")
    return min(int(limit), most)


def encode_cursor(content: bytes) -> str:
    """Return a cursor that holds this content."""
    return base64.urlsafe_b64encode(content).decode()


def decode_cursor(cursor: str) -> bytes:
    """Return the content of a cursor.

    Raises:
        ValueError: It is no cursor.
    """
    try:
        return base64.b64decode(cursor[:_LONGEST_CURSOR], b"-_", validate=True)
    except ValueError:
        raise ValueError("cursor: must be the `next` of the page before") from None


def list_body(key: str, texts: Iterable[bytes], cursor: str | None, *, trouble: str | None, paged: bool) -> list[bytes]:
    """Return the pieces of ``{"redis_up": …, key: […]}``.

    ``"next"`` follows if the list is given in pages, and ``"trouble"`` if Redis could not be read.

    Args:
        key: The name of the list.
        texts: Its items as JSON.
        cursor: The cursor of the next page; None on the last one.
        trouble: Why Redis could not be read, in sentences; None if it was read.
        paged: Whether the query asks for pages. An answer with a cursor is a page in any case.
    """
    head = b'{"redis_up":%b,"%b":[' % (b"true" if trouble is None else b"false", key.encode())
    ending = b'],"next":' + json.dumps(cursor).encode() if paged or cursor is not None else b"]"
    why = b"" if not trouble else b',"trouble":' + json.dumps(trouble, ensure_ascii=False).encode()
    return [head + b",".join(texts) + ending + why + b"}"]
