"""How long ago the scheduler looked at its plan, on a server that saves from time to time.

Redis does not record looks while a child process saves. If the time simply began anew after each save, a
server that saves every minute would hide a scheduler that has been dead for hours.
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class IdleTime:
    """Counts the seconds without a look, leaving out the time of saves."""

    _since: float = field(init=False, default=float("-inf"))
    _without_a_look: float = field(init=False, default=0.0)

    def saving(self, now: float) -> None:
        """Note that the server saves at this moment (monotonic seconds)."""
        self._since = now

    def counted(self, idle: int, now: float) -> float:
        """Return the seconds without a look in which Redis would have recorded one.

        Args:
            idle: Seconds since the last look that Redis recorded (``OBJECT IDLETIME``).
            now: Monotonic seconds.
        """
        watched = now - self._since
        self._since = now
        self._without_a_look = idle if idle <= watched else min(idle, self._without_a_look + watched)
        return float(self._without_a_look)
