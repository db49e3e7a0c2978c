"""The documents' programs, rights and excerpts, each tried for real. test_configurations.py has the rest."""

import signal
from collections import Counter
from typing import cast

import redis
from reader import DOCUMENTS, Block, Reader, blocks, get

from lab.nodes import heartbeat_key, metrics_key
from lab.servers import series_of, wait_for

ALL = list(dict.fromkeys(blocks(*DOCUMENTS)))
ACL, EXCERPT = "ACL SETUSER ", "# HELP "


def of(language: str, start: str = "") -> list[Block]:
    return [block for block in ALL if block.language == language and block.text.startswith(start)]


def test_every_kind_of_block_is_tried() -> None:
    tried = [*of("sh"), *of("yaml"), *of("ini"), *of("text"), *of("python"), *of("", ACL), *of("", EXCERPT)]
    assert Counter(tried) == Counter(ALL)
    assert [len(of("python")), len(of("", ACL)), len(of("", EXCERPT))] == [1, 2, 1]


def test_reporter_beats_as_long_as_its_block_lasts(client: "redis.Redis") -> None:
    (program,) = of("python", "from exporter.reporter")

    def run_the_node() -> None:
        wait_for(lambda: client.hget(metrics_key("node-7"), "total_events") == b"41")
        assert cast("int", client.pttl(heartbeat_key("node-7"))) > 0

    before = signal.getsignal(signal.SIGTERM)
    try:
        exec(program.text, {"redis": client, "taken": 41, "run_the_node": run_the_node})  # noqa: S102 - the page's
        assert signal.getsignal(signal.SIGTERM) != before
    finally:
        signal.signal(signal.SIGTERM, before)
    assert client.keys() == [b"portfolio:p1:state"]  # a portfolio's state outlives its node


def test_excerpt_matches_the_served_metrics(reader: Reader) -> None:
    """Names, types, help and labels must be the exporter's own; the values are only examples."""
    (excerpt,) = of("", EXCERPT)
    served = wait_for(lambda: get(f"http://{reader.places['localhost:19121']}/metrics"), "for the exporter")
    for line in excerpt.text.splitlines():
        assert line.split("{")[0] in served
    assert set(series_of(excerpt.text.encode())) <= set(series_of(served.encode()))
