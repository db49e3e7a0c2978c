"""The rights of the exporter's user."""

from typing import Final

ACL_RIGHTS: Final = [
    "resetchannels",
    "-@all",
    "+info",
    "+scan",
    "+hmget",
    "+pttl",
    "+mget",
    "+get",
    "+exists",
    "%R~node:metrics:*",
    "%R~heartbeat:node:*",
]
"""All that the exporter's user may do, as the documentation gives it."""
CLUSTER_RIGHTS: Final = [*ACL_RIGHTS, "+cluster|slots", "+asking"]
"""The same on a cluster."""
