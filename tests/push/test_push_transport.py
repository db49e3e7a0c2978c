"""The way to an Alertmanager: what is sent, how long an answer is waited for, and what is said of a failure."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from fake_alertmanager import Fake, run, serving

from exporter.push.config import HttpConfig
from exporter.push.transport import Transport


@pytest.fixture
def backlog() -> Iterator[int]:
    """The port of a listener that accepts nothing, its backlog full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        with closing(socket.create_connection(("127.0.0.1", port))):
            yield port


def transport(fake: Fake, shortest: float = 5.0, longest: float = 80.0) -> Transport:
    return Transport(fake.url, HttpConfig(), timeouts=(shortest, longest))


def test_a_post_is_accepted_and_the_date_of_its_answer_is_told() -> None:
    async def scenario() -> None:
        fake = Fake()
        fake.date = "Wed, 25 Nov 2026 12:00:00 GMT"
        async with serving(fake):
            with closing(transport(fake)) as way:
                before = time.monotonic()
                reply = await way.post([{"labels": {"node_id": "nöde"}}])
                assert before <= reply.sent <= reply.received <= time.monotonic()
        assert fake.posts == [[{"labels": {"node_id": "nöde"}}]]
        assert (reply.problem, reply.answered, reply.timed_out, reply.date) == ("", True, False, fake.date)

    run(scenario)


@pytest.mark.parametrize("status", [201, 301, 400, 401, 503, 599])
def test_any_other_answer_is_a_refusal_said_in_one_line(status: int) -> None:
    async def scenario() -> None:
        fake = Fake()
        fake.status, fake.date, fake.text = status, None, b"no,\n for a reason" + bytes(range(256)) * 10
        async with serving(fake):
            with closing(transport(fake)) as way:
                reply = await way.post([])
        assert reply.problem.startswith(f"HTTP {status} no, for a reason")
        assert "\n" not in reply.problem
        assert len(reply.problem) < 220
        assert (reply.answered, reply.timed_out, reply.date) == (True, False, None)

    run(scenario)


def test_a_redirect_is_not_followed() -> None:
    # It would be answered by something else than this Alertmanager, and with a GET that posts nothing.
    async def scenario() -> None:
        fake, other = Fake(), Fake()
        async with serving(fake), serving(other):
            fake.status, fake.headers = 307, f"Location: {other.url}/api/v2/alerts\r\n".encode()
            with closing(transport(fake)) as way:
                assert (await way.post([])).problem.startswith("HTTP 307")
        assert other.posts == []

    run(scenario)


def test_an_answer_without_a_text_is_a_refusal_with_its_number() -> None:
    async def scenario() -> None:
        fake = Fake()
        fake.status, fake.text = 502, b""
        async with serving(fake):
            with closing(transport(fake)) as way:
                assert (await way.post([])).problem == "HTTP 502"

    run(scenario)


def test_an_answer_that_is_cut_off_is_no_answer() -> None:
    async def scenario() -> None:
        fake = Fake()
        fake.cuts = True
        async with serving(fake):
            with closing(transport(fake)) as way:
                reply = await way.post([])
        assert (reply.problem, reply.answered, reply.timed_out) == ("Connection closed", False, False)

    run(scenario)


def test_each_timeout_doubles_the_next_one_and_an_answer_sets_it() -> None:
    async def scenario() -> None:
        fake = Fake()
        async with serving(fake):
            with closing(transport(fake, 0.1, 0.4)) as way:
                fake.hangs = True
                for timeout in (0.1, 0.2, 0.4, 0.4):
                    start = time.monotonic()
                    reply = await way.post([])
                    assert timeout <= time.monotonic() - start < timeout + 0.09
                    assert reply.timed_out
                    assert not reply.answered
                    assert "Timeout" in reply.problem
                fake.hangs, fake.slow = False, 0.15
                assert (await way.post([])).answered
                fake.slow = 0.25  # less than twice as long
                assert (await way.post([])).answered
                fake.slow = 0.15
                assert (await way.post([])).answered
                fake.slow = 0.38  # more than twice as long
                assert (await way.post([])).timed_out
                fake.slow = 0.0
                assert (await way.post([])).answered
                fake.hangs = True
                start = time.monotonic()
                assert (await way.post([])).timed_out
                assert time.monotonic() - start < 0.19

    run(scenario)


def test_a_connection_that_is_never_accepted_is_given_up_before_the_request_would_be(backlog: int) -> None:
    async def scenario() -> None:
        with closing(Transport(f"http://127.0.0.1:{backlog}", HttpConfig(), connect=0.2)) as way:
            start = time.monotonic()
            reply = await way.post([])
            assert time.monotonic() - start < 2
            assert "connecting" in reply.problem
            assert not reply.answered

    run(scenario)


def test_a_port_that_nobody_listens_on_is_said() -> None:
    async def scenario() -> None:
        with closing(Transport("http://127.0.0.1:1", HttpConfig())) as way:
            reply = await way.post([])
        assert reply.problem.startswith("cannot connect: Connection refused (is it running there?")
        assert (reply.answered, reply.timed_out) == (False, False)

    run(scenario)


def test_a_name_that_does_not_resolve_is_said() -> None:
    async def scenario() -> None:
        with closing(Transport("http://alertmanager.invalid", HttpConfig())) as way:
            reply = await way.post([])
        assert reply.problem.startswith("cannot connect: ")
        assert not reply.answered

    run(scenario)


def test_a_post_that_is_cancelled_leaves_no_connection_open_when_the_client_is_closed() -> None:
    async def scenario() -> None:
        asked, left = asyncio.Event(), asyncio.Event()

        async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            asked.set()
            await reader.read()
            left.set()
            writer.close()

        async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with closing(Transport(f"http://127.0.0.1:{port}", HttpConfig())) as way:
                post = asyncio.create_task(way.post([]))
                await asked.wait()
                post.cancel()
                await asyncio.gather(post, return_exceptions=True)
            async with asyncio.timeout(3):  # the post's own timeout is 5 s
                await left.wait()

    run(scenario)
