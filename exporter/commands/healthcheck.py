"""The health check of the image and of ``helm test``: does an exporter answer?

``python -m exporter.commands.healthcheck`` asks the exporter of this container for ``/-/healthy``: at the address that
its flag ``--web.listen-address`` or its variable names, else at port 19121, with or without TLS. With an address it
asks that. It exits 0 if the address answers in time, else 1.

A container engine starts this program every half minute beside the exporter, so it imports neither the settings nor
the server.
"""

import argparse
import os
import re
import ssl
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

_FIRST_PROCESS: Final = Path("/proc/1/cmdline")
_FLAG: Final = re.compile(rb"\0--web\.listen-address[=\0]([^\0]+)")
_VARIABLE: Final = "GINKGO_EXPORTER_WEB_LISTEN_ADDRESS"
_TIMEOUT: Final = 3.0
"""Seconds that one answer may take."""
_WORKS: Final = (200, 401)


def fault(url: str) -> str | None:
    """Ask an address once; return what is wrong with the answer, or None.

    A server that asks for a password works. Its certificate is not checked, since it is rarely for this name.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        scheme, host, path, *_ = urlsplit(url)
        connection = HTTPConnection(host, timeout=_TIMEOUT)
        if scheme == "https":
            connection = HTTPSConnection(host, timeout=_TIMEOUT, context=context)
        with closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
    except (OSError, HTTPException, ValueError) as error:
        return f"{url}: {error or type(error).__name__}"
    return None if answer.status in _WORKS else f"{url}: {answer.status} {answer.reason}"


def own_address(command_line: bytes) -> str:
    """Return host and port of the exporter whose arguments ``/proc/PID/cmdline`` gives.

    Linux connects to this machine if the host is ``0.0.0.0`` or ``[::]``.
    """
    flag = _FLAG.search(command_line)
    address = flag[1].decode(errors="replace") if flag else os.environ.get(_VARIABLE, ":19121")
    return f"127.0.0.1{address}" if address.startswith(":") else address


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask the address until it answers or the time is up; print the fault and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m exporter.commands.healthcheck", description=__doc__)
    parser.add_argument("--seconds", type=float, default=0, help="time that the address has to answer (default: once)")
    parser.add_argument("url", nargs="?", help="address to ask instead of this container's exporter")
    options = parser.parse_args(arguments)
    urls = [options.url]
    if not options.url:
        urls = [f"{scheme}://{own_address(_FIRST_PROCESS.read_bytes())}/-/healthy" for scheme in ("http", "https")]
    deadline = time.monotonic() + options.seconds
    while True:
        faults = [found for url in urls if (found := fault(url))]
        if len(faults) < len(urls):
            return 0
        if time.monotonic() >= deadline:
            sys.stdout.write(f"{faults[0]}\n")
            return 1
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
