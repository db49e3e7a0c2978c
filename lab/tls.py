"""Certificates of an authority of the lab's own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import trustme


@dataclass(frozen=True)
class Certificates:
    """Files of the authority, of servers by their names, and of a client."""

    authority: trustme.CA
    folder: Path
    ca: Path
    client_cert: Path
    client_key: Path

    @classmethod
    def made_in(cls, folder: Path) -> Self:
        """Make an authority and a client's certificate in a folder."""
        authority = trustme.CA()
        client = authority.issue_cert("exporter")
        files = {name: folder / f"{name}.pem" for name in ("ca", "client_cert", "client_key")}
        authority.cert_pem.write_to_path(files["ca"])
        client.cert_chain_pems[0].write_to_path(files["client_cert"])
        client.private_key_pem.write_to_path(files["client_key"])
        return cls(authority, folder, **files)

    def pair(self, host: str) -> tuple[Path, Path]:
        """Return the files of a server's certificate and key."""
        issued = self.authority.issue_cert(host)
        cert, key = self.folder / f"{host}.pem", self.folder / f"{host}.key"
        issued.cert_chain_pems[0].write_to_path(cert)
        issued.private_key_pem.write_to_path(key)
        return cert, key

    def server(self, port: int, host: str = "127.0.0.1", clients: str = "no") -> list[str]:
        """Return the options with which a Redis speaks TLS on a port, and to its primary.

        Args:
            port: The port.
            host: The name in its certificate.
            clients: Whether its clients need certificates: "yes", "no" or "optional".
        """
        cert, key = self.pair(host)
        files = ("--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-ca-cert-file", str(self.ca))
        return ["--tls-port", str(port), "--tls-replication", "yes", "--tls-auth-clients", clients, *files]
