"""Turns errors of redis-py and of sockets into one line for the user, without secrets."""

import re
from typing import Final

from redis.exceptions import AuthenticationError, BusyLoadingError, NoPermissionError
from redis.exceptions import TimeoutError as RedisTimeout

from exporter.errors import SourceError, SourceTimeoutError, SourceTooLargeError
from exporter.source.framing import ReplyTooLargeError, TooManyElementsError

_NOT_CONNECTED: Final = re.compile(r"Error -?\d+ connecting to (.+?)\. (.+?)\.")
_NOT_TRUSTED: Final = re.compile(r"certificate verify failed: (.+?)\.? \(_ssl")
_FORMS: Final = {
    AuthenticationError: "Redis refused the user or the password: {} (see --redis.username, --redis.password-file)",
    NoPermissionError: "Redis: {} (docs/how-to/redis.md lists the rights)",
}
_HINTS: Final = {
    "unknown command 'SENTINEL'": "what answers is no Sentinel: see --redis.mode",
    "cluster support disabled": "what answers is no cluster: see --redis.mode",
    "DB index is out of range": "see the number at the end of --redis.url",
    "CERTIFICATE_REQUIRED": "Redis requires a client certificate: see --redis.tls-cert-file",
}


def plain_error(error: Exception) -> SourceError:  # noqa: PLR0911 - one for each kind
    """Return an error of redis-py or of a socket as one line without secrets."""
    if isinstance(error, RedisTimeout):
        return SourceTimeoutError("Redis did not answer in time")
    if isinstance(error, ReplyTooLargeError) and not isinstance(error, TooManyElementsError):
        return SourceTooLargeError(f"Redis: {error}")
    if isinstance(error, BusyLoadingError):
        return SourceError("Redis is loading its data")
    text = " ".join(str(error).split()) or type(error).__name__
    if hint := next((hint for part, hint in _HINTS.items() if part in text), ""):
        text = f"{text.partition(', with args')[0]} ({hint})"
    if distrust := _NOT_TRUSTED.search(text):
        return SourceError(
            f"Redis's certificate is not trusted: {distrust[1]} (see --redis.tls-ca-file, and the host in --redis.url)"
        )
    if refused := _NOT_CONNECTED.fullmatch(text):
        where, why = refused.groups()
        return SourceError(f"cannot connect to Redis at {where}: {why} (is it running there? see --redis.url)")
    if text.startswith("Protocol error"):
        return SourceError("what answers does not speak Redis's protocol (see --redis.url)")
    for kind, form in _FORMS.items():
        if isinstance(error, kind):
            return SourceError(form.format(text.partition(" : <")[0]))
    return SourceError(text if isinstance(error, OSError) else f"Redis: {text}")
