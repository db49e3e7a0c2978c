"""The ids of the known nodes, as bytes in Redis and as text for people."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Names:
    r"""The nodes to read, sorted by their ids as text.

    While the nodes stay the same, so does the object. Requests and templates that were made from it
    are kept until the object changes.

    Attributes:
        raw: The ids as bytes in Redis.
        shown: The same ids as text; bytes that are not valid UTF-8 become ``\xff``.
        ambiguous: How many ids were dropped because their text equals the text of another id.
        over_limit: How many ids were dropped because there are too many.
    """

    raw: tuple[bytes, ...] = ()
    shown: tuple[str, ...] = ()
    ambiguous: int = 0
    over_limit: int = 0


def shown_id(raw: bytes) -> str:
    r"""Return a node's id as text; bytes that are not valid UTF-8 become ``\\xff``."""
    return raw.decode("utf-8", "backslashreplace")


def names_of(found: Collection[bytes], limit: int) -> Names:
    """Return the names to read.

    If two ids have the same text, the id that is valid UTF-8 is kept. If neither is valid UTF-8, the
    first id in byte order is kept. If there are too many ids, the first ones in the order of their
    texts are kept.

    Args:
        found: The ids found in Redis.
        limit: How many ids to keep at most.
    """
    kept: dict[str, bytes] = {}
    for raw in found:
        shown = shown_id(raw)
        other = kept.setdefault(shown, raw)
        if raw is not other:
            kept[shown] = min(raw, other, key=lambda name: (name != shown.encode(), name))
    ids = sorted(kept)
    over_limit = max(0, len(ids) - limit)
    del ids[limit:]
    return Names(
        raw=tuple(kept[shown] for shown in ids),
        shown=tuple(ids),
        ambiguous=len(found) - len(kept),
        over_limit=over_limit,
    )
