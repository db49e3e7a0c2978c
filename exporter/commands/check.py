"""``ginkgo-exporter check``: tries everything that the settings name, once, and prints a line for each result."""

import asyncio
import time

from exporter.commands.exit_codes import ExitCode
from exporter.errors import SourceError
from exporter.push.alertmanager import Alertmanager
from exporter.push.alerts import PUSHED, AlertTexts
from exporter.push.config import HttpConfig
from exporter.push.rules import load_rules
from exporter.settings import Settings
from exporter.source import open_source
from exporter.source.names import names_of
from exporter.web.config import WebConfig, tls_context


def check(settings: Settings) -> int:
    """Try Redis and each Alertmanager once and print the results. Return 0 if all of them work, else 1.

    Raises:
        SettingsError: A file that the settings name is invalid.
    """
    config = HttpConfig.load(settings.alertmanager.config_file)
    load_rules(settings.alertmanager.rules_file, PUSHED)
    web = WebConfig.load(settings.web.config.file)
    if web.tls_server_config:
        tls_context(web.tls_server_config)
    print("configuration: good")  # noqa: T201
    good = _check_redis(settings)
    for url in settings.alertmanager.url:
        problem, remark = asyncio.run(_try_alertmanager(url, config))
        print(f"alertmanager {url}: {problem or 'good, it took an empty post'}{remark}")  # noqa: T201
        good = good and not problem
    return ExitCode.SUCCESS if good else ExitCode.FAILURE


async def _try_alertmanager(url: str, config: HttpConfig) -> tuple[str, str]:
    """Return why an empty post failed, and a remark on the clocks. Each text is empty if there is no problem."""
    alertmanager = Alertmanager(url, AlertTexts({}), config=config, posted=lambda *_: None)
    try:
        problem = await alertmanager.try_once()
    finally:
        alertmanager.close()
    clocks = alertmanager.clocks
    if clocks.doubtful or not clocks.problem:
        return problem, ""
    return problem, f"; but {clocks.problem}, so alerts end by its resolve_timeout"


def _check_redis(settings: Settings) -> bool:
    source = open_source(settings)
    try:
        start = time.monotonic()
        found = source.discover(settings.redis.timeout)
        names = names_of(found.names, settings.collector.max_nodes)
        reading = source.reader().read(names.raw, time.monotonic() + settings.redis.timeout)
        seconds = time.monotonic() - start
    except SourceError as error:
        print(f"redis: {error}")  # noqa: T201
        return False
    finally:
        source.close()
    beating = sum(ttl > 0 for ttl in reading.ttl_ms)
    print(  # noqa: T201
        f"redis: good, a {reading.server.role} with {len(names.raw)} nodes, {beating} of them beating,"
        f" found and read in {seconds:.3f} s"
    )
    return True
