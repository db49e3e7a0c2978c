"""The web configuration: TLS, client certificates and users.

The file has the format of Prometheus's exporter-toolkit
(https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md).
An option that this server does not support is rejected, and the error names it. Relative paths in the file
start at the file's folder.
"""

import re
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from exporter.errors import SettingsError
from exporter.settings import existing_file, without_passwords
from exporter.settings.yaml_file import read_yaml

_VERSIONS: Final = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
_CLIENT_AUTH: Final = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_HASH: Final = re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}")
_USER: Final = re.compile(r"[^:\x00-\x1f\x7f]+")
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]+")

Parse = Callable[[Any], Any]
"""Returns the value of what stands in the file, or raises a ValueError with the reason."""


class TlsServer(NamedTuple):
    """The server side of TLS; the names are those of the file."""

    cert_file: Path
    key_file: Path
    client_auth_type: ssl.VerifyMode = ssl.CERT_NONE
    client_ca_file: Path | None = None
    min_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2


class WebConfig(NamedTuple):
    """The whole file.

    Attributes:
        tls_server_config: TLS; None if it is off.
        basic_auth_users: The bcrypt hash of each user's password.
    """

    tls_server_config: TlsServer | None = None
    basic_auth_users: Mapping[str, str] = {}

    @classmethod
    def load(cls, path: Path | None) -> "WebConfig":
        """Return the configuration in a file.

        Args:
            path: The file. None gives a configuration without users and without TLS.

        Raises:
            SettingsError: The file is invalid. The message is one line with the reason.
        """
        if path is None:
            return cls()
        parsers = {
            "tls_server_config": lambda given: _tls(given, path.parent),
            "basic_auth_users": _users,
        }
        try:
            return cls(**_parsed(read_yaml(path) or {}, parsers))
        except ValueError as error:
            raise SettingsError(without_passwords(f"--web.config.file: {error}")) from None


def tls_context(tls: TlsServer) -> ssl.SSLContext:
    """Return a server's TLS context, made from the current files.

    Raises:
        SettingsError: A file cannot be read.
    """
    place = "--web.config.file: tls_server_config"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        for file in (tls.cert_file, tls.key_file, tls.client_ca_file):
            if file:
                existing_file(str(file))
        context.minimum_version = tls.min_version
        context.load_cert_chain(tls.cert_file, tls.key_file, password="")
        if tls.client_ca_file:
            context.load_verify_locations(tls.client_ca_file)
            context.verify_mode = tls.client_auth_type
    except (OSError, ValueError) as error:
        raise SettingsError(without_passwords(f"{place}: {' '.join(str(error).split())}")) from None
    return context


def _parsed(given: Any, parsers: Mapping[str, Parse]) -> dict[str, Any]:
    """Return the values of a mapping; a reason names the place."""
    parsed = {}
    for name, value in _mapping(given).items():
        try:
            parse: Parse = parsers.get(name, _unknown)
            parsed[name] = parse(value)
        except ValueError as error:
            joint = "." if re.match(r"[\w-]+[.:]", str(error)) else ": "
            raise ValueError(f"{name}{joint}{error}") from None
    return parsed


def _unknown(_: Any) -> None:
    raise ValueError("unknown, or a setting of exporter-toolkit that is not supported")


def _mapping(given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise ValueError("must be a mapping of names to values")  # noqa: TRY004 - a value of the file
    return {str(name): value for name, value in given.items()}


def _tls(given: Any, folder: Path) -> TlsServer:
    paths: dict[str, Parse] = dict.fromkeys(
        ("cert_file", "key_file", "client_ca_file"), lambda value: folder / _text(value)
    )
    parsers: dict[str, Parse] = {
        "client_auth_type": lambda value: _choice(value, _CLIENT_AUTH),
        "min_version": lambda value: _choice(value, _VERSIONS),
    }
    values = _parsed(given, paths | parsers)
    if missing := {"cert_file", "key_file"} - values.keys():
        raise ValueError(f"{min(missing)}: is missing")
    tls = TlsServer(**values)
    if (tls.client_auth_type is ssl.CERT_NONE) != (tls.client_ca_file is None):
        raise ValueError("client_auth_type: one that verifies goes with client_ca_file")
    return tls


def _choice(value: Any, choices: Mapping[str, Any]) -> Any:
    if _text(value) not in choices:
        raise ValueError(f"must be one of {', '.join(choices)}")
    return choices[value]


def _text(value: Any) -> str:
    if not isinstance(value, str) or not _PRINTABLE.fullmatch(value):
        raise ValueError("must be a printable text")
    return value


def _users(given: Any) -> dict[str, str]:
    users = dict(_mapping(given))
    for name, value in users.items():
        if not _USER.fullmatch(name):
            raise ValueError("the name of a user must be printable, without a colon")
        if not _HASH.fullmatch(str(value)):
            raise ValueError(f"{name}: not a bcrypt hash (htpasswd -nBC 10 USER makes one)")
    return users
