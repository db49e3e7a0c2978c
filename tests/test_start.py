"""What a start loads: a command imports what it needs, and a small installation does not pay for what it never uses."""

import subprocess
import sys
from pathlib import Path

import pytest

from exporter import __revision__, __version__
from lab.servers import RedisServer

LATER = (
    *("rich", "pygments", "pydantic", "pydantic_settings", "yaml", "markdown_it", "bcrypt", "shtab", "psutil"),
    *("exporter.push.bridge", "exporter.commands.check", "exporter.commands.listing", "exporter.commands.explain"),
    *("exporter.source.cluster", "exporter.source.sentinel", "exporter.web.page", "exporter.web.runbooks"),
)
"""What is loaded only when it is used."""
MOST_MODULES = 545
"""Modules that serving loads, of all libraries and of Python itself. A hundred modules take about 7 MiB and 40 ms."""

SHOW = """
import sys
from exporter.cli import main
try:
    main({arguments!r})
finally:
    print("\\nLOADED", *sys.modules)
"""
SERVE = """
import asyncio, gc, sys, urllib.request
from exporter import cli, settings

async def scrape():
    from exporter.commands.serve import serving
    async with serving(loaded) as (_, server):
        url = f"http://127.0.0.1:{{server.port}}/metrics"
        assert b"_created" not in await asyncio.to_thread(lambda: urllib.request.urlopen(url).read())
        assert gc.isenabled() and gc.get_freeze_count() > 10_000 and gc.get_threshold()[0] > 10_000

gc.disable()
loaded = settings.load({{"redis.url": [{url!r}], "web.listen-address": "127.0.0.1:0", "log.level": "error"}})
cli.configure_logs(loaded)
asyncio.run(scrape())
print("\\nLOADED", *sys.modules)
"""


def loaded_by(program: str) -> set[str]:
    """Return the modules that a Python program names in the last line of its output."""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "\nLOADED " in done.stdout, done.stderr
    return set(done.stdout.rpartition("\nLOADED ")[2].split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["nodes", "--help"], ["--redis.timeout=soon"]])
def test_help_version_and_refusals_load_no_library(arguments: list[str]) -> None:
    loaded = loaded_by(SHOW.format(arguments=arguments))
    libraries = {"asyncio", "tornado", "redis", "hiredis", "structlog", "prometheus_client", *LATER}
    assert loaded & libraries == set(), "import it in the function that needs it: see exporter/cli.py"


def test_serving_and_a_scrape_load_only_what_they_use_and_seldom_look_for_garbage(shared_redis: RedisServer) -> None:
    loaded = loaded_by(SERVE.format(url=shared_redis.url))
    assert loaded & set(LATER) == set(), "import it where it is used first, so that a small installation stays small"
    assert len(loaded) <= MOST_MODULES, (
        f"serving loads {len(loaded)} modules: `python -X importtime -m exporter` shows them and their times"
    )


ROOT = Path(__file__).parent.parent


def test_version_says_the_revision_of_a_build_and_that_a_checkout_knows_none(tmp_path: Path) -> None:
    assert __revision__ == "unknown"
    package = tmp_path / "exporter"
    package.mkdir()
    (package / "__init__.py").write_text((ROOT / "exporter" / "__init__.py").read_text())
    (package / "REVISION").write_text("0123abc\n")
    asked = "import exporter; print(exporter.__revision__)"
    done = subprocess.run([sys.executable, "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "0123abc\n"
    command = [sys.executable, "-m", "exporter", "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"ginkgo-exporter {__version__} (unknown)\n"
