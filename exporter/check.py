"""One try of everything that the settings name, said line by line."""

import time

from exporter.errors import SourceError
from exporter.names import names_of
from exporter.settings import Settings
from exporter.source import open_source


def check(settings: Settings) -> int:
    """Try Redis once, print what was found, and return 0 if all is well, else 1."""
    print("configuration: good")  # noqa: T201
    return 0 if _check_redis(settings) else 1


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
