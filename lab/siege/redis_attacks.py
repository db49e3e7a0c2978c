"""Attackers that write to Redis, and replies of a hostile one."""

import itertools
import math
import time
from typing import Final

import redis

from exporter.source.protocol import pack
from lab.siege.attack import Field, Twist

HUNDRED_MB: Final = 100_000_000


def large_field(field: Field) -> None:
    """Write 100 MB into one field of one node."""
    with redis.Redis(port=field.redis_port) as client:
        client.hset("node:metrics:execution-node-000007", "queue_size", b"9" * HUNDRED_MB)
    _wait(field)


def large_heartbeat(field: Field) -> None:
    """Write 100 MB as one heartbeat."""
    with redis.Redis(port=field.redis_port) as client:
        client.set("heartbeat:node:execution-node-000007", b"9" * HUNDRED_MB, ex=3600)
    _wait(field)


def many_large_fields(field: Field) -> None:
    """Write 1 MB into every field of 200 nodes."""
    with redis.Redis(port=field.redis_port) as client:
        for number in range(200):
            fields = dict.fromkeys(("queue_size", "total_events", "status"), b"7" * 1_000_000)
            client.hset(f"node:metrics:execution-node-{number:06}", mapping=fields)
    _wait(field)


def long_names(field: Field) -> None:
    """Write 60 nodes whose ids have 1 MB each."""
    with redis.Redis(port=field.redis_port) as client:
        for number in range(60):
            name = f"{number}" + "x" * 1_000_000
            client.set(f"heartbeat:node:{name}", "2026-01-06T12:30:45", ex=3600)
    _wait(field)


def new_nodes(field: Field) -> None:
    """Write 1,000 new node ids a second, with fields that cannot be read.

    All of them are gone soon after the attack, hash first, which is no crash: their memory has to be free again.
    """
    fields = [word for name in ("queue_size", "total_events", "cpu_usage", "status") for word in (name, "rubbish")]
    with redis.Redis(port=field.redis_port) as client:
        for number in field.rounds(0.1):
            pipe = client.pipeline(transaction=False)
            left = math.ceil(field.until - time.monotonic()) + 2
            for i in range(100):
                pipe.execute_command("HSET", f"node:metrics:new-{number}-{i}", *fields)
                pipe.expire(f"node:metrics:new-{number}-{i}", left)
                pipe.set(f"heartbeat:node:new-{number}-{i}", "rubbish", ex=left + 3)
            pipe.execute()


def wrong_types(field: Field) -> None:
    """Turn keys of 5,000 nodes into lists and hashes, and back.

    Half of the nodes belong to the fleet. They have beaten, so they stay online until that beat would have ended. The
    other half are new, and never have a hash or list without a heartbeat, which would be a node that crashed. Each
    round is a transaction: a node whose keys are gone for a moment has stopped.
    """
    with redis.Redis(port=field.redis_port) as client:
        for number in field.rounds(0.2):
            pipe = client.pipeline(transaction=True)
            for i in range(2500):
                old, new, wrong = f"execution-node-{i:06}", f"wrong-{i}", (number + i) % 2
                for name in (old, new):
                    pipe.delete(f"heartbeat:node:{name}", f"node:metrics:{name}")
                pipe.hset(f"heartbeat:node:{new}", "a", "b")
                if wrong:
                    pipe.rpush(f"node:metrics:{old}", "x")
                    pipe.hset(f"heartbeat:node:{old}", "a", "b")
                else:
                    pipe.hset(f"node:metrics:{old}", "queue_size", "1")
                    pipe.set(f"heartbeat:node:{old}", "2026-01-06T12:30:45", ex=3600)
                    pipe.set(f"heartbeat:node:{new}", "2026-01-06T12:30:45", ex=3600)
                    pipe.rpush(f"node:metrics:{new}", "x")
            pipe.execute()


def _wait(field: Field) -> None:
    time.sleep(max(0.0, field.until - time.monotonic()))


# --- replies of a hostile Redis --------------------------------------------------------------

SHAPES: Final = (
    *(b":1\r\n", b"+OK\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"_\r\n", b"#t\r\n", b",1.5\r\n", b",nan\r\n"),
    *(
        b"*2\r\n:1\r\n:2\r\n",
        b"*9\r\n" + b":1\r\n" * 9,
        b"*9\r\n" + b"*0\r\n" * 9,
        b"~1\r\n:1\r\n",
        b"%1\r\n+a\r\n:1\r\n",
    ),
    *(
        b"~1\r\n*0\r\n",
        b"%1\r\n*0\r\n:1\r\n",
        b"(123456789012345678901234567890\r\n",
        b"=5\r\ntxt:a\r\n",
        b">1\r\n+a\r\n",
    ),
    *(
        b"*1\r\n" * 12 + b":1\r\n",
        b"*9\r\n" + b",1.5\r\n" * 9,
        b"*9\r\n" + b"#t\r\n" * 9,
        b"-ERR no\r\n",
        b"!3\r\nERR\r\n",
    ),
    *(b"*3\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n", b"*9\r\n" + b"-ERR no\r\n" * 9, b"*1000\r\n" + b":7\r\n" * 1000),
)
"""Replies of every type of RESP2 and RESP3, none of them what was asked for."""


def shapes(*commands: bytes) -> Twist:
    """Return a twist that answers these commands with each shape in turn, each for a second."""

    def twist(words: list[bytes], reply: bytes) -> bytes:
        return SHAPES[int(time.monotonic()) % len(SHAPES)] if words[0].upper() in commands else reply

    return twist


def always(reply: bytes, *commands: bytes) -> Twist:
    """Return a twist that answers these commands with the same."""
    return lambda words, honest: reply if words[0].upper() in commands else honest


def endless_scan() -> Twist:
    """Return a twist whose SCAN never ends, and names 1,000 new nodes each time."""
    numbers = itertools.count(1)

    def twist(words: list[bytes], reply: bytes) -> bytes:
        if words[0].upper() != b"SCAN":
            return reply
        number = next(numbers)
        keys = [b"node:metrics:endless-%d-%d" % (number, i) for i in range(1000)]
        return b"*2\r\n$%d\r\n%d\r\n" % (len(b"%d" % number), number) + pack(*keys)

    return twist


def stuck_scan(words: list[bytes], reply: bytes) -> bytes:
    """Answer every SCAN with the same cursor and no names."""
    return b"*2\r\n$1\r\n7\r\n*0\r\n" if words[0].upper() == b"SCAN" else reply
