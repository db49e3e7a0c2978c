"""When an offline node is forgotten: it is then only counted."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What the plan and the loaded lists say of nodes that are offline.

    Attributes:
        needed: Nodes that must not be forgotten: the plan gives them a portfolio, or one that they list is untraded.
        rehomed: Nodes whose work has moved: the plan names other nodes only, and online nodes have loaded all
            portfolios that they list.
    """

    needed: frozenset[bytes] = frozenset()
    rehomed: frozenset[bytes] = frozenset()


class Forgetting:
    """Decides which offline nodes are forgotten. Not thread-safe: the judge's lock guards it.

    Args:
        after: Seconds after which any offline node is forgotten; None forgets none for its age.
        rehomed_after: Seconds after which a node is forgotten whose work has moved; None forgets none for that.

    Attributes:
        leftovers: What was last known of offline nodes; None before the first ledger.
    """

    def __init__(self, after: float | None, rehomed_after: float | None) -> None:
        self._after, self._rehomed_after = after, rehomed_after
        self.leftovers: Leftovers | None = None

    def forgets(self, name: bytes, offline: float, *, forgotten: bool, remembered: bool = False) -> bool:
        """Return whether a node is forgotten.

        A node that was forgotten stays so until it is needed again: when the owner of a portfolio deletes it
        later, the list of a leftover would show it as dropped.

        Args:
            name: The node.
            offline: Seconds since it died.
            forgotten: Whether it was forgotten before.
            remembered: Whether an earlier run of the exporter declared it dead. Before the first ledger such a node
                stays what it was: it may be needed.
        """
        if self.leftovers is None and remembered:
            return forgotten
        leftovers = self.leftovers or Leftovers()
        if name in leftovers.needed:
            return False
        if forgotten or (self._after is not None and offline > self._after):
            return True
        moved = name in leftovers.rehomed
        return moved and self._rehomed_after is not None and offline > self._rehomed_after
