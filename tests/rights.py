"""The rights of the exporter's user."""

from typing import Final

NODE_RIGHTS: Final = ["+info", "+scan", "+hmget", "+pttl", "+get", "+exists"]
"""The commands that read nodes."""
PORTFOLIO_RIGHTS: Final = ["+hgetall", "+object|idletime", "+client|no-touch"]
"""The commands that read the plan beside these."""
NODE_KEYS: Final = ["%R~node:metrics:*", "%R~heartbeat:node:*"]
"""The keys of nodes."""
PORTFOLIO_KEYS: Final = [
    "%R~schedule:plan",
    "%R~portfolio:*",
    "%R~heartbeat:task_timer:*",
    "%R~heartbeat:data_worker:*",
    "%R~backtest:worker:*",
]
"""The keys of the plan, of portfolios and of workers."""
ACL_RIGHTS: Final = [
    "resetchannels",
    "-@all",
    *NODE_RIGHTS,
    *PORTFOLIO_RIGHTS,
    *NODE_KEYS,
    *PORTFOLIO_KEYS,
]
"""All rights of the exporter's user, as in the documentation."""
CLUSTER_RIGHTS: Final = [*ACL_RIGHTS, "+cluster|slots", "+asking"]
"""All rights of the exporter's user on a cluster."""
