"""What several tests of the web server use: a certificate authority, and a browser."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import trustme

if TYPE_CHECKING:  # the core of the tests runs without it
    from selenium.webdriver import Chrome


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Chrome"]:
    from chromium import running_chromium  # noqa: PLC0415 - the core of the tests runs without it

    with running_chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
def browser(chrome: "Chrome") -> Iterator["Chrome"]:
    """A browser. At the end of the test its console must be empty."""
    chrome.get("about:blank")
    chrome.get_log("browser")  # type: ignore[no-untyped-call]
    yield chrome
    assert chrome.get_log("browser") == []  # type: ignore[no-untyped-call]
