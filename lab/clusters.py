"""A real cluster of three primaries, with or without replicas, TLS and the exporter's own user."""

import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot

from exporter.settings import Settings, load
from lab.servers import RedisServer, binary, free_port, wait_for
from lab.tls import Certificates


class RunningCluster:
    """Three primaries, each with the given number of replicas, made by ``redis-cli --cluster create``.

    With certificates the servers speak TLS to each other and to the exporter. The
    tests' own client uses no TLS.
    """

    def __init__(
        self,
        folder: Path,
        stack: ExitStack,
        *arguments: str,
        replicas: int = 1,
        certificates: Certificates | None = None,
    ) -> None:
        self.certificates = certificates
        self.tls_ports: list[int] = []
        self.servers: dict[int, RedisServer] = {}
        for _ in range(3 + 3 * replicas):
            # Without this the cluster bus would listen 10,000 ports higher.
            options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", str(free_port()))
            at_once = ("--repl-diskless-sync-delay", "0")
            tls = self._tls() if certificates else ()
            server = RedisServer(folder / str(len(self.servers)), "redis-server", *options, *at_once, *tls, *arguments)
            stack.callback(server.kill)
            self.servers[server.port] = server
        addresses = [f"127.0.0.1:{port}" for port in self.tls_ports or self.servers]
        secure = ("--tls", "--cacert", str(certificates.ca)) if certificates else ()
        subprocess.run(
            [
                *(binary("redis-cli"), *secure, "--cluster", "create", *addresses),
                *("--cluster-replicas", str(replicas), "--cluster-yes"),
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )
        self.client = stack.enter_context(self.new_client())
        wait_for(self.replicated, "for the replicas")
        wait_for(self.agreed, "for all servers to know all slots")

    def _tls(self) -> Sequence[str]:
        assert self.certificates
        self.tls_ports.append(free_port())
        both = ("--tls-cluster", "yes", "--tls-replication", "yes", "--tls-auth-clients", "no")
        return ("--tls-port", str(self.tls_ports[-1]), *both, *self.certificates.server("127.0.0.1"))

    def new_client(self) -> RedisCluster:
        return RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", port) for port in self.servers])

    @property
    def given(self) -> dict[str, Any]:
        """The settings as a user would give them."""
        urls = [server.url for server in self.servers.values()]
        given: dict[str, Any] = {
            "redis.mode": "cluster",
            "redis.url": urls,
            "redis.timeout": "2s",
            "discovery.interval": "200ms",
        }
        if self.certificates:
            given["redis.url"] = [f"rediss://127.0.0.1:{port}" for port in self.tls_ports]
            given["redis.tls-ca-file"] = str(self.certificates.ca)
        return given

    @property
    def settings(self) -> Settings:
        return load(self.given)

    def replicated(self) -> bool:
        """Return whether each replica has its primary's data; without the data it cannot take over."""
        links = []
        for server in self.servers.values():
            with server.client() as client:
                links.append(client.info("replication").get("master_link_status"))
        return links.count(None) == 3 and links.count("up") == len(links) - 3

    def agreed(self) -> bool:
        """Return whether every server serves the cluster's keys."""
        states = []
        for server in self.servers.values():
            with server.client() as client:
                states.append(client.execute_command("CLUSTER INFO")["cluster_state"])
        return set(states) == {"ok"}

    def master_of(self, port: int) -> int | None:
        """Return the port of a replica's primary; None if the server is a primary itself."""
        with self.servers[port].client() as client:
            primary: int | None = client.info("replication").get("master_port")
            return primary

    def primaries(self) -> list[int]:
        self.client.nodes_manager.initialize()
        return [node.port for node in self.client.get_primaries()]

    def primary_of(self, key: bytes) -> int:
        self.client.nodes_manager.initialize()
        port: int = self.client.get_node_from_key(key).port
        return port

    def shift(self, key: bytes, *, finish: bool) -> None:
        """Move a key to another primary, and if the move is to be finished, its slot too."""
        slot, source = key_slot(key), self.primary_of(key)
        target = next(port for port in self.primaries() if port != source)
        with self.servers[source].client() as old, self.servers[target].client() as new:
            ids = {source: old.execute_command("CLUSTER MYID"), target: new.execute_command("CLUSTER MYID")}
            new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source])
            old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target])
            listens = self.tls_ports[list(self.servers).index(target)] if self.certificates else target
            old.execute_command("MIGRATE", "127.0.0.1", listens, "", 0, 5000, "KEYS", key)
            if finish:
                for port in (target, source):
                    with self.servers[port].client() as client:
                        client.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[target])
                wait_for(lambda: self._owners(slot) == {target}, "for all servers to hear of the move")

    def _owners(self, slot: int) -> set[int]:
        """Return the ports of all servers that any server takes for a slot's primary."""
        owners: set[int] = set()
        for server in self.servers.values():
            with server.client() as client:
                slots = client.execute_command("CLUSTER SLOTS")
                owners.update(primary[1] for first, last, primary, *_ in slots if first <= slot <= last)
        return owners
