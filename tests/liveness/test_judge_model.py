"""The judge against a model of the world: Redis with its faults, nodes that beat, stop and crash.

The model knows what the judge can only infer: who lives. Whatever happens to
Redis, no living node may be called dead, and every dead one must be, at the
latest a TTL and a beat after Redis is steady.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from exporter.liveness.judge import REMEMBER_LOST, Judge, State
from exporter.source.reading import Server
from lab.readings import Pair, reading_of

TTL, BEAT = 30.0, 10.0
GRACE = TTL + BEAT
SCRAPE_EVERY = 15.0


@dataclass
class Node:
    """A process that writes, until it stops or crashes."""

    alive: bool = True
    next_beat: float = 0.0
    died: float = 0.0
    deadline: float = 0.0  # of its last heartbeat, had nobody taken it away
    missed: int = 0  # beats in a row that Redis did not take


class World(RuleBasedStateMachine):
    """A platform, its Redis, and the exporter's judge; one clock for all of them."""

    living = Bundle("living")

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.judge = Judge(TTL, BEAT)
        self.run = 1
        self.role = "master"
        self.started = 0
        self.nodes: dict[bytes, Node] = {}
        self.hashes: set[bytes] = set()
        self.heartbeats: dict[bytes, float] = {}  # when each expires
        self.dump: tuple[set[bytes], dict[bytes, float]] = (set(), {})
        self.steady_since = float("-inf")
        self.lost_at: dict[bytes, float] = {}
        self.known: set[bytes] = set()  # to the judge
        self.names: tuple[bytes, ...] = ()
        self.found: set[bytes] = set()
        self.states: dict[bytes, State] = {}

    # --- what happens ----------------------------------------------------------------------

    @initialize()
    def first_look(self) -> None:
        self.scrape()

    @rule(target=living)
    def start(self) -> bytes:
        self.started += 1
        name = b"node-%d" % self.started
        self.nodes[name] = Node(next_beat=self.now)
        self.let_beat()
        self.scrape()
        return name

    @rule(seconds=st.floats(0.1, SCRAPE_EVERY))
    def wait_and_scrape(self, seconds: float) -> None:
        self.pass_time(seconds)
        self.scrape()

    @rule(rounds=st.integers(1, 5))
    def wait_long(self, rounds: int) -> None:
        for _ in range(rounds):
            self.wait_and_scrape(SCRAPE_EVERY)

    @rule()
    def wait_over_an_hour(self) -> None:
        """Only a node that is dead or lost can tell the difference, so nobody looks meanwhile but the probe."""
        for _ in range(25):
            self.pass_time(TTL * 5)
            self.scrape()

    @rule(name=consumes(living))
    def crash(self, name: bytes) -> None:
        self.nodes[name].alive = False
        self.nodes[name].died = self.now

    @rule(name=consumes(living), seen=st.sampled_from(["nothing", "between", "unsure"]))
    def stop_gracefully(self, name: bytes, seen: str) -> None:
        del self.nodes[name]
        already = self.states.get(name)  # offline, if it was misjudged
        self.heartbeats.pop(name, None)
        if seen == "between":
            self.scrape()
            assert self.states.get(name, State.GONE) in (State.ONLINE, State.UNDECIDED, State.GONE, already)
        elif seen == "unsure":
            self.scrape(meanwhile=lambda: self.hashes.discard(name))
            assert self.states.get(name, State.GONE) in (State.ONLINE, State.UNDECIDED, State.GONE, already)
        self.now += 0.004
        self.hashes.discard(name)
        self.scrape()
        assert self.states.get(name, State.GONE) in (State.GONE, State.UNDECIDED, already)

    @rule(name=living)
    def evict_heartbeat(self, name: bytes) -> None:
        self.heartbeats.pop(name, None)
        self.scrape()

    @rule(name=living)
    def evict_hash(self, name: bytes) -> None:
        self.hashes.discard(name)
        self.scrape()

    @rule(seconds=st.floats(0.1, 4.9))
    def hang_for_a_moment(self, seconds: float) -> None:
        """Writes wait as long, and are late by so much."""
        self.now += seconds
        self.let_beat()
        self.scrape()

    @rule(seconds=st.floats(5.1, 300))
    def hang(self, seconds: float) -> None:
        self.pass_time(seconds, down=True)
        self.fault()

    @rule(seconds=st.floats(0.1, 300))
    def restart_with_data(self, seconds: float) -> None:
        self.pass_time(seconds, down=True)
        self.run += 1
        self.fault()

    @rule(seconds=st.floats(0.1, 300))
    def restart_empty(self, seconds: float) -> None:
        self.pass_time(seconds, down=True)
        self.run += 1
        self.hashes, self.heartbeats = set(), {}
        self.fault()

    @rule()
    def save_a_dump(self) -> None:
        self.dump = set(self.hashes), dict(self.heartbeats)

    @precondition(lambda self: self.dump[0])
    @rule(seconds=st.floats(0.1, 300))
    def restart_from_the_dump(self, seconds: float) -> None:
        self.pass_time(seconds, down=True)
        self.run += 1
        self.hashes, self.heartbeats = set(self.dump[0]), dict(self.dump[1])
        self.fault()

    @rule(seconds=st.floats(0.1, 60))
    def fail_over(self, seconds: float) -> None:
        self.pass_time(seconds, down=True)
        self.role = "slave" if self.role == "master" else "master"
        self.fault()

    # --- what must hold --------------------------------------------------------------------

    @invariant()
    def no_living_node_is_called_dead(self) -> None:
        for name, node in self.nodes.items():
            if node.alive and not self.may_be_misjudged(name):
                assert self.states.get(name) not in (State.OFFLINE, State.FORGOTTEN), name

    @invariant()
    def every_dead_node_is_called_dead_in_time(self) -> None:
        for name, node in self.nodes.items():
            told = name in self.hashes or self.now < self.lost_at.get(name, float("-inf")) + REMEMBER_LOST
            if not node.alive and name in self.known and told:
                due = max(node.deadline, self.steady_since + GRACE, node.died + TTL) + 0.001
                decided = self.states.get(name) is State.OFFLINE or name in self.judge._rules.mass_loss.held
                assert self.now < due or decided, name

    @invariant()
    def memory_holds_nothing_of_nodes_that_are_gone(self) -> None:
        judge = self.judge
        memories = (judge._rules.heartbeats.names(), judge._rules.missing, judge._rules.lost)
        remembered: set[bytes] = set().union(*memories)
        assert remembered <= self.hashes | self.heartbeats.keys() | self.lost_at.keys()

    # --- how the world works ---------------------------------------------------------------

    @property
    def server(self) -> Server:
        return Server(f"run-{self.run}", self.role)

    def may_be_misjudged(self, name: bytes) -> bool:
        """Whether every one of its last beats fell into a fault: then it had its chance, and could not use it."""
        return self.nodes[name].missed >= 3

    def pass_time(self, seconds: float, *, down: bool = False) -> None:
        """Let nodes beat as time goes by, and the exporter's probe ask, unless Redis is down."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1.0)
            if down:
                for node in self.nodes.values():
                    while node.alive and node.next_beat <= self.now:
                        node.next_beat += BEAT
                        node.missed += 1
            else:
                self.let_beat()
                self.judge.observe(self.server, self.now)
        self.expire()

    def let_beat(self) -> None:
        for name, node in self.nodes.items():
            while node.alive and node.next_beat <= self.now:
                self.heartbeats[name] = node.deadline = self.now + TTL
                self.hashes.add(name)
                node.next_beat = self.now + BEAT
                node.missed = 0
        self.expire()

    def expire(self) -> None:
        self.heartbeats = {name: end for name, end in self.heartbeats.items() if end > self.now}

    def fault(self) -> None:
        """Redis is readable again after a fault: the first to know is the probe or a scrape."""
        self.expire()
        self.steady_since = self.now
        another = self.server.run_id != (self.judge.server or self.server).run_id
        for name in self.known:
            if another:
                self.lost_at.setdefault(name, self.now)
        self.judge.observe(self.server, self.now)
        self.scrape()

    def pair(self, name: bytes) -> Pair:
        end = self.heartbeats.get(name)
        return Pair(ttl=None if end is None else max(end - self.now, 0.001), fields={} if name in self.hashes else None)

    def scrape(self, meanwhile: Callable[[], Any] = lambda: None) -> None:
        """Discover, read, judge, and look a second time where the judge is unsure: what a fleet does."""
        self.expire()
        found = self.hashes | self.heartbeats.keys()
        names = tuple(sorted(found | self.found | set(self.judge.awaited(self.now))))
        self.found = found
        if names != self.names:
            self.names = names
            self.judge.observe(self.server, self.now)
            self.judge.keep(names)
        pairs: Mapping[bytes, Pair] = {name: self.pair(name) for name in self.names}
        verdicts = self.judge.judge(reading_of(pairs, self.now, self.server, self.names))
        meanwhile()
        if self.judge.undecided():  # the watch reads them with its next probe
            self.now += 0.02
            pairs = {name: self.pair(name) for name in self.names}
            verdicts = self.judge.judge(reading_of(pairs, self.now, self.server, self.names))
        self.states = dict(zip(self.names, verdicts.states, strict=True))
        self.note()

    def note(self) -> None:
        for name, state in self.states.items():
            if name in self.hashes or name in self.heartbeats or self.now >= self.lost_until(name):
                self.lost_at.pop(name, None)
            if state is State.GONE:
                self.known.discard(name)
            else:
                self.known.add(name)
        self.known &= self.states.keys()

    def lost_until(self, name: bytes) -> float:
        return self.lost_at.get(name, float("inf")) + REMEMBER_LOST


World.TestCase.settings = settings(max_examples=settings().max_examples * 6 // 10, stateful_step_count=30)
TestWorld = World.TestCase
