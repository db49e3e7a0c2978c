"""The exporter's answers: scrape, JSON, page and table all become the same kind of object."""

import html.parser
import http.client
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from exporter.contract import (
    MASS_LOST,
    MEGABYTE,
    NODE_METRICS,
    STATUS,
    UP,
)
from exporter.liveness.judge import State
from lab.soak.shown_ledger import ShownLedger

SCRAPE_TIMEOUT: Final = 5.0
"""Timeout of a scrape in seconds. It exceeds the exporter's timeout for Redis, since the machine may be busy."""
_KEYS: Final = {metric.name: metric.json for metric in NODE_METRICS}
_STATE_BY_UP: Final = {1.0: State.ONLINE, 0.0: State.OFFLINE}
_UNKNOWN: Final = "–"  # noqa: RUF001 - the page shows this for an unknown value


@dataclass(frozen=True, slots=True)
class ShownNode:
    """One node in an answer.

    Attributes:
        state: The state that the answer shows.
        values: The known values, by the API's keys.
    """

    state: State
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the exporter.

    Attributes:
        source: Name of the way it was asked for: scrape, JSON, page or table.
        since: Time of the request, in monotonic seconds.
        until: Time at which the answer was complete, in monotonic seconds.
        nodes: All nodes by id; None if the answer says that Redis cannot be read.
        shows: The API's keys of the values that an answer of this kind shows.
        own: The samples about the exporter itself, by name and labels; empty if the answer has no such samples.
        fresh: Whether the process that answered had never looked at Redis before.
        mass_lost: The members of mass losses; None if an answer of this kind does not show them.
        ledger: The ledger; None if an answer of this kind does not show it.
    """

    source: str
    since: float
    until: float
    nodes: Mapping[str, ShownNode] | None
    shows: frozenset[str] = frozenset(filter(None, _KEYS.values()))
    own: Mapping[tuple[str, ...], float] = field(default_factory=dict)
    fresh: bool = False
    mass_lost: frozenset[str] | None = None
    ledger: "ShownLedger | None" = None


class BrokenAnswer(Exception):  # noqa: N818 - the exporter is wrong, not the soak
    """The exporter did not answer, or its answer was late or had a status other than 200."""


def get(port: int, path: str, expect: int = 200) -> tuple[float, float, str]:
    """Send a request as Prometheus does. Return the times of request and answer in monotonic seconds, and the body.

    Raises:
        BrokenAnswer: The answer took longer than ``SCRAPE_TIMEOUT``, or its status is not the expected one.
    """
    since = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SCRAPE_TIMEOUT)
    try:
        connection.request("GET", path, headers={"X-Prometheus-Scrape-Timeout-Seconds": str(SCRAPE_TIMEOUT)})
        answer = connection.getresponse()
        body = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise BrokenAnswer(f"{path} was not answered within {time.monotonic() - since:.1f} s: {error!r}") from error
    finally:
        connection.close()
    until = time.monotonic()
    if answer.status != expect:
        raise BrokenAnswer(f"{path} answered {answer.status}")
    return since, until, body


def scrape(port: int) -> Answer:
    """Return the answer of ``/metrics``."""
    since, until, body = get(port, "/metrics")
    values: dict[str, dict[str, Any]] = {}
    ups: dict[str, float] = {}
    own: dict[tuple[str, ...], float] = {}
    mass_lost = set()
    shown = ShownLedger()
    for family in text_string_to_metric_families(body):
        for sample in family.samples:
            node_id = sample.labels.get("node_id")
            if shown.take(sample):
                pass
            elif node_id is None:
                own[sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))] = sample.value
            elif sample.name == UP.name:
                ups[node_id] = sample.value
            elif sample.name == MASS_LOST.name:
                mass_lost.add(node_id)
            else:
                values.setdefault(node_id, {}).update(_value(sample))
    nodes = {
        node_id: ShownNode(_STATE_BY_UP[ups[node_id]] if node_id in ups else State.UNDECIDED, values.get(node_id, {}))
        for node_id in values.keys() | ups.keys()
    }
    up = own.get(("ginkgo_redis_up",))
    if up not in (0, 1) or (not up and nodes):
        raise BrokenAnswer(f"/metrics says ginkgo_redis_up {up} beside {len(nodes)} nodes")
    if not up and shown.counts:
        raise BrokenAnswer("/metrics shows a ledger beside ginkgo_redis_up 0")
    if not up:
        return Answer("scrape", since, until, None, own=own)
    return Answer("scrape", since, until, nodes, own=own, mass_lost=frozenset(mass_lost), ledger=shown)


def _value(sample: Sample) -> Mapping[str, Any]:
    """Return the value of a node's sample by the API's key; nothing if it is a status that the node does not have."""
    if sample.name != STATUS.name:
        return {_KEYS[sample.name]: _plain(sample.value)}
    return {"status": sample.labels["status"]} if sample.value else {}


def ask_api(port: int) -> Answer:
    """Return the answer of ``/api/v1/nodes``."""
    since, until, body = get(port, "/api/v1/nodes")
    return of_json("JSON", since, until, body)


def of_json(source: str, since: float, until: float, text: str, *, fresh: bool = False) -> Answer:
    """Return the answer that JSON in the API's form holds."""
    answer = json.loads(text)
    nodes = {}
    for row in answer["nodes"]:
        values = {key: _plain(row[key]) for key in _KEYS.values() if key and row[key] is not None}
        nodes[row["node_id"]] = ShownNode(State(row["state"]), values)
    return Answer(source, since, until, nodes if answer["redis_up"] else None, fresh=fresh)


def ask_page(port: int) -> Answer:
    """Return the answer that the table of the status page holds."""
    since, until, body = get(port, "/")
    page = _Page()
    page.feed(body)
    nodes = {}
    for node_id, row in page.rows:
        state, cells = State(row["state"]), {key: text for key, text in row.items() if text != _UNKNOWN}
        nodes[node_id] = ShownNode(state, {key: read(cells[key]) for key, read in _CELLS.items() if key in cells})
    return Answer("page", since, until, nodes if page.redis_up else None, shows=frozenset(_CELLS))


def _plain(value: Any) -> Any:
    """Return a value without the rounding error that a division by 100 leaves in a float."""
    return round(value, 9) if isinstance(value, float) else value


def _number(text: str) -> float:
    return float(text.replace(",", ""))


_CELLS: Final[Mapping[str, Callable[[str], Any]]] = {
    "portfolios": _number,
    "queue_size": _number,
    "cpu_usage_ratio": lambda text: _plain(_number(text.removesuffix(" %")) / 100),
    "memory_usage_bytes": lambda text: _number(text.removesuffix(" MiB")) * MEGABYTE,
    "backpressure": _number,
    "dropped_events": _number,
    "status": str,
}
"""The cells that show a value of the API without rounding, for the values that the soak's nodes write."""


class _Page(html.parser.HTMLParser):
    """Collects the rows of the table; each row has its texts by the keys of the columns."""

    def __init__(self) -> None:
        super().__init__()
        self.redis_up = False
        self.rows: list[tuple[str, dict[str, str]]] = []
        self._keys: list[str] = []
        self._cells: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id") == "redis":
            self.redis_up = given.get("class") == "up"
        elif tag == "th" and "data-key" in given:
            self._keys.append(given["data-key"] or "")
        elif tag == "tr" and "data-id" in given:
            self._cells = []
            self.rows.append((given["data-id"] or "", {}))
        elif tag in ("td", "th") and self._cells is not None:
            self._cells.append("")

    def handle_data(self, data: str) -> None:
        if self._cells:
            self._cells[-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "tr" and self._cells is not None:
            self.rows[-1][1].update(zip(self._keys, self._cells, strict=True))
            self._cells = None
