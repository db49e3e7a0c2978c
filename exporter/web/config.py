"""The web configuration: TLS, client certificates and users.

The file has the format of Prometheus's exporter-toolkit
(https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md).
An option that this server does not support is rejected, and the error names it. Relative paths in the file
start at the file's folder.
"""

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from exporter.errors import SettingsError
from exporter.settings import Section, Setting, existing_file, optional, sections_of, without_passwords
from exporter.settings.values import require
from exporter.settings.yaml_file import read_yaml

_VERSIONS: Final = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH: Final = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_HASH: Final = re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}")


class TlsServerConfig(Section):
    """The server side of TLS; the names are those of the file."""

    joint = "_"
    cert_file: Setting[Path | None] = optional(existing_file, "certificate to present")
    key_file: Setting[Path | None] = optional(existing_file, "its key")
    client_ca_file: Setting[Path | None] = optional(existing_file, "authorities of clients' certificates")
    client_auth_type: Setting[str] = Setting(
        str, "NoClientCert", "which clients need a certificate", choices=tuple(_CLIENT_AUTH)
    )
    min_version: Setting[str] = Setting(str, "TLS12", "the oldest version of TLS", choices=tuple(_VERSIONS))


class _Sections(NamedTuple):
    tls_server_config: TlsServerConfig = TlsServerConfig()


def load(path: Path | None) -> tuple[ssl.SSLContext | None, Mapping[str, str]]:
    """Return the TLS context of a web configuration, made from the current files, and the hash of each user's password.

    Args:
        path: The file. None gives a configuration without TLS and without users.

    Raises:
        SettingsError: The file, or a file that it names, is invalid. The message has a line for each reason.
    """
    if path is None:
        return None, {}
    try:
        content = read_yaml(path) or {}
        require(isinstance(content, dict), "must hold settings, such as basic_auth_users: {…}")
        users, tls = content.pop("basic_auth_users", None) or {}, content.get("tls_server_config")
        if isinstance(tls, dict):
            files = ((name, file) for name, file in tls.items() if str(name).endswith("_file"))
            tls |= {name: str(path.parent / file) for name, file in files if isinstance(file, str)}
        (section,) = sections_of(content, _Sections)
        return _context(section) if section.given else None, _checked(users)
    except ValueError as error:
        lines = (without_passwords(f"--web.config.file: {line}") for line in error.args)
        raise SettingsError("\n".join(lines)) from None


def _context(tls: TlsServerConfig) -> ssl.SSLContext:
    if not (tls.cert_file and tls.key_file):
        raise ValueError("tls_server_config: needs cert_file and key_file")
    require(
        (tls.client_auth_type != "NoClientCert") == bool(tls.client_ca_file),
        "tls_server_config: client_auth_type goes with client_ca_file",
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.verify_mode = _CLIENT_AUTH[tls.client_auth_type]
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file, password="")
        if tls.client_ca_file:
            context.load_verify_locations(tls.client_ca_file)
    except OSError as error:
        raise ValueError(f"tls_server_config: {error}") from None
    return context


def _checked(users: Any) -> Mapping[str, str]:
    if not isinstance(users, dict):
        raise ValueError("basic_auth_users: must be a mapping of names to bcrypt hashes")  # noqa: TRY004
    for name, value in users.items():
        require(":" not in str(name or ":"), f"basic_auth_users.{name}: a user needs a name without a colon")
        require(
            _HASH.fullmatch(str(value)),
            f"basic_auth_users.{name}: not a bcrypt hash (htpasswd -nBC 10 USER makes one)",
        )
    return users
