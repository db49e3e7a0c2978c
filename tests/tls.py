"""Certificates of the tests' own authority."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """Files for a server on 127.0.0.1, one that is called otherwise, and a client."""

    ca: Path
    client_cert: Path
    client_key: Path
    server: Callable[[str], list[str]]
