"""The independent judge: what the contract lets an answer say, from the values that Redis may have held.

It knows nothing of how the exporter works. What it calls wrong is wrong in any case.
"""

import json
import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from exporter.contract import COUNTERS, GAUGES, LOADED_FIELD, MASS_LOST, NODE_METRICS, NUMBERS, STATUS, UP
from exporter.demo.platform import ORPHANED
from lab.platform import RandomNode
from lab.truth import GRACE, HOLD, NEVER, PLAN, TOLERANCE, TTL, USUAL_SLACK, Chance, Recorder, Write

DISCOVERY: Final = 1.0
"""Seconds between two looks of the exporter for names."""
READ_TIMEOUT: Final = 2.0
"""Seconds that the exporter gives Redis for one read."""
BUSY_MACHINE: Final = 2.0
"""Additional seconds that discovery may take on a busy machine."""
ONLINE, OFFLINE, UNDECIDED, GONE = "online", "offline", "undecided", "gone"
_JSON: Final = {metric.name: metric.json for metric in NODE_METRICS}
_GAUGES: Final = frozenset((*(metric.json for metric in GAUGES), STATUS.json))
_COUNTERS: Final = frozenset(metric.json for metric in COUNTERS)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the exporter.

    Attributes:
        source: How it was asked for: scrape or JSON.
        since, until: The times of the request and of the complete answer, in monotonic seconds.
        states: The state of each node by its id; None if the answer says that Redis cannot be read.
        values: The known values of each node, by the API's keys.
        own: The samples without a node, by name and labels; empty if the answer has no such samples.
        lost: The members of mass losses.
        faults: The state of each portfolio that a scrape lists, the node that it names, and the Unix time of its start.
    """

    source: str
    since: float
    until: float
    states: Mapping[str, str] | None
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    own: Mapping[tuple[str, ...], float] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()
    faults: Mapping[str, tuple[str, str, float]] = field(default_factory=dict)


def of_scrape(since: float, until: float, body: str) -> Answer:
    """Return the answer that a scrape's body holds.

    Raises:
        ValueError: It shows nodes or a ledger beside ``ginkgo_redis_up 0``.
    """
    values: dict[str, dict[str, Any]] = {}
    ups, own, lost, faults = dict[str, float](), dict[tuple[str, ...], float](), set(), {}
    for family in text_string_to_metric_families(body):
        for sample in family.samples:
            labels, node_id = sample.labels, sample.labels.get("node_id")
            if sample.name == "ginkgo_portfolio_fault_since_timestamp_seconds":
                faults[labels["portfolio_id"]] = labels["state"], labels["node_id"], sample.value
            elif node_id is None:
                own[sample.name, *(f"{name}={text}" for name, text in sorted(labels.items()))] = sample.value
            elif sample.name == UP.name:
                ups[node_id] = sample.value
            elif sample.name == MASS_LOST.name:
                lost.add(node_id)
            elif sample.name == STATUS.name:
                values.setdefault(node_id, {}).update({"status": labels["status"]} if sample.value else {})
            elif sample.name in _JSON:
                values.setdefault(node_id, {})[_JSON[sample.name]] = _plain(sample.value)
    names = {UNDECIDED: values.keys() - ups.keys(), ONLINE: {n for n, up in ups.items() if up}}
    names[OFFLINE] = ups.keys() - names[ONLINE]
    states = {node_id: state for state, ids in names.items() for node_id in ids}
    up = own.get(("ginkgo_redis_up",))
    if up not in (0, 1) or (not up and (states or faults)):
        raise ValueError(f"ginkgo_redis_up {up} beside {len(states)} nodes")
    return Answer("scrape", since, until, states if up else None, values, own, lost=frozenset(lost), faults=faults)


def of_json(since: float, until: float, text: str) -> Answer:
    """Return the answer of the API."""
    answer = json.loads(text)
    states = {row["node_id"]: row["state"] for row in answer["nodes"]}
    values = {
        row["node_id"]: {key: _plain(row[key]) for key in _JSON.values() if key and row.get(key) is not None}
        for row in answer["nodes"]
    }
    return Answer("JSON", since, until, states if answer["redis_up"] else None, values)


def _plain(value: Any) -> Any:
    """Return a value without the rounding error that a division by 100 leaves in a float."""
    return round(value, 9) if isinstance(value, float) else value


def shown(fields: Mapping[str, str]) -> dict[str, Any]:
    """Return what must be shown for the fields of a hash, by the API's keys."""
    values: dict[str, Any] = {
        metric.json: _plain(float(fields[metric.field]) * metric.multiply / metric.divide)
        for metric in NUMBERS
        if metric.field and metric.field in fields
    }
    return values | ({STATUS.json: fields["status"]} if "status" in fields else {})


@dataclass(slots=True)
class Memory:
    """The knowledge that the exporter process has of a node, as far as its answers show it.

    Attributes:
        alive: Whether the exporter has seen the node online, and not gone since.
        member: Whether the exporter has called it a member of a mass loss since it was online last.
        offline_at: Time of the first answer that calls the node offline; None if the exporter has seen a beat since.
        values: The values in the last answer with the node.
        since: Time of the request for that answer.
        beats: The last beats that the exporter surely has seen.
        deadline: Until when the exporter may take the heartbeat to live, by the TTL in its answer.
        states: The last states, each with the time of the request.
    """

    alive: bool = False
    member: bool = False
    offline_at: float | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    since: float = -math.inf
    beats: deque[Write] = field(default_factory=lambda: deque([NEVER], maxlen=60))
    deadline: float = -math.inf
    states: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=4))

    def seen_beat(self, by: float) -> Write:
        """Return the last beat up to a moment that the exporter surely has seen; one of minus infinity without any."""
        return max((beat for beat in self.beats if beat.begun <= by), key=lambda beat: beat.begun, default=NEVER)


class Oracle:
    """Judges answers in the order of their requests.

    Args:
        nodes: The platform's nodes by id.
        recorder: All writes.
        chance: Redis's faults, and how much chance they left.
    """

    def __init__(self, nodes: Mapping[str, RandomNode], recorder: Recorder, chance: Chance) -> None:
        self.nodes, self.recorder, self.chance = nodes, recorder, chance
        self._started = 0.0
        self._memories: dict[str, Memory] = {}
        self._unread_since: float | None = None  # the first answer in a row that says Redis cannot be read
        self._last: Answer | None = None  # the last scrape whose ledger was judged
        self.portfolios = 0

    def exporter_started(self, at: float) -> None:
        """Forget the knowledge of the last process."""
        self._started, self._memories, self._unread_since, self._last = at, {}, None, None

    def judge(self, answer: Answer) -> Iterator[str]:
        """Yield a text for each thing that is wrong in an answer."""
        since = answer.since - self.chance.slack + USUAL_SLACK  # on a busy machine, it may share a read for long
        if self._unread_since is not None:
            since = max(self._unread_since, since - READ_TIMEOUT)  # it may share a read that began before
        if answer.states is None:
            yield from self._judge_unread(answer, since)
            return
        if any(f.down_from <= since and answer.until <= f.down_until for f in self.chance.faults if not f.readable):
            yield "it read a Redis that was down"
        self._unread_since = None
        self.chance.tidy(since)
        for name in self.nodes:
            yield from (f"{name!r}: {wrong}" for wrong in self._judge_node(answer, name, since))
        yield from (f"{name!r}: no such node" for name in answer.states.keys() - self.nodes.keys())
        living = [name for name in answer.lost if answer.states.get(name) != OFFLINE]
        yield from (f"{name!r}: a member of a mass loss that is {answer.states.get(name)}" for name in living)
        if answer.source == "scrape":
            yield from self._judge_ledger(answer, since)

    def _judge_unread(self, answer: Answer, since: float) -> Iterator[str]:
        starting = since < self._started + DISCOVERY + BUSY_MACHINE
        if not starting and not any(f.meets(since, answer.until) for f in self.chance.faults if not f.readable):
            yield "it could not read a Redis that is well"
        if self._unread_since is None:
            self._unread_since = answer.since

    def heartbeat(self, name: str) -> Any:
        """Return the writes of a node's heartbeat."""
        return self.recorder.keys[self.nodes[name].own_keys[0]]

    def hash(self, name: str) -> Any:
        """Return the writes of a node's hash."""
        return self.recorder.keys[self.nodes[name].own_keys[1]]

    # --- deaths ----------------------------------------------------------------------------

    def may_be_offline(self, name: str, since: float, until: float) -> bool:
        """Return whether the contract lets a node be called offline at any moment of a span."""
        if name not in self.nodes:
            return False
        memory = self._memories.get(name) or Memory()
        writes = [write for write in tuple(self.heartbeat(name).writes) if write.begun <= until]
        # A beat that Redis lost at once need not have been seen.
        lost_at_once = {id(beat) for beat, after in pairwise(writes) if after.lost and beat not in memory.beats}
        writes = [write for write in writes if id(write) not in lost_at_once]
        losses = [fault.since for fault in self.chance.faults if fault.loses]
        for number, beat in enumerate(writes):
            if beat.value is None:
                continue
            # After another run of Redis, a node that had stopped looks like one whose data were lost.
            lost = any(beat.begun <= at <= until for at in losses)
            later = (write for write in writes[number + 1 :] if write.sure and not write.lost)
            after = next((write for write in later if write.value or not lost), None)
            last = min(until, after.ended if after else until)
            # The exporter counts from the last beat that it has seen, and that may be an earlier one.
            if last >= max(since, beat.begun + TTL) and self.chance.may_be_over(
                memory.seen_beat(beat.begun), since - TTL, last
            ):
                return True
        return False

    def beaten_since(self, name: str, at: float) -> bool:
        """Return whether a node may have beaten after a moment."""
        return any(write.value is not None and write.ended > at for write in tuple(self.heartbeat(name).writes))

    def told(self, name: str, until: float) -> str:
        """Return a node's last writes and the faults, in seconds before a moment."""
        words = []
        for write in [write for write in self.heartbeat(name).writes if write.begun <= until][-3:]:
            kind = "beat" if write.value else "lost" if write.lost else "deleted"
            words.append(f"{kind} {until - write.begun:.3f}-{until - write.ended:.3f}{'' if write.sure else '?'}")
        spans = [f"{until - start:.2f}-{until - stop:.2f}" for start, stop in self.chance.sure() if stop > until - 20]
        return f"{', '.join(words)}; no chance {' '.join(spans) or 'never'}"

    # --- one node --------------------------------------------------------------------------

    def _judge_node(self, answer: Answer, name: str, since: float) -> Iterator[str]:
        memory = self._memories.setdefault(name, Memory())
        state = (answer.states or {}).get(name, GONE)
        allowed = self._allowed(answer, name, memory, since)
        if state not in allowed:
            before = ", ".join(f"{each} {answer.until - at:.3f}" for at, each in memory.states)
            yield f"{state} instead of {'|'.join(sorted(allowed))} ({self.told(name, answer.until)}; before: {before})"
        if state != GONE:
            values = answer.values.get(name, {})
            yield from self._judge_values(answer, name, state, values, since)
            if memory.values and not any(at > memory.since for at in self.nodes[name].births):
                for key in _COUNTERS & memory.values.keys() & values.keys():
                    if values[key] < memory.values[key]:
                        yield f"{key} went back from {memory.values[key]} to {values[key]}"
            memory.values, memory.since = values, since
        self._remember(answer, name, memory, state, since)

    def _allowed(self, answer: Answer, name: str, memory: Memory, since: float) -> set[str]:
        """Return the states that a node may be shown in.

        A death must be true, and so must a life. Where nothing has happened for long enough, only one state is right.
        """
        until, heartbeat = answer.until, self.heartbeat(name)
        beats, allowed = heartbeat.possible(since, until, values_only=True), {UNDECIDED, GONE}
        living = [beat for beat in heartbeat.possible(since, until) if beat.value is not None]
        if since < memory.deadline + TOLERANCE or any(beat.ended + TTL >= since - TOLERANCE for beat in living):
            allowed.add(ONLINE)
        last = memory.states[-1][0] if memory.states else since
        stays = memory.offline_at is not None and all(beat.begun < memory.offline_at for beat in beats)
        if stays or not memory.alive or self.may_be_offline(name, min(since, last), until):
            allowed.add(OFFLINE)
        quiet_since = since - GRACE - HOLD - DISCOVERY - BUSY_MACHINE - self.chance.slack
        if quiet_since < self._started or self.chance.troubled(quiet_since, until):
            return allowed
        written = heartbeat.possible(quiet_since, until)
        hashes = self.hash(name).values(quiet_since, until)
        if any(write.lost for write in heartbeat.writes):
            return allowed
        if all(write.value for write in written) and all(hashes):
            beating = all(after.begun - before.ended < TTL for after, before in pairwise(written))
            if beating and written[0].begun + TTL > until:
                return allowed & {ONLINE}
            if len(written) == 1 and written[0].ended + TTL < quiet_since:
                return allowed & ({OFFLINE, GONE} if self._may_be_forgotten(name, memory, quiet_since) else {OFFLINE})
        return allowed & {GONE} if len(written) == 1 and not any(hashes) else allowed

    def _may_be_forgotten(self, name: str, memory: Memory, since: float) -> bool:
        """Return whether the work of a dead node has moved: then it is forgotten, if it is new or lost with others."""
        plans = self.recorder.keys[PLAN].values(since, math.inf)
        return (memory.member or not memory.alive) and any(name not in (plan or {}).values() for plan in plans)

    def _judge_values(
        self, answer: Answer, name: str, state: str, values: Mapping[str, Any], since: float
    ) -> Iterator[str]:
        until = answer.until
        hashes = [shown(fields or {}) for fields in self.hash(name).values(since, until)]
        for key in _GAUGES | _COUNTERS:
            possible = {None} if key in _GAUGES and state != ONLINE else {each.get(key) for each in hashes}
            if values.get(key) not in possible:
                yield f"{key} is {values.get(key)} instead of {possible}"
        ttl, beats = values.get("heartbeat_ttl_seconds"), self.heartbeat(name).possible(since, until)
        if ttl is None or not any(_may_be_left(beat, ttl, since, until) for beat in beats):
            yield f"heartbeat_ttl_seconds is {ttl} ({self.told(name, until)})"
        written = {round(datetime.fromisoformat(beat.value).timestamp(), 6) for beat in beats if beat.value}
        if state == ONLINE and all(beat.value for beat in beats) and values.get("last_heartbeat") not in written:
            yield f"last_heartbeat is {values.get('last_heartbeat')} instead of {written}"

    def _remember(self, answer: Answer, name: str, memory: Memory, state: str, since: float) -> None:
        """Take over what an answer shows of a node."""
        memory.member = state != ONLINE and (memory.member or name in answer.lost)
        memory.states.append((since, state))
        if state == ONLINE:
            memory.alive, memory.offline_at = True, None
            beats = self.heartbeat(name).possible(since, answer.until, values_only=True)
            left = answer.values.get(name, {}).get("heartbeat_ttl_seconds", TTL)
            memory.deadline = max(memory.deadline, answer.until + left)
            memory.beats += [beat for beat in beats if beat.sure and beat.ended <= since][:1]
        elif state == OFFLINE:
            memory.offline_at = memory.offline_at or since
        elif state == GONE:
            memory.alive, memory.offline_at = False, None

    # --- the ledger ------------------------------------------------------------------------

    def _judge_ledger(self, answer: Answer, since: float) -> Iterator[str]:
        """Judge each portfolio about which nothing has changed for long enough, so that only one state is right.

        The exporter believes some states at the second look, and reads a missing plan once more.
        """
        since = min(since - 2 * (DISCOVERY + BUSY_MACHINE), since - TTL)
        states, lists = answer.states or {}, dict[str, list[Any]]()
        if self.chance.troubled(since, answer.until) or since < self._started:
            return
        plans = [plan or {} for plan in self.recorder.keys[PLAN].values(since, answer.until)]
        for name in self.nodes:
            texts = [(fields or {}).get(LOADED_FIELD) for fields in self.hash(name).values(since, answer.until)]
            lists[name] = [None if text is None else frozenset(json.loads(text)) for text in texts]
            earlier = [state for at, state in (self._memories.get(name) or Memory()).states]
            if any(state != states.get(name, GONE) for state in earlier):
                return
        portfolios = {portfolio for plan in plans for portfolio in plan}
        portfolios |= {portfolio for some in lists.values() for loaded in some for portfolio in loaded or ()}
        for portfolio in portfolios:
            planned = {plan.get(portfolio) for plan in plans}
            holding = {name: {portfolio in (loaded or ()) for loaded in some} for name, some in lists.items()}
            if len(planned) > 1 or any(len(each) > 1 for each in holding.values()):
                continue
            self.portfolios += 1
            (node,) = planned
            holders = {name for name, each in holding.items() if True in each}
            says = node in lists and None not in lists[node]
            right = _ledger_state(node, holders, states, says=says)
            fault = answer.faults.get(portfolio)
            if (fault[0] if fault else "") != right:
                yield f"portfolio {portfolio!r}: {fault} instead of {right or 'traded or unknown'}"
            before = self._last.faults.get(portfolio) if self._last and self._last.since > since else None
            if fault and before and before[0] == fault[0] and before[2] != fault[2]:
                yield f"portfolio {portfolio!r}: {fault[0]} since {before[2]}, and now since {fault[2]}"
        self._last = answer


def _ledger_state(node: str | None, holders: set[str], states: Mapping[str, str], *, says: bool) -> str:
    """Return the state of a portfolio; an empty text for traded or unknown, which no series shows one by one.

    Args:
        node: The planned node; None if the portfolio is not planned.
        holders: The nodes that list it as loaded.
        states: The states of all nodes that are not gone.
        says: Whether the planned node says what it has loaded.
    """
    online = [name for name in holders if states.get(name) == ONLINE]
    planned = node if node != ORPHANED else None
    if len(online) > 1:
        return "duplicated"
    if online:
        return "" if online == [planned] else "misplaced" if planned else "unplanned"
    if any(states.get(name) == UNDECIDED for name in holders):
        return ""
    if planned is None:
        return "untraded" if node or any(states.get(name) == OFFLINE for name in holders) else ""
    state = states.get(planned)
    return "" if state == UNDECIDED or (state == ONLINE and not says) else "untraded"


def _may_be_left(beat: Write, ttl: float, since: float, until: float) -> bool:
    """Return whether a heartbeat may have had so many seconds left at a moment of a span; 0 for none."""
    if ttl == 0:
        return beat.value is None or beat.begun + TTL <= until + TOLERANCE
    least, most = TTL - (until - beat.begun), TTL - max(0.0, since - beat.ended)
    return beat.value is not None and ttl > 0 and least - TOLERANCE <= ttl <= most + TOLERANCE
