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
"""All rights of the exporter's user, as in the documentation."""
CLUSTER_RIGHTS: Final = [*ACL_RIGHTS, "+cluster|slots", "+asking"]
"""All rights of the exporter's user on a cluster."""
