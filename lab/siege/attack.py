"""What an attack is, and what its attackers are told."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

NODES: Final = 20_000
"""Nodes of the fleet under attack."""


@dataclass(frozen=True, slots=True)
class Field:
    """Where attackers find their targets.

    Attributes:
        exporter_port: The exporter's port.
        redis_port: The port of the Redis that it reads.
        until: The end of the attack in monotonic seconds.
    """

    exporter_port: int
    redis_port: int
    until: float

    @property
    def lasts(self) -> bool:
        """Whether the attack goes on."""
        return time.monotonic() < self.until

    def rounds(self, pause: float) -> Iterator[int]:
        """Count rounds with a pause in seconds after each, until the attack ends."""
        number = 0
        while self.lasts:
            yield number
            number += 1
            time.sleep(pause)


Twist = Callable[[list[bytes], bytes], bytes]
"""Given a command and the honest reply to it, returns the reply that a hostile Redis sends."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack.

    Attributes:
        name: What it is called on the command line.
        what: What the attackers do, for the table.
        run: Attacks, in a process of its own, until the field's time is over; None if Redis or Alertmanager does it.
        twist: What a fake Redis makes of its replies during the attack; None for a real Redis.
        nodes: Nodes of the fleet.
        flags: More flags of the exporter.
        memory: MiB that the exporter may have; 0 for what the command line says.
        unreadable: Whether Redis does not answer in the promised shapes, so that scrapes have to say that it is down. A
            page that says so is right then, and a page about a node is wrong as always.
        users: Whether the exporter asks for a password.
        alertmanager: What a fake Alertmanager answers each post with; None for a sound one.
    """

    name: str
    what: str
    run: Callable[[Field], None] | None = None
    twist: Twist | None = None
    nodes: int = NODES
    flags: tuple[str, ...] = ()
    memory: int = 0
    unreadable: bool = False
    users: bool = False
    alertmanager: Callable[[], Iterator[bytes]] | None = None
