"""The table of nodes, and the rules that decide on them.

Each known node is in exactly one place: it beats (``living``), it does not (``absent``), or it has left (``left``). One
rule on looks: readings overlap, so a look counts for a node only if it began after the last one that counted ended.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

from exporter.liveness.chance import NEVER, Chances, Gap, News, chance
from exporter.liveness.changes import Absent, Change, Evidence, Kind, State, Verdicts
from exporter.liveness.mass_loss import Death, Loss, Thresholds, joined, named, together
from exporter.source.reading import MISSING, NO_EXPIRY, Reading

LOOK_AGAIN: Final = 0.02
"""Seconds until the second look at a node that was never seen alive, or whose heartbeat has no expiry."""
REMEMBER_LOST: Final = 3600.0
"""Seconds for which a node is remembered after Redis lost its keys."""
LATE: Final = 0.4
"""Remaining life of a heartbeat, as a share of a TTL, below which its node is late."""
HOLD: Final = 1.5
"""Longest time for which a death is held back, in beats."""

LOST, OVER = "lost together", "over"
BEATS, STOPPED = "its heartbeat lives", "its heartbeat and its hash were deleted"
SECOND_LOOK, HELD = "a second look decides", "its death may be part of a mass loss"
FIRST_LEDGER, WORK_MOVED = "the first ledger decides", "its work has moved"


class Rules(NamedTuple):
    """The settings of the judge. Times in seconds; None for never."""

    ttl: float
    beat: float
    forget_after: float | None = None
    forget_rehomed_after: float | None = None
    thresholds: Thresholds = Thresholds()


class Leftovers(NamedTuple):
    """What the plan and the loaded lists say of dead nodes.

    Attributes:
        needed: Nodes that must not be forgotten: the plan gives them a portfolio, or one that they list is untraded.
        rehomed: Nodes whose work has moved.
    """

    needed: frozenset[bytes] = frozenset()
    rehomed: frozenset[bytes] = frozenset()


@dataclass(slots=True, eq=False, weakref_slot=True)
class _Batch:
    """The last look at some nodes that are read together.

    A new look at the same nodes replaces the old one as a whole, so that a look at living nodes costs nothing for each.
    """

    names: Sequence[bytes]
    ttl: float
    elsewhere: set[int]
    """Positions of the nodes whose last living heartbeat is in another batch, and of those that do not beat."""
    asked: float = NEVER
    at: float = NEVER
    ttl_ms: Sequence[int] = ()
    beats: Sequence[bytes | None] = ()
    without_hash: frozenset[int] = frozenset()
    first: float = NEVER
    """When the first heartbeat ends, or earlier."""

    def take(self, reading: Reading) -> None:
        """Replace the last look by this one."""
        self.asked, self.at, self.ttl_ms, self.beats = reading.asked, reading.at, reading.ttl_ms, reading.beats
        self.without_hash = reading.without_hash
        least = min((ms for ms in self.ttl_ms if ms > 0), default=0) if self.elsewhere else min(self.ttl_ms, default=0)
        self.first = self.at + min(least / 1000, self.ttl)

    def end(self, position: int) -> float:
        """Return when a heartbeat ends. A node whose heartbeat lives longer than a TTL is read again before."""
        return self.at + min(self.ttl_ms[position] / 1000, self.ttl)

    def ending(self, by: float) -> Iterator[tuple[float, bytes]]:
        """Yield the nodes of this batch whose heartbeats end by a moment, each with that end."""
        for position, name in enumerate(self.names) if self.first <= by else ():
            if position not in self.elsewhere and (end := self.end(position)) <= by:
                yield end, name


@dataclass(slots=True)
class _Node:
    """A node that does not beat, or whose primary cannot be read. Times are monotonic seconds.

    Attributes:
        name: Its id.
        change: Its last change, which says its state.
        text: What its last heartbeat said; None if no heartbeat was ever seen.
        end: When that heartbeat ended, or will; ``NEVER`` if none was ever seen.
        seen: When the last look began that showed a key of it on the data of then.
        stamp: When the last look ended that counted for it.
        looked: When that look began.
        ttl_ms: The PTTL that it showed; None if the primary could not be read.
        hashed: Whether it showed the hash.
        first: When the first look began that missed its heartbeat; None before.
        since: Since when its chance counts.
        shaken: Whether it needs a TTL and a beat of chance, whatever gaps follow.
        endless: Since when looks show a heartbeat without expiry; None if the last look did not.
        lost: When it was first missing on other data; None if it is not.
        why: Why it has its state, as far as is known now.
        gap: The last gap that may excuse it, if it is undecided.
        until: When it can be called dead if it does not beat; None if that is unknown.
        due: When its death was first seen; None if it was not, or if it is excused again.
        died: When it died, once that is seen.
        exact: Whether that is the end of its heartbeat.
        remembered: Whether an earlier run of the exporter left it offline.
    """

    name: bytes
    change: Change
    text: bytes | None = None
    end: float = NEVER
    seen: float = NEVER
    stamp: float = NEVER
    looked: float = NEVER
    ttl_ms: int | None = None
    hashed: bool | None = None
    first: float | None = None
    since: float = NEVER
    shaken: bool = False
    endless: float | None = None
    lost: float | None = None
    why: str = ""
    gap: Gap | None = None
    until: float | None = None
    due: float | None = None
    died: float = NEVER
    exact: bool = False
    remembered: bool = False

    @property
    def state(self) -> State:
        """The state; of a node that nobody has judged yet, ``GONE``."""
        return State(self.change.after)

    @property
    def dead(self) -> bool:
        """Whether it is declared dead."""
        return self.change.died is not None

    @property
    def shown(self) -> Absent:
        """What others may know of it."""
        end = None if self.end == NEVER else self.end
        return Absent(self.change, self.text, end, self.why, self.gap, self.until, self.looked)


class Table:
    """All nodes, and the change log. The judge's lock guards it.

    Args:
        rules: The settings.
        earlier: The last changes of the nodes that earlier runs of the exporter left offline or forgotten.

    Attributes:
        chances: When each Redis gave nodes a chance.
        living: The nodes that beat: the batch and the position of each.
        absent: The nodes that do not.
        left: The nodes that have left: when the look ended that showed it.
        counts: How many nodes are in each state.
        members: How many members each mass loss has.
        log: The changes that nobody has taken yet.
        leftovers: What was last known of dead nodes; None before the first ledger.
    """

    def __init__(self, rules: Rules, earlier: Iterable[Change] = ()) -> None:
        self.rules, self.chances = rules, Chances(rules.ttl, rules.beat)
        self.living: dict[bytes, tuple[_Batch, int]] = {}
        self.absent: dict[bytes, _Node] = {}
        self.left: dict[bytes, float] = {}
        self.counts: Counter[State] = Counter()
        self.members: Counter[Loss] = Counter()
        self.log: list[Change] = []
        self.leftovers: Leftovers | None = None
        self._earlier = {change.name: change for change in earlier}
        self._due: dict[bytes, _Node] = {}  # nodes that are dead, and not declared so yet
        self._grace = rules.ttl + rules.beat
        # By the identity of the names, which a batch keeps alive. A batch that no node is in is garbage-collected.
        self._batches: WeakValueDictionary[int, _Batch] = WeakValueDictionary()

    # --- looks ------------------------------------------------------------------------------------

    def look(self, reading: Reading) -> Verdicts:
        """Record a look at some nodes, or at none, and return their states."""
        self.tell(self.chances.look(reading.server, reading.at, self.names), reading.asked)
        self._end_refusals(reading)
        names, unread, missing = reading.names, reading.unread, set(reading.unread)
        if min(reading.ttl_ms, default=1) <= 0:
            missing.update(position for position, ms in enumerate(reading.ttl_ms) if ms <= 0)
        for position in sorted(missing):
            self._miss(reading, position)
        batch = self._take_living(reading, missing)
        self._rule(reading.asked)
        states, absent = [State.ONLINE] * len(names), {}
        for position in sorted(batch.elsewhere):
            if node := self.absent.get(names[position]):
                states[position] = State.UNDECIDED if position in unread else node.state
                absent[node.name] = node.shown
            elif names[position] not in self.living:
                states[position] = State.GONE
        return Verdicts(states, absent)

    def _end_refusals(self, reading: Reading) -> None:
        """Let the beats of a reading end the refusals that were seen before them."""
        if any(each.refused_since is not None for each in self.chances.each.values()):
            for name, ms in zip(reading.names, reading.ttl_ms, strict=True):
                for holder in self.chances.of(name)[-1:] if ms > 0 else ():
                    holder.beat(reading.asked - self.rules.ttl + min(ms / 1000, self.rules.ttl))

    def _take_living(self, reading: Reading, missing: Collection[int]) -> _Batch:
        """Record the living heartbeats of a reading, and return its batch."""
        names = reading.names
        batch = self._batches.get(id(names))
        if batch is None or batch.at > reading.asked:
            batch = self._batches[id(names)] = _Batch(names, self.rules.ttl, set(range(len(names))))
        batch.take(reading)
        for position in sorted(batch.elsewhere.difference(missing)):
            name = names[position]
            node, (known, there) = self.absent.get(name), self.living.get(name, (None, 0))
            stamp = node.stamp if node else known.at if known else self.left.get(name, NEVER)
            if stamp > reading.asked:
                continue
            if known:
                known.elsewhere.add(there)
            self.living[name] = batch, position
            batch.elsewhere.discard(position)
            if known is None:
                self.left.pop(name, None)
                self._earlier.pop(name, None)
                self._arrive(node or _Node(name, _unknown(name)), reading, position, batch.end(position))
        return batch

    def _arrive(self, node: _Node, reading: Reading, position: int, end: float) -> None:
        """Record that a node beats that did not, or was unknown."""
        node.ttl_ms, node.hashed = reading.ttl_ms[position], position not in reading.without_hash
        node.text, node.end = reading.beats[position], end
        if node.state is not State.ONLINE:
            self._change(node, State.ONLINE, reading.asked, BEATS)
        self.absent.pop(node.name, None)
        self._due.pop(node.name, None)

    # --- one node ---------------------------------------------------------------------------------

    def _miss(self, reading: Reading, position: int) -> None:
        """Judge a node of which a reading shows no living heartbeat."""
        name, ms, asked = reading.names[position], reading.ttl_ms[position], reading.asked
        unread, hashed = position in reading.unread, position not in reading.without_hash
        node = self.absent.get(name) or self._first_missed(name, asked, known=unread or hashed or ms == NO_EXPIRY)
        if node is None or node.stamp > asked:
            return
        self.absent[name] = node
        if unread:
            node.ttl_ms = node.hashed = None
        else:
            node.stamp, node.looked, node.ttl_ms, node.hashed = reading.at, asked, ms, hashed
            if hashed or ms == NO_EXPIRY:
                node.seen, node.lost = asked, None
            elif node.seen < self.chances.changed(name) and node.lost is None:
                node.lost = asked
            node.endless = None if ms != NO_EXPIRY else asked if node.endless is None else node.endless
            if node.first is None:
                self._start_chance(node, asked)
        state, node.why = self._decide(node, asked)
        if state is State.GONE:
            self._leave(node, asked, node.why)
        elif node.dead:
            self._let_go(node, asked)
        elif state is State.OFFLINE:
            if node.due is None:
                node.due, self._due[name] = asked, node
                # A heartbeat that ended long before this look may have been renewed in between.
                node.exact = node.state is State.ONLINE and node.end <= asked <= node.end + self.rules.ttl
                node.died = node.end if node.exact else asked
        else:
            node.due = None
            self._due.pop(name, None)
            if node.state is not state:
                self._change(node, state, asked, node.why)

    def _decide(self, node: _Node, asked: float) -> tuple[State, str]:
        """Return the state of a node without a living heartbeat, and why: all rules on nodes, in their order."""
        gaps = () if node.dead else self.chances.gaps(node.name)
        node.gap = max(gaps, key=lambda gap: gap.end, default=None)
        node.until = None
        # 1. Of a node whose primary cannot be read nothing is known.
        if node.ttl_ms is None:
            return (node.state, node.change.why) if node.dead else (State.UNDECIDED, "its primary cannot be read")
        # 2. Without keys it has stopped, unless Redis lost them: then it is remembered for an hour.
        if not node.hashed and node.ttl_ms == MISSING:
            if node.lost is None:
                return State.GONE, STOPPED
            if asked - node.lost >= REMEMBER_LOST:
                return State.GONE, "Redis lost its keys, and it has not beaten for an hour since"
        # 3. A dead node stays dead until it beats.
        if node.dead:
            return node.state, node.change.why
        # 4. A heartbeat without expiry proves no life. A key that changes its type during a look shows like one.
        if node.endless is not None:
            node.until = node.endless + LOOK_AGAIN
            return (State.OFFLINE, "its heartbeat never expires") if asked >= node.until else (State.UNDECIDED, SECOND_LOOK)
        # 5. It needs a TTL of chance since its last beat; and a beat more if a gap followed that.
        shaken = node.shaken or any(gap.end > node.since for gap in gaps)
        never_seen = node.end == NEVER
        needed = self._grace if shaken else 0.0 if never_seen else self.rules.ttl
        left = needed - chance(gaps, node.since, asked)
        if left > 0:
            lasts = shaken and node.gap is not None and node.gap.end >= self.chances.at
            node.until = None if lasts else asked + left
            if shaken:
                return State.UNDECIDED, node.gap.why if node.gap else "a gap"
            return State.ONLINE, "its heartbeat was deleted early"
        # 6. A node that nobody has seen alive is looked at twice.
        if never_seen and asked - (node.first or 0.0) < LOOK_AGAIN:
            node.until = asked + LOOK_AGAIN
            return State.UNDECIDED, SECOND_LOOK
        if never_seen:
            return State.OFFLINE, "it has a hash and no heartbeat"
        return State.OFFLINE, "it did not beat although Redis gave it the time" if shaken else "its heartbeat ended"

    def _first_missed(self, name: bytes, asked: float, *, known: bool) -> _Node | None:
        """Return the record of a node that was not missing before; None if more is known of it, or nothing."""
        if place := self.living.get(name):
            batch, position = place
            if batch.at > asked:
                return None
            del self.living[name]
            batch.elsewhere.add(position)
            node = _Node(name, Change(name, None, State.ONLINE, batch.asked, BEATS), batch.beats[position])
            node.end, node.stamp = batch.end(position), batch.at
            # A heartbeat alone shows only that the node beat on the data of then.
            node.seen = min(batch.asked, node.end - self.rules.ttl) if position in batch.without_hash else batch.asked
            return node
        if not known or self.left.pop(name, NEVER) > asked:
            return None
        earlier = self._earlier.pop(name, None)
        if earlier is None:
            return _Node(name, _unknown(name))
        # A clock that was set back meanwhile must not make the node die in the future.
        loss = earlier.loss and next((each for each in self.members if each.name == earlier.loss.name), earlier.loss)
        change = earlier._replace(died=min(asked if earlier.died is None else earlier.died, asked), loss=loss)
        node = _Node(name, change, earlier.evidence.text, remembered=True)
        node.end = NEVER if earlier.evidence.end is None else earlier.evidence.end
        self._count(change, 1)
        return node

    def _start_chance(self, node: _Node, asked: float) -> None:
        """Record since when the chance of a node counts that is missed for the first time.

        It counts from its last beat. But if nobody read the node between the end of that heartbeat and a later gap, it
        may have beaten until the gap; on the same data it has not within the last TTL, or its heartbeat would be there.
        A node that was never seen has its chance from the last gap on.
        """
        node.first, gaps = asked, self.chances.gaps(node.name)
        if node.end == NEVER:
            node.since, node.shaken = max((gap.start for gap in gaps), default=asked), bool(gaps)
            return
        last = asked - self.rules.ttl if node.seen >= self.chances.changed(node.name) else asked
        beat = node.end - self.rules.ttl
        node.since = max([beat, *(min(gap.start, last) for gap in gaps if gap.start > node.end)])
        node.shaken = node.since > beat

    # --- deaths -----------------------------------------------------------------------------------

    def _rule(self, now: float) -> None:
        """Declare the deaths that are due, each by itself or as part of a mass loss; or hold them back."""
        if not self._due:
            return
        rules, online = self.rules, (State.ONLINE, State.UNDECIDED)
        due = sorted(Death(node.died, node.end, name) for name, node in self._due.items())
        told = [self._told(node) for node in self.absent.values() if self._counts(node, now)]
        alive = sum(self.counts[state] for state in online)
        lost = together([*due, *told], alive, rules.ttl, rules.thresholds)
        may_be = together([*due, *told, *self._late(now)], alive, rules.ttl, rules.thresholds)
        for death in due:
            node, loss = self._due[death.name], None
            if node.end > NEVER:  # what was never seen alive is part of no loss
                loss = joined(death, self.members, rules.ttl)
                if loss is None and death.name in lost:
                    group = [each for each in due if each.name in lost and 0 <= each.died - death.died <= rules.ttl]
                    loss = named(group, {each.name for each in self.members})
                    self._tell_loss(loss, None, LOST, now)
                if loss is None and death.name in may_be and now - (node.due or now) < HOLD * rules.beat:
                    node.why = HELD
                    if node.state is not State.UNDECIDED:
                        self._change(node, State.UNDECIDED, now, HELD)
                    continue
            del self._due[death.name]
            self._declare(node, now, loss)

    def _declare(self, node: _Node, now: float, loss: Loss | None) -> None:
        self._change(node, State.OFFLINE, now, node.why, died=node.died, exact=node.exact, loss=loss)
        self._let_go(node, now)

    def _late(self, now: float) -> Iterator[Death]:
        """Yield the deaths that would follow if all nodes beat no more that are late now.

        A node whose heartbeat should have ended is one of them, whether a look missed it or not yet. A node whose primary
        cannot be read is none: it does not die at its deadline.
        """
        soon = now + LATE * self.rules.ttl
        for end, name in self.ending(soon):
            if self.chances.answer(name):
                yield Death(end, end, name)
        for name, node in self.absent.items():
            if not node.dead and node.due is None and node.end > NEVER and node.until is not None and node.until < soon:
                yield Death(max(node.until, node.end), node.end, name)

    @property
    def deaths_held(self) -> bool:
        """Whether a death is held back."""
        return bool(self._due)

    def ending(self, by: float) -> Iterator[tuple[float, bytes]]:
        """Yield the nodes that beat and whose heartbeats end by a moment, each with that end."""
        for batch in tuple(self._batches.values()):
            yield from batch.ending(by)

    def _counts(self, node: _Node, now: float) -> bool:
        """Return whether a death of its own that was told before counts towards a mass loss now."""
        change = node.change
        alone = change.after is State.OFFLINE and change.loss is None and not node.remembered and node.end > NEVER
        return alone and change.died is not None and change.died > now - 2 * self.rules.ttl

    def _told(self, node: _Node) -> Death:
        return Death(node.change.died or NEVER, node.end, node.name, told=True)

    # --- letting go -------------------------------------------------------------------------------

    def let_go(self, leftovers: Leftovers | None, at: float) -> bool:
        """Record what plan and lists say of dead nodes, and forget those that may be.

        Args:
            leftovers: What they say; None if there is neither, so that what they said before still counts.
            at: When that was read.

        Returns:
            Whether a state of the read that the ledger was made of is outdated.
        """
        first = self.leftovers is None
        self.leftovers = leftovers or self.leftovers or Leftovers()
        changed = [self._let_go(node, at, first=first) for node in self.absent.values() if node.dead]
        return first and any(changed)

    def _let_go(self, node: _Node, now: float, *, first: bool = False) -> bool:
        """Forget a dead node, or show it again; return whether that is a change."""
        why = self._why_forgotten(node, now, first=first)
        state = State.FORGOTTEN if why else State.OFFLINE
        if state is node.state:
            return False
        why = why or ("it is needed again" if node.change.why != FIRST_LEDGER else "it has a hash and no heartbeat")
        node.why = why
        change = node.change
        self._change(node, state, now, why, died=change.died, exact=change.exact)
        return True

    def _why_forgotten(self, node: _Node, now: float, *, first: bool) -> str:
        """Return why a dead node is only counted; empty if it is not."""
        rules, known, change = self.rules, self.leftovers or Leftovers(), node.change
        forgotten, offline = node.state is State.FORGOTTEN, now - (change.died or now)
        never_seen = node.end == NEVER and not node.remembered
        if self.leftovers is None and node.remembered:
            return change.why if forgotten else ""  # before the first ledger it may be needed
        if node.name in known.needed:
            return ""
        if rules.forget_rehomed_after is not None:
            at_once = change.loss is not None or (first and never_seen)
            if node.name in known.rehomed and (at_once or offline > rules.forget_rehomed_after):
                return WORK_MOVED
            if self.leftovers is None and never_seen and offline < self._grace:
                return FIRST_LEDGER
        if rules.forget_after is not None and offline > rules.forget_after:
            return "it is offline for longer than --nodes.forget-after"
        return change.why if forgotten and change.why != FIRST_LEDGER else ""

    def keep(self, names: Collection[bytes], found: Collection[bytes], since: float) -> None:
        """Drop what discovery shows to be over.

        Args:
            names: The nodes that are read from now on; all others leave.
            found: The nodes of which a scan found keys: their data are not lost.
            since: When that scan began.
        """
        self.left = {name: stamp for name, stamp in self.left.items() if stamp > since}
        for name, node in [(name, node) for name, node in self.absent.items() if node.lost is not None]:
            if name in found and self.chances.changed(name) < since:
                node.lost, node.seen = None, since
        for name in self.names().difference(names):
            if node := self.absent.get(name) or self._first_missed(name, since, known=False):
                self._leave(node, since, "it is not read any more")

    def names(self) -> set[bytes]:
        """Return all nodes that have not left."""
        return self.living.keys() | self.absent.keys()

    # --- changes ----------------------------------------------------------------------------------

    def tell(self, news: Iterable[News], at: float) -> None:
        """Append changes of Redis to the log."""
        for new in news:
            each = self.chances.each.get(new.address)
            server = each.server if each else None
            evidence = Evidence(gap=new.gap, run_id=server.run_id if server else "", role=server.role if server else "")
            change = Change(new.address.encode(), new.before, new.after, at, new.why, evidence=evidence, kind=Kind.REDIS)
            self.log.append(change)

    def _tell_loss(self, loss: Loss, before: str | None, after: str, at: float) -> None:
        self.log.append(Change(loss.name, before, after, at, loss=loss, kind=Kind.MASS_LOSS))

    def _leave(self, node: _Node, at: float, why: str) -> None:
        """Let a node go that has stopped; an older look may still come late."""
        self._change(node, State.GONE, at, why)
        self.absent.pop(node.name, None)
        self._due.pop(node.name, None)
        self.left[node.name] = node.stamp
        self.chances.drop(node.name)

    def _change(  # noqa: PLR0913 - the parts of a change
        self,
        node: _Node,
        after: State,
        at: float,
        why: str,
        *,
        died: float | None = None,
        exact: bool = False,
        loss: Loss | None = None,
    ) -> None:
        """Change a node's state, and append that with its evidence to the log."""
        before, holder = node.change, next(iter(self.chances.of(node.name)[-1:]), None)
        server, end = holder and holder.server, None if node.end == NEVER else node.end
        evidence = Evidence(
            node.ttl_ms,
            node.hashed,
            node.text,
            end,
            node.gap,
            server.run_id if server else "",
            server.role if server else "",
        )
        known = None if before.at == NEVER else before.after
        node.change = Change(node.name, known, after, at, why, died, exact, loss, evidence)
        self.log.append(node.change)
        self._count(node.change, 1)
        self._count(before, -1)

    def _count(self, change: Change, number: int) -> None:
        """Count a node's state and its mass loss, or no longer."""
        if change.at > NEVER and change.after is not State.GONE:
            self.counts[State(change.after)] += number
        if change.loss:
            self.members[change.loss] += number
            if not self.members[change.loss]:
                del self.members[change.loss]
                self._tell_loss(change.loss, LOST, OVER, self.log[-1].at)


def _unknown(name: bytes) -> Change:
    return Change(name, None, State.GONE, NEVER)
