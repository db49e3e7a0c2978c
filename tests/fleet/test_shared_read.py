"""One read that simultaneous callers share."""

import weakref
from contextlib import closing

import pytest

from exporter.errors import SourceError
from exporter.fleet.shared_read import SharedRead
from exporter.snapshot.snapshot import Snapshot


class Replies:
    """What a read has in its hands when it fails."""


def test_error_of_a_failed_read_keeps_nothing_of_the_read_in_memory() -> None:
    held: list[weakref.ref[Replies]] = []

    def read() -> Snapshot:
        replies = Replies()
        held.append(weakref.ref(replies))
        try:
            int("no integer")
        except ValueError as error:
            raise SourceError("not what was promised") from error

    with closing(SharedRead(read, 10)) as shared:
        future = shared.request()
        with pytest.raises(SourceError, match="not what was promised"):
            future.result(10)
    assert held[0]() is None
