"""Replies that cannot be what they seem cost a read, and nothing else."""

import pytest

from exporter.errors import SourceError
from exporter.source.replies import columns_of, server_of

INFO = b"run_id:abc\r\nrole:master\r\nuptime_in_seconds:12\r\nloading:0\r\nevicted_keys:3\r\n"


def test_server_is_known_by_its_info() -> None:
    server = server_of([INFO])
    assert (server.run_id, server.role, server.uptime, server.evicted) == ("abc", "master", 12.0, 3)


@pytest.mark.parametrize(
    "garbled", [b"uptime_in_seconds:1\xb2", b"evicted_keys:\xb3", b"evicted_keys:0M", b"loading:1"]
)
def test_info_that_is_garbled_or_of_a_server_that_is_loading_is_no_answer(garbled: bytes) -> None:
    with pytest.raises(SourceError):
        server_of([INFO + garbled + b"\r\n"])


@pytest.mark.parametrize("reply", [1, None, "text", {"a": 1}])
def test_info_of_another_kind_is_no_answer(reply: object) -> None:
    with pytest.raises(SourceError):
        server_of([reply])


def test_rows_of_different_lengths_are_no_answer() -> None:
    assert columns_of([[b"1", None], [b"2", b"3"]]) == ((b"1", b"2"), (None, b"3"))
    with pytest.raises(SourceError):
        columns_of([[b"1", None], [b"2"]])
