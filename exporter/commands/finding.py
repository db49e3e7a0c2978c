"""What ``check`` found beside what works: a fact, what follows from it, and its remedy."""

from typing import NamedTuple


class Finding(NamedTuple):
    """A fact that an operator should know before the first incident.

    Attributes:
        fact: The fact and what follows from it, without a full stop.
        remedy: What to do, without a full stop.
        must: Whether the exporter is wrong or useless until it is changed: then ``check`` exits 1.
    """

    fact: str
    remedy: str
    must: bool = False

    def line(self, subject: str) -> str:
        """Return the finding as a line of ``check``."""
        return f"{subject}: {'must be changed' if self.must else 'note'}: {self.fact}. {self.remedy}."
