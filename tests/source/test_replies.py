"""Replies of an impossible form make one read fail."""

import pytest

from exporter.errors import SourceError
from exporter.source.replies import columns_of


def test_rows_of_different_lengths_raise_a_source_error() -> None:
    assert columns_of([[b"1", None], [b"2", b"3"]]) == ((b"1", b"2"), (None, b"3"))
    with pytest.raises(SourceError):
        columns_of([[b"1", None], [b"2"]])
