"""Certificates of an authority of the lab's own."""

import ssl
from pathlib import Path

import trustme


def trusting() -> ssl.SSLContext:
    """Return what a client uses that trusts any server."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Certificates:
    """Files of the authority, of servers by their names, and of a client.

    Args:
        folder: For the files.
    """

    def __init__(self, folder: Path) -> None:
        self._authority, self._folder, self.ca = trustme.CA(), folder, folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.ca)
        self.client_cert, self.client_key = self.pair("exporter")

    def pair(self, host: str) -> tuple[Path, Path]:
        """Return the files of a server's or a client's certificate and key."""
        issued = self._authority.issue_cert(host)
        cert, key = self._folder / f"{host}.pem", self._folder / f"{host}.key"
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
