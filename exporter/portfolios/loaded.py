"""The list of loaded portfolios that a node writes into its hash; each is parsed only when its bytes have changed."""

import json
from collections.abc import Iterable, Sequence

from exporter.liveness.states import State
from exporter.portfolios.ledger import NodeReport

Raw = bytes | None
"""What a node's hash holds as its list; None if it holds nothing."""


def parse_loaded(text: bytes) -> tuple[bytes, ...] | None:
    """Return the ids in a node's list, each once and as Redis would hold them; None if it is no JSON list of strings.

    Args:
        text: The field ``loaded_portfolio_ids``, of any content.
    """
    try:
        ids = json.loads(text)
    except (ValueError, RecursionError):  # bytes that are no text in UTF-8 raise a ValueError too
        return None
    if not isinstance(ids, list) or not all(isinstance(portfolio, str) for portfolio in ids):
        return None
    return tuple(dict.fromkeys(portfolio.encode("utf-8", "surrogatepass") for portfolio in ids))


class LoadedLists:
    """The last list of each node. For one thread at a time.

    Attributes:
        invalid: Nodes whose list is there and is no JSON list of strings, in the order of the last update.
    """

    def __init__(self) -> None:
        self.invalid: list[bytes] = []
        self._names: Sequence[bytes] = ()
        self._raw: Sequence[Raw] = ()
        self._parsed: list[tuple[bytes, ...] | None] = []

    def update(self, names: Sequence[bytes], raw: Sequence[Raw]) -> bool:
        """Take over what a read found, and return whether any list differs from the last read's.

        Args:
            names: The nodes; the same object as before if they are the same.
            raw: What each node's hash holds as its list.
        """
        if names is self._names:
            if raw == self._raw:
                return False
            for position, (text, before) in enumerate(zip(raw, self._raw, strict=True)):
                if text != before:
                    self._parsed[position] = None if text is None else parse_loaded(text)
        else:
            known = dict(zip(self._names, zip(self._raw, self._parsed, strict=True), strict=True))
            self._parsed = [_parsed(text, known.get(name)) for name, text in zip(names, raw, strict=True)]
        self._names, self._raw = names, raw
        rows = zip(names, raw, self._parsed, strict=True)
        self.invalid = [name for name, text, ids in rows if ids is None and text is not None]
        return True

    @property
    def any_says(self) -> bool:
        """Whether any node says what it has loaded."""
        return any(ids is not None for ids in self._parsed)

    def reports(self, states: Iterable[State]) -> list[NodeReport]:
        """Return what is known of each node, given their states in the order of the names."""
        return list(map(NodeReport, self._names, states, self._parsed))


def _parsed(text: Raw, known: tuple[Raw, tuple[bytes, ...] | None] | None) -> tuple[bytes, ...] | None:
    if known is not None and known[0] == text:
        return known[1]
    return None if text is None else parse_loaded(text)
