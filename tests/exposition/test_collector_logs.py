"""The collector in another program says why it gives no nodes: by Python's logging, once for each reason."""

from structlog.testing import capture_logs

from exporter.errors import SourceError
from exporter.exposition.collector import NodeCollector
from exporter.snapshot.read_info import ReadInfo
from exporter.snapshot.snapshot import Snapshot
from fleets import snapshot_of
from lab.readings import ALIVE


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
