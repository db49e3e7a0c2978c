"""The forms that a reply to CLUSTER SLOTS may have."""

import pytest

from exporter.errors import SourceError
from exporter.source.slots import owners_of

REPLICA = [b"10.0.0.2", 6379, b"id", []]


@pytest.mark.parametrize("host", [b"", None])
def test_missing_host_means_the_host_that_was_asked(host: bytes | None) -> None:
    assert list(owners_of([[0, 1, [host, 6379, b"id", []], REPLICA]], "asked")) == [(range(2), "asked:6379")]


def test_each_slot_has_the_address_of_its_primary() -> None:
    reply = [[0, 0, [b"10.0.0.1", 7000], REPLICA], [5, 6, [b"2001:db8::1", 7001, b"id", [b"hostname", b"x"]]]]
    assert list(owners_of(reply, "")) == [(range(1), "10.0.0.1:7000"), (range(5, 7), "2001:db8::1:7001")]


def test_primary_with_unknown_host_is_ignored() -> None:
    assert not list(owners_of([[0, 5, [b"?", 6379, b"id", []]]], "asked"))
    assert not list(owners_of([], "asked"))


@pytest.mark.parametrize(
    "reply",
    [
        b"text",
        None,
        1,
        [1],
        [[0, 1]],
        [[0, 99_999, [b"a", 1]]],
        [[3, 1, [b"a", 1]]],
        [[0, 1, [b"a", 0]]],
        [[0, 1, b"a"]],
    ],
)
def test_any_other_reply_raises_a_source_error(reply: object) -> None:
    with pytest.raises(SourceError):
        list(owners_of(reply, "asked"))
