"""The collector in another program says why it gives no nodes: by Python's logging, once for each reason."""

import subprocess
import sys

from structlog.testing import capture_logs

from exporter.errors import SourceError
from exporter.exposition.collector import NodeCollector
from exporter.snapshot.read_info import ReadInfo
from exporter.snapshot.snapshot import Snapshot
from fleets import snapshot_of
from lab.readings import ALIVE

PROGRAM = """
import logging
from prometheus_client import CollectorRegistry, generate_latest
from exporter import settings
from exporter.collector import NodeCollector
from exporter.fleet import Fleet

logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
registry = CollectorRegistry()
fleet = Fleet(settings.load({"redis.url": ["redis://127.0.0.1:1/0"], "redis.timeout": "100ms"}))
registry.register(NodeCollector(fleet))
assert b"ginkgo_redis_up 0.0" in generate_latest(registry)
"""


class Readings:
    """A fleet whose reads fail with these reasons; an empty reason is a success."""

    info = ReadInfo()

    def __init__(self, *reasons: str) -> None:
        self._reasons = iter(reasons)

    def read(self) -> Snapshot:
        if reason := next(self._reasons):
            raise SourceError(reason)
        return snapshot_of({b"a": ALIVE})


def test_each_new_reason_is_logged_once_and_its_end_too() -> None:
    reasons = ("", "no answer", "no answer", "no right", "", "")
    collector = NodeCollector(Readings(*reasons))
    with capture_logs() as logged:
        for _ in reasons:
            assert list(collector.collect())
    assert [(line["log_level"], line.get("error")) for line in logged] == [
        ("error", "no answer"),
        ("error", "no right"),
        ("info", None),
    ]


def test_forgotten_start_is_said_on_standard_error_by_the_programs_own_logging() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    (line,) = [line for line in done.stderr.splitlines() if "cannot be collected" in line]
    assert line.startswith('ERROR exporter.exposition.collector event="the nodes cannot be collected" error="')
