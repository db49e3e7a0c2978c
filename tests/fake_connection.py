"""A connection to the fake Redis, over which replies may be wrong."""

from collections.abc import Callable
from socket import socket
from typing import Any

import hiredis

from lab.fake_redis import OK, FakeRedis

Twist = Callable[[list[bytes], bytes], bytes]
"""Given a command and the honest reply to it, returns the reply that is sent."""


def answer(fake: FakeRedis, near: socket, twist: Twist) -> None:
    """Answer a connection until it ends; ``twist`` may change each reply."""
    reader = hiredis.Reader()
    while received := near.recv(1 << 16):
        reader.feed(received)
        replies = []
        while words := reader.gets():
            replies.append(twist(words, packed(fake.execute(*words))))
        near.sendall(b"".join(replies))


def packed(reply: Any) -> bytes:
    """Return a reply in Redis's protocol."""
    match reply:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case bytes() if reply is OK:
            return b"+OK\r\n"
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case Exception():
            return f"-{reply}\r\n".encode()
    return b"*%d\r\n" % len(reply) + b"".join(map(packed, reply))
