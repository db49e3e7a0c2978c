"""Replies of an impossible form make one read fail."""

import pytest

from exporter.contract import FIELDS
from exporter.errors import SourceError
from exporter.source.replies import check_values, columns_of

FULL = [b"1"] * len(FIELDS)


def test_rows_of_another_length_than_was_asked_for_raise_a_source_error() -> None:
    assert columns_of([FULL, [None] * len(FIELDS)]) == ((b"1", None),) * len(FIELDS)
    for rows in ([FULL, FULL[1:]], [FULL[1:]], [[*FULL, b"1"]], [[]]):
        with pytest.raises(SourceError):
            columns_of(rows)


@pytest.mark.parametrize("value", [5, 1.5, True, [b"1"], {b"1": b"2"}, ValueError("no"), "text"])
def test_value_of_another_type_raises_a_source_error(value: object) -> None:
    check_values([[b"1", None]])
    with pytest.raises(SourceError):
        check_values([[b"1", value]])
