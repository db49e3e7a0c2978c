"""The contract's example: thirteen portfolios on six nodes, with every state and reason."""

from collections.abc import Mapping, Sequence

from exporter.liveness import State
from exporter.portfolios.account import Account, History
from exporter.portfolios.ledger import NodeReport, ledger_of

STATES = {
    b"alpha": State.ONLINE,
    b"beta": State.ONLINE,
    b"gamma": State.OFFLINE,
    b"delta": State.UNDECIDED,
    b"epsilon": State.ONLINE,
    b"zeta": State.ONLINE,
}
"""The nodes; ``epsilon`` does not say what it has loaded, and the list of ``zeta`` is broken."""

LISTS: dict[bytes, tuple[bytes, ...] | None] = {
    b"alpha": (b"p01", b"p05", b"p06", b"p08"),
    b"beta": (b"p02", b"p06", b"p07"),
    b"gamma": (b"p03", b"p09"),
    b"delta": (b"p10", b"p11"),
    b"epsilon": None,
    b"zeta": None,
}

RAW_LISTS: dict[bytes, bytes | None] = {
    b"alpha": b'["p01", "p05", "p06", "p08"]',
    b"beta": b'["p02", "p06", "p07"]',
    b"gamma": b'["p03", "p09"]',
    b"delta": b'["p10", "p11"]',
    b"epsilon": None,
    b"zeta": b'["p12", ',
}
"""The same as the nodes' hashes hold them."""

PLAN = {
    b"p01": b"alpha",
    b"p02": b"beta",
    b"p03": b"gamma",
    b"p04": b"__ORPHANED__",
    b"p05": b"beta",
    b"p06": b"alpha",
    b"p08": b"__ORPHANED__",
    b"p10": b"delta",
    b"p12": b"zeta",
    b"p13": b"beta",
}

EXPECTED: dict[bytes, tuple[str, str | None]] = {
    b"p01": ("traded", None),
    b"p02": ("traded", None),
    b"p03": ("untraded", "node_offline"),
    b"p04": ("untraded", "orphaned"),
    b"p05": ("misplaced", None),
    b"p06": ("duplicated", None),
    b"p07": ("unplanned", None),
    b"p08": ("unplanned", None),
    b"p09": ("untraded", "dropped"),
    b"p10": ("unknown", None),
    b"p11": ("unknown", None),
    b"p12": ("unknown", None),
    b"p13": ("untraded", "undelivered"),
}


SINCE = 1_767_702_000.0


def account_of(
    plan: Mapping[bytes, bytes], nodes: Sequence[NodeReport], positions: Mapping[bytes, float] | None = None
) -> Account:
    """Return what is known of this plan and these nodes; each fault lasts since ``SINCE``."""
    return (
        History(100, {})
        .note(ledger_of(plan, nodes), SINCE)
        ._replace(
            idle=12.0,
            workers={"task_timer": 1, "data_worker": 0, "backtest_worker": 0},
            queues={b"alpha": 9.0},
            node_positions={b"alpha": 2.0, b"beta": 0.0},
            positions=positions or {},
        )
    )


def example() -> Account:
    """Return the account of the contract's example."""
    nodes = [NodeReport(name, state, LISTS[name]) for name, state in STATES.items()]
    return account_of(PLAN, nodes, {b"p03": 3.0, b"p09": 4.0})


def traded(count: int) -> Account:
    """Return an account with that many portfolios, all traded by one node."""
    ids = [b"p%05d" % number for number in range(count)]
    return account_of(dict.fromkeys(ids, b"n"), [NodeReport(b"n", State.ONLINE, ids)])
