"""Every attack."""

from typing import Final

from lab.siege import alertmanager, http_attacks, redis_attacks
from lab.siege.attack import Attack
from lab.siege.http_attacks import Flood, Reload, Silent, Unread, repeated, request
from lab.siege.redis_attacks import always, shapes

_JSON: Final = request("/api/v1/nodes")
_PAGE: Final = request("/")
_SCRAPE: Final = request("/metrics")
_REPLIES: Final = (b"HMGET", b"PTTL", b"MGET", b"INFO", b"SCAN", b"EXISTS", b"GET")
_FEW: Final = 2000
"""Nodes of a fake Redis, which is slower than a real one."""

ATTACKS: Final = (
    Attack("json-unread", "120 clients ask for all nodes as JSON and do not read", Unread(120, repeated(_JSON))),
    Attack("pages-unread", "300 clients ask for JSON and page and do not read", Unread(300, repeated(_JSON, _PAGE))),
    Attack("reload", "40 clients reload page and JSON", Reload(40, "/", "/api/v1/nodes")),
    Attack(
        "reload-many",
        "40 clients reload page and JSON of 100,000 nodes",
        Reload(40, "/", "/api/v1/nodes"),
        nodes=100_000,
        flags=("--redis.timeout=9s",),
        memory=512,
    ),
    Attack("large-field", "a hash field of 100 MB", redis_attacks.large_field),
    Attack(
        "guesses",
        "120 connections guess passwords",
        lambda field: http_attacks.in_threads(120, http_attacks.guess_passwords, field),
        users=True,
    ),
    Attack("shapes", "Redis answers with other types", twist=shapes(*_REPLIES), nodes=_FEW, unreadable=True),
    Attack(
        "shape-of-values", "Redis answers HMGET with other types", twist=shapes(b"HMGET"), nodes=_FEW, unreadable=True
    ),
    Attack(
        "huge-count",
        "HMGET is answered with *300000000",
        twist=always(b"*300000000\r\n", b"HMGET"),
        nodes=_FEW,
        unreadable=True,
    ),
    Attack("endless-scan", "SCAN never ends and names new nodes", twist=redis_attacks.endless_scan(), nodes=_FEW),
    Attack("bad-requests", r"X\r\n\r\n again and again", Flood(lambda: b"X\r\n\r\n", waits=False)),
    Attack("new-nodes", "1,000 new nodes a second with unreadable fields", redis_attacks.new_nodes),
    Attack("large-header", "Alertmanager answers with a header of 20 MB", alertmanager=alertmanager.large_header),
    Attack("silent", "600 connections that say nothing", Silent(600)),
    # --- those above stopped the first release; these are variations -------------------------------
    Attack("scrapes-unread", "200 clients scrape and do not read", Unread(200, repeated(_SCRAPE))),
    Attack("drip", "200 clients scrape and read 1 KiB a second", Unread(200, repeated(_SCRAPE), drip=1024)),
    Attack("filters", "200 scrapes, each with another filter, are not read", Unread(200, http_attacks.filters)),
    Attack("views", "120 clients ask for JSON in different ways and do not read", Unread(120, http_attacks.views)),
    Attack("crawl", "400 clients send headers a byte at a time", Silent(400, (b"G", b"E", b"T", b" "))),
    Attack("pipelined", "50 connections send requests without end and read nothing", http_attacks.pipelined),
    Attack("headers", "requests of 15 KB of headers", Flood(lambda: request("/", "X: " + "x" * 15_000))),
    Attack(
        "bodies",
        "requests that announce a body of 1 TB",
        Flood(lambda: b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n" + b"x" * 1000),
    ),
    Attack("paths", "requests for paths that are not there", Flood(http_attacks.random_path)),
    Attack("connects", "connections that go at once", Flood(lambda: b"G", waits=False)),
    Attack("large-heartbeat", "a heartbeat of 100 MB", redis_attacks.large_heartbeat),
    Attack("many-large-fields", "three fields of 1 MB on 200 nodes", redis_attacks.many_large_fields),
    Attack("long-names", "60 nodes with ids of 1 MB", redis_attacks.long_names),
    Attack("wrong-types", "5,000 nodes whose keys change their types", redis_attacks.wrong_types),
    Attack(
        "large-info",
        "INFO of 200 MB",
        twist=always(b"$200000000\r\n" + b"x" * 10_000_000, b"INFO"),
        nodes=_FEW,
        unreadable=True,
    ),
    Attack(
        "empty-arrays",
        "HMGET of a million empty lists",
        twist=always(b"*99999\r\n" + b"*0\r\n" * 99_999, b"HMGET"),
        unreadable=True,
    ),
    Attack("stuck-scan", "SCAN answers with the same cursor for good", twist=redis_attacks.stuck_scan, nodes=_FEW),
    Attack(
        "deep",
        "replies nested a thousand deep",
        twist=always(b"*1\r\n" * 1000 + b":1\r\n", b"HMGET"),
        nodes=_FEW,
        unreadable=True,
    ),
    Attack("endless-answer", "Alertmanager answers with a body without end", alertmanager=alertmanager.large_body),
    Attack("no-http", "Alertmanager answers with what is no HTTP", alertmanager=alertmanager.no_http),
)
