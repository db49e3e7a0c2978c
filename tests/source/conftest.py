"""Fixtures that several tests of the source use."""

import pytest
import trustme

from lab.tls import Certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    client = authority.issue_cert("exporter@example.org")
    client.private_key_pem.write_to_path(str(folder / "client.key"))
    client.cert_chain_pems[0].write_to_path(str(folder / "client.pem"))

    def server(host: str) -> list[str]:
        issued = authority.issue_cert(host)
        issued.private_key_pem.write_to_path(str(folder / f"{host}.key"))
        issued.cert_chain_pems[0].write_to_path(str(folder / f"{host}.pem"))
        files = {"ca-cert": "ca.pem", "cert": f"{host}.pem", "key": f"{host}.key"}
        return [part for name, file in files.items() for part in (f"--tls-{name}-file", str(folder / file))]

    return Certificates(folder / "ca.pem", folder / "client.pem", folder / "client.key", server)
