"""What several tests of the source use: certificates, and sources that are closed at the end."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from exporter.settings import load
from exporter.source import Source, open_source
from lab.tls import Certificates

Open = Callable[..., Source]
"""Opens a source of an address, with further settings by name; ``told`` takes what is told of spent budgets."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def opened() -> Iterator[Open]:
    with ExitStack() as stack:

        def opened(*urls: str, told: Callable[[str, str], None] = lambda *_: None, **given: Any) -> Source:
            named = {name.replace("_", ".", 1).replace("_", "-"): value for name, value in given.items()}
            source = open_source(load({"redis.url": list(urls), **named}), told)
            stack.callback(source.close)
            return source

        yield opened
