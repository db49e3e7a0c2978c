"""The ids of the known nodes: as Redis holds them, and as they are shown."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Names:
    r"""The nodes to read, sorted by the id that is shown.

    The same object stands for the same nodes, so that what is derived from it
    (requests, templates) is made once.

    Attributes:
        raw: Ids as Redis holds them.
        shown: The same ids as text; bytes that are no UTF-8 as ``\xff``.
        ambiguous: How many were left out because they would show like another one.
        over_limit: How many were left out because there are too many.
    """

    raw: tuple[bytes, ...] = ()
    shown: tuple[str, ...] = ()
    ambiguous: int = 0
    over_limit: int = 0


def shown_id(raw: bytes) -> str:
    r"""Return a node's id as it is shown: bytes that are no UTF-8 become ``\\xff``."""
    return raw.decode("utf-8", "backslashreplace")


def names_of(found: Iterable[bytes], limit: int) -> Names:
    """Return the names to read, given those found in Redis.

    Of two ids that would show alike, the one that is UTF-8 is kept, or the first
    if none is. Beyond the limit, the first ones by name are kept.
    """
    kept: dict[str, bytes] = {}
    count = 0
    for raw in found:
        shown = shown_id(raw)
        other = kept.setdefault(shown, raw)
        if raw is not other:
            kept[shown] = min(raw, other, key=lambda name: (name != shown.encode(), name))
        count += 1
    ids = sorted(kept)
    over_limit = max(0, len(ids) - limit)
    del ids[limit:]
    return Names(
        raw=tuple(kept[shown] for shown in ids),
        shown=tuple(ids),
        ambiguous=count - len(kept),
        over_limit=over_limit,
    )
