"""A headless Chromium for the tests of the pages, and what it can say of a page."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from lab.servers import binary

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,800",
)


@contextmanager
def running_chromium(folder: Path) -> Iterator[Chrome]:
    """Lend a browser until the block ends; its profile and its log are in the folder."""
    options = ChromeOptions()
    options.binary_location = binary("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    driver = Chrome(options=options, service=ChromeService(binary("chromedriver"), log_output=str(folder / "log")))
    try:
        yield driver
    finally:
        driver.quit()
