"""Options of redis-py for connections to Redis, made from the settings."""

import ssl
from pathlib import Path
from typing import Any, Final

from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.credentials import CredentialProvider
from redis.retry import Retry

from exporter.errors import SourceError
from exporter.settings import Redis
from exporter.source.connection import Pool
from exporter.source.parser import BatchParser

_READ_SIZE: Final = 262_144


class FileCredentials(CredentialProvider):
    """A user name and a password file, which is read at each connect because the password may be rotated."""

    def __init__(self, username: str | None, password_file: Path) -> None:
        self._username = username
        self._password_file = password_file

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the arguments of AUTH, in the form that redis-py expects.

        Raises:
            SourceError: The file is not valid UTF-8.
        """
        try:
            password = self._password_file.read_text(encoding="utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise SourceError(f"--redis.password-file: {self._password_file} is no text in UTF-8") from None
        return (self._username, password) if self._username else (password,)


def connection_options(redis: Redis) -> dict[str, Any]:
    """Return the options that all connections share, in all modes."""
    options: dict[str, Any] = {
        "parser_class": BatchParser,
        "protocol": 2,
        "socket_timeout": redis.timeout,
        "socket_connect_timeout": redis.timeout,
        "socket_read_size": _READ_SIZE,
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,  # the user would need one more right, for CLIENT SETINFO
    }
    if redis.password_file:
        options["credential_provider"] = FileCredentials(redis.username, redis.password_file)
    elif redis.username:
        options["username"] = redis.username
    if redis.url[0].get_secret_value().startswith("rediss://"):
        files = {
            "ssl_ca_certs": redis.tls_ca_file,
            "ssl_certfile": redis.tls_cert_file,
            "ssl_keyfile": redis.tls_key_file,
        }
        options |= {name: str(path) for name, path in files.items() if path}
        # Python 3.13 refuses a private CA without a key usage extension, which Redis and Prometheus accept.
        options["ssl_exclude_verify_flags"] = [ssl.VERIFY_X509_STRICT]
    return options


def options_of(redis: Redis, url: str) -> dict[str, Any]:
    """Return the options for connections to one address; credentials in the settings override those in the address."""
    options: dict[str, Any] = parse_url(url) | connection_options(redis)
    if redis.password_file:
        username = redis.username or options.pop("username", None)
        options["credential_provider"] = FileCredentials(username, redis.password_file)
        for name in ("username", "password"):
            options.pop(name, None)
    return options


def pool_of(redis: Redis) -> Pool:
    """Return a pool of connections to the server at the first address; no connection is made yet."""
    return Pool.of(options_of(redis, redis.url[0].get_secret_value()))
