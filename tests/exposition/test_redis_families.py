"""The metrics about the state of Redis."""

import pytest

from exporter.exposition.collector import redis_families
from exporter.snapshot.read_info import ReadInfo
from exporter.source.reading import Server


@pytest.mark.parametrize(
    ("server", "ratio"),
    [
        (Server("run", "master", memory_used_ratio=0.5), 0.5),
        (Server("run", "master", memory_used_ratio=None), None),
        (Server("run", "master", memory_used_ratio=1.0, evicts=True), None),
    ],
)
def test_share_of_memory_is_exported_where_a_full_redis_would_refuse_writes(
    server: Server, ratio: float | None
) -> None:
    families = {family.name: family for family in redis_families(ReadInfo(server=server))}
    shown = families.get("ginkgo_redis_memory_used_ratio")
    assert (shown.samples[0].value if shown else None) == ratio
