"""A cluster as a reading shows it, without a Redis."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from exporter.source.reading import Server


@dataclass(frozen=True, slots=True)
class Cluster(Server):
    """Primaries that each hold the nodes whose name begins with one of their letters."""

    members: Mapping[str, Server] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)

    @property
    def addresses(self) -> Collection[str]:
        return self.owners.values()

    @property
    def placement(self) -> object:
        return self.owners

    def holders(self, name: bytes) -> tuple[str, ...]:
        return (self.owners.get(name.decode()[:1], ""),)


def cluster(*silent: str, owners: Mapping[str, str] | None = None, **members: Server) -> Cluster:
    """Return a cluster of A and B, or of the primaries that own these letters; some are silent, or say other things."""
    owners = owners or {"a": "A", "b": "B"}
    usual = Server("", "master", refused={"MISCONF": 0, "OOM": 0, "NOREPLICAS": 0})
    there = {name: members.get(name, replace(usual, run_id=name)) for name in owners.values() if name not in silent}
    return Cluster("", "cluster", members=there, owners=owners)
