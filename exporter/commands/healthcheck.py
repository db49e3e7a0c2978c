"""The health check of the image and of ``helm test``: does an exporter answer?

``python -m exporter.commands.healthcheck`` asks the exporter that is the first process of this container for
``/-/healthy``. With addresses it asks these instead. It exits 0 if each address answers in time, else 1.

A container engine starts this program every half minute beside the exporter, so it imports neither the settings nor
the server: it reads the few settings that say where the exporter listens by itself.
"""

import argparse
import os
import ssl
import sys
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path, PurePath
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

_FIRST_PROCESS: Final = Path("/proc/1/cmdline")
_DEFAULT: Final = ":19121"
_TIMEOUT: Final = 3.0
"""Seconds that one answer may take."""
_PAUSE: Final = 0.5
"""Seconds between two attempts."""
_PASSWORD_WANTED: Final = 401
_THIS_MACHINE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not an address to bind


def healthy_url(command_line: bytes, environment: Mapping[str, str]) -> str:
    """Return the address of ``/-/healthy`` of an exporter on this machine.

    Args:
        command_line: The exporter's arguments, as ``/proc/PID/cmdline`` has them. Those of another program are ignored.
        environment: The exporter's environment variables.

    Raises:
        OSError: The configuration file cannot be read.
        ValueError: A file is not the YAML that the exporter takes, or an address has no port.
    """
    flags = _flags(command_line)
    file = flags.get("config.file") or environment.get("GINKGO_EXPORTER_CONFIG_FILE")
    web = _section(_mapping(file), "web")
    address = flags.get("web.listen-address") or environment.get("GINKGO_EXPORTER_WEB_LISTEN_ADDRESS")
    address = address or str(web.get("listen-address", _DEFAULT))
    web_file = flags.get("web.config.file") or environment.get("GINKGO_EXPORTER_WEB_CONFIG_FILE")
    web_file = web_file or _section(web, "config").get("file")
    scheme = "https" if "tls_server_config" in _mapping(web_file) else "http"
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    host = _THIS_MACHINE.get(host, host)
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{int(port)}/-/healthy"


def _flags(command_line: bytes) -> dict[str, str]:
    """Return the flags that say where the exporter listens, by their names."""
    words = command_line.decode(errors="replace").rstrip("\0").split("\0")
    for place, word in enumerate(words):
        if PurePath(word).name == "ginkgo-exporter" or words[place : place + 2] == ["-m", "exporter"]:
            break
    else:
        return {}
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("config.file", "web.listen-address", "web.config.file"):
        parser.add_argument(f"--{name}", dest=name)
    known, _ = parser.parse_known_args(words[place:])
    return {name: value for name, value in vars(known).items() if value is not None}


def _mapping(file: object) -> dict[str, Any]:
    """Return a file's mapping; an empty one if there is no file."""
    if not file:
        return {}
    try:
        content = yaml.safe_load(Path(str(file)).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{file} is not a mapping")  # noqa: TRY004 - the file is wrong, not the caller
    return content


def _section(mapping: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = mapping.get(name)
    return section if isinstance(section, dict) else {}


def fault(url: str) -> str | None:
    """Ask an address once; return what is wrong with the answer, or None.

    A server that asks for a password works. Its certificate is not checked, since it is rarely for this name.
    """
    parts = urlsplit(url)
    connection: HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = HTTPSConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT, context=context)
    else:
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT)
    try:
        connection.request("GET", parts.path or "/")
        answer = connection.getresponse()
        answer.read()
    except (OSError, HTTPException) as error:
        return f"{url}: {error or type(error).__name__}"
    finally:
        connection.close()
    if answer.status in (200, _PASSWORD_WANTED):
        return None
    return f"{url}: {answer.status} {answer.reason}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask each address until it answers or the time is up; print the fault and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m exporter.commands.healthcheck", description=__doc__)
    parser.add_argument("--seconds", type=float, default=0, help="time that each address has to answer (default: once)")
    parser.add_argument("url", nargs="*", help="addresses to ask instead of this container's exporter")
    options = parser.parse_args(arguments)
    try:
        urls = options.url or [healthy_url(_FIRST_PROCESS.read_bytes(), os.environ)]
    except (OSError, ValueError) as error:
        sys.stdout.write(f"{error}\n")
        return 1
    deadline = time.monotonic() + options.seconds
    for url in urls:
        while found := fault(url):
            if time.monotonic() >= deadline:
                sys.stdout.write(f"{found}\n")
                return 1
            time.sleep(_PAUSE)
        sys.stdout.write(f"{url} answers\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
