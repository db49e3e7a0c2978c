"""Authentication and TLS towards Alertmanager, as Prometheus's HTTP clients take them.

The names are those of Prometheus's ``<http_config>``
(https://prometheus.io/docs/prometheus/latest/configuration/configuration/#http_config).
A file that has changed is read again, since secrets and certificates are rotated.
"""

import base64
import ssl
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, FilePath, SecretStr, ValidationError, model_validator

from exporter.errors import SettingsError
from exporter.settings import without_passwords
from exporter.settings.yaml_file import read_yaml


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class BasicAuth(_Strict):
    """User name and password."""

    username: str
    password: SecretStr | None = None
    password_file: FilePath | None = None

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if (self.password is None) == (self.password_file is None):
            raise ValueError("give one of password and password_file")
        return self


class Authorization(_Strict):
    """A token. Its type is ``Bearer`` by default."""

    type: str = "Bearer"
    credentials: SecretStr | None = None
    credentials_file: FilePath | None = None

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if (self.credentials is None) == (self.credentials_file is None):
            raise ValueError("give one of credentials and credentials_file")
        return self


class Tls(_Strict):
    """The authorities to trust, and the certificate to present."""

    ca_file: FilePath | None = None
    cert_file: FilePath | None = None
    key_file: FilePath | None = None
    insecure_skip_verify: bool = False

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file goes with key_file")
        return self


class HttpConfig(_Strict):
    """The HTTP client's configuration towards Alertmanager."""

    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    tls_config: Tls = Tls()

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.basic_auth and self.authorization:
            raise ValueError("give one of basic_auth and authorization")
        return self

    @classmethod
    def load(cls, path: Path | None) -> "HttpConfig":
        """Return the configuration in a file; without a path, the configuration without authentication.

        Raises:
            SettingsError: The file cannot be used; its text is one line with the reason.
        """
        try:
            return cls.model_validate(read_yaml(path) or {} if path else {})
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise SettingsError(without_passwords(f"--alertmanager.config-file: {place}: {first['msg']}")) from None
        except ValueError as error:
            raise SettingsError(f"--alertmanager.config-file: {error}") from None

    def headers(self) -> Mapping[str, str]:
        """Return the headers that authenticate; secrets in files are read anew.

        Raises:
            OSError: A file cannot be read.
        """
        if self.basic_auth:
            password = _secret(self.basic_auth.password, self.basic_auth.password_file)
            pair = f"{self.basic_auth.username}:{password}".encode()
            return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        if self.authorization:
            token = _secret(self.authorization.credentials, self.authorization.credentials_file)
            return {"Authorization": f"{self.authorization.type} {token}"}
        return {}

    def context(self) -> ssl.SSLContext:
        """Return the TLS context; files that have changed are read anew.

        Raises:
            OSError: A file cannot be read, or holds no certificate.
        """
        tls = self.tls_config
        files = tls.ca_file, tls.cert_file, tls.key_file
        return _context(*files, tls.insecure_skip_verify, tuple(path.stat().st_mtime_ns for path in files if path))


@lru_cache(maxsize=1)
def _context(
    ca_file: Path | None,
    cert_file: Path | None,
    key_file: Path | None,
    insecure: bool,  # noqa: FBT001 - lru_cache has positional keys
    changed: tuple[int, ...],  # noqa: ARG001 - the files' modification times are part of the cache's key
) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    # Python 3.13 refuses a private CA without a key usage extension, which Alertmanager and Prometheus accept.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert_file:
        context.load_cert_chain(cert_file, key_file)
    return context


def _secret(value: SecretStr | None, path: Path | None) -> str:
    return value.get_secret_value() if value else path.read_text(encoding="utf-8").strip() if path else ""
