"""What several tests of the source use: certificates, and sources that are closed at the end."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from opened import Open

from exporter.settings import load
from exporter.source import Source, open_source
from lab.clusters import Certificates


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
