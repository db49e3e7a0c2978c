"""Sizes as Prometheus writes them."""

import pytest

from exporter.settings.sizes import format_size, parse_size


@pytest.mark.parametrize(("text", "size"), [("1B", 1), ("512KB", 524_288), ("10MB", 10_485_760), ("3GB", 3 * 2**30)])
def test_size_is_read_and_written_in_the_same_form(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert format_size(size) == text


@pytest.mark.parametrize("text", ["", "10", "MB", "1.5MB", "-1MB", "10 MB", "10mb", "٣MB", "10MB\n"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a size such as"):
        parse_size(text)
