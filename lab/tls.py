"""Certificates that the tests' own authority signed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """Files of the authority, of servers by their names, and of a client."""

    ca: Path
    client_cert: Path
    client_key: Path
    server: Callable[[str], list[str]]
