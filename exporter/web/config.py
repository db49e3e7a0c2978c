"""The web configuration: TLS, client certificates, users and headers.

The file has the format of Prometheus's exporter-toolkit
(https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md).
An option that this server does not support is rejected, and the error names it. Relative paths in the file
start at the file's folder.
"""

import ssl
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from exporter.errors import SettingsError
from exporter.settings import existing_file, without_passwords
from exporter.settings.yaml_file import read_yaml

_VERSIONS: Final = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
_TLS13_SUITES: Final = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_CURVES: Final = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}

Version = Literal["TLS10", "TLS11", "TLS12", "TLS13"]


def _bcrypt_hash(value: str) -> str:
    if not value.startswith(("$2a$", "$2b$", "$2y$")) or len(value) != len("$2b$10$") + 53:
        raise ValueError("not a bcrypt hash (htpasswd -nBC 10 USER makes one)")
    return value


def _no_http2(value: bool) -> bool:  # noqa: FBT001 - pydantic's form
    if value:
        raise ValueError("HTTP/2 is not supported, every scraper speaks HTTP/1.1; leave it out or set it to false")
    return value


def _relative_to_file(value: Path, info: ValidationInfo) -> Path:
    return Path((info.context or {}).get("folder", ".")) / value


RelativePath = Annotated[Path, AfterValidator(_relative_to_file)]
"""A path that starts at the configuration file's folder unless it is absolute."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class TlsServer(_Strict):
    """The server side of TLS."""

    cert_file: RelativePath
    key_file: RelativePath
    client_auth_type: Literal[
        "NoClientCert",
        "RequestClientCert",
        "RequireAnyClientCert",
        "VerifyClientCertIfGiven",
        "RequireAndVerifyClientCert",
    ] = "NoClientCert"
    client_ca_file: RelativePath | None = None
    client_allowed_sans: tuple[str, ...] = ()
    min_version: Version = "TLS12"
    max_version: Version = "TLS13"
    cipher_suites: tuple[str, ...] = ()
    prefer_server_cipher_suites: bool = True
    curve_preferences: tuple[Literal["CurveP256", "CurveP384", "CurveP521", "X25519"], ...] = ()

    @model_validator(mode="after")
    def _client_certificates(self) -> Self:
        verifies = self.client_auth_type in ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
        if self.client_auth_type in ("RequestClientCert", "RequireAnyClientCert"):
            raise ValueError("client_auth_type: certificates that are not verified prove nothing and are not asked for")
        if verifies != (self.client_ca_file is not None):
            raise ValueError("client_ca_file goes with a client_auth_type that verifies")
        if self.client_allowed_sans and not verifies:
            raise ValueError("client_allowed_sans goes with a client_auth_type that verifies")
        if len(self.curve_preferences) > 1:
            raise ValueError("curve_preferences: several are not supported, only one")
        return self


class HttpServerConfig(_Strict):
    """Headers that are added to every answer."""

    http2: Annotated[bool, AfterValidator(_no_http2)] = False
    """The server speaks HTTP/1.1 only, as every scraper does."""
    headers: dict[
        Literal[
            "Content-Security-Policy",
            "X-Frame-Options",
            "X-Content-Type-Options",
            "X-XSS-Protection",
            "Strict-Transport-Security",
        ],
        Annotated[str, Field(pattern=r"^[\x20-\x7e]*$")],
    ] = {}


class WebConfig(_Strict):
    """The whole file."""

    tls_server_config: TlsServer | None = None
    http_server_config: HttpServerConfig = HttpServerConfig()
    basic_auth_users: dict[
        Annotated[str, Field(pattern=r"^[^:\x00-\x1f\x7f]+$")], Annotated[str, AfterValidator(_bcrypt_hash)]
    ] = {}

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
        try:
            return cls.model_validate(read_yaml(path) or {}, context={"folder": path.parent})
        except ValidationError as error:
            errors = error.errors(include_input=False, include_url=False)
            first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
            place = ".".join(map(str, first["loc"][:2]))
            reason = first["msg"].removeprefix("Value error, ")
            if first["type"] == "extra_forbidden":
                reason = "unknown, or a setting of exporter-toolkit that is not supported"
            raise SettingsError(without_passwords(f"--web.config.file: {place}: {reason}")) from None
        except ValueError as error:
            raise SettingsError(f"--web.config.file: {error}") from None


def tls_context(tls: TlsServer) -> ssl.SSLContext:
    """Return a server's TLS context, made from the current files.

    Raises:
        SettingsError: A file cannot be read, or a cipher suite or curve is unknown.
    """
    for file in (tls.cert_file, tls.key_file, tls.client_ca_file):
        try:
            existing_file(str(file or tls.cert_file))
        except ValueError as error:
            raise SettingsError(f"--web.config.file: tls_server_config: {error}: {file}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.minimum_version = _VERSIONS[tls.min_version]
        context.maximum_version = _VERSIONS[tls.max_version]
        tls12_suites = [_openssl_name(name) for name in tls.cipher_suites if name not in _TLS13_SUITES]
        if tls12_suites:
            context.set_ciphers(":".join(tls12_suites))
        if len(tls.curve_preferences) == 1:
            context.set_ecdh_curve(_CURVES[tls.curve_preferences[0]])
        if not tls.prefer_server_cipher_suites:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        context.load_cert_chain(tls.cert_file, tls.key_file, password="")
        if tls.client_ca_file:
            context.load_verify_locations(tls.client_ca_file)
            required = tls.client_auth_type == "RequireAndVerifyClientCert"
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    except (OSError, ValueError) as error:
        raise SettingsError(f"--web.config.file: tls_server_config: {' '.join(str(error).split())}") from None
    return context


def _openssl_name(name: str) -> str:
    """Return OpenSSL's name of a cipher suite. The file has IANA's names, as Go has."""
    return (
        name.removeprefix("TLS_")
        .replace("_WITH_", "_")
        .replace("AES_128", "AES128")
        .replace("AES_256", "AES256")
        .replace("_CBC_SHA", "_SHA")
        .removesuffix("_SHA256" if "CHACHA20" in name else "\0")
        .removeprefix("RSA_")
        .replace("_", "-")
    )
