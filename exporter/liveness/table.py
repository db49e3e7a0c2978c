"""The table of nodes, and the rules that decide on them.

Each known node is in exactly one place: it beats (``living``), or it does not (``absent``). One rule on looks: readings
overlap, so a look counts for a node only if it began after the last one that counted ended. All times are monotonic
seconds.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

from exporter.liveness.chance import Chances, chance
from exporter.liveness.changes import NEVER, Absent, Change, Evidence, Gap, Kind, State, Verdicts
from exporter.liveness.mass_loss import Death, Loss, Thresholds, joined, named, together
from exporter.source.reading import MISSING, NO_EXPIRY, Reading, Server

LOOK_AGAIN: Final = 0.02
"""Seconds until the second look at a node that was never seen alive, or whose heartbeat has no expiry."""
REMEMBER_LOST: Final = 3600.0
"""Seconds for which a node is remembered after Redis lost its keys."""
LATE: Final = 0.4
"""Remaining life of a heartbeat, as a share of a TTL, below which its node is late."""
HOLD: Final = 1.5
"""Longest time for which a death is held back, in beats."""

BEATS, ENDED, HASH_ALONE = "its heartbeat lives", "its heartbeat ended", "it has a hash and no heartbeat"
HELD: Final = "its death may be part of a mass loss"
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

    Attributes:
        ttl: Seconds that a heartbeat lives.
        last: The look, without the values.
        elsewhere: Positions of the nodes whose last living heartbeat is in another batch, or that do not beat.
        first: When the first heartbeat ends, or earlier.
    """

    ttl: float
    last: Reading
    elsewhere: set[int]
    first: float = NEVER

    def take(self, reading: Reading, least: int) -> None:
        """Replace the last look by this one, of which ``least`` is the lowest PTTL."""
        times = reading.asked, reading.at, reading.wall
        self.last = Reading(
            *times, reading.server, reading.names, (), reading.ttl_ms, reading.beats, reading.without_hash
        )
        least = min((ms for ms in reading.ttl_ms if ms > 0), default=0) if least <= 0 else least
        self.first = reading.at + min(least / 1000, self.ttl)

    def end(self, position: int) -> float:
        """Return when a heartbeat ends. A node whose heartbeat lives longer than a TTL is read again before."""
        return self.last.at + min(self.last.ttl_ms[position] / 1000, self.ttl)

    def ending(self, by: float) -> Iterator[Death]:
        """Yield what would be the deaths of the nodes whose heartbeats end by a moment."""
        for position, name in enumerate(self.last.names) if self.first <= by else ():
            if position not in self.elsewhere and (end := self.end(position)) <= by:
                yield Death(end, end, name)


@dataclass(slots=True)
class _Node:
    """A node that does not beat, or whose primary cannot be read.

    Attributes:
        shown: What others may know of it.
        seen: When the last look began that showed a key of it on the data of then.
        ttl_ms: The PTTL that the last look showed; None if the primary could not be read.
        hashed: Whether that look showed the hash.
        since: Since when its chance counts; None until a look has missed its heartbeat.
        shaken: Whether it needs a TTL and a beat of chance, whatever gaps follow.
        lost: When it was first missing on other data; None if it is not.
        known: Whether an earlier run of the exporter knew it.
    """

    shown: Absent
    seen: float = NEVER
    ttl_ms: int | None = None
    hashed: bool | None = None
    since: float | None = None
    shaken: bool = False
    lost: float | None = None
    known: bool = False

    @property
    def name(self) -> bytes:
        """Its id."""
        return self.shown.change.name

    @property
    def state(self) -> State:
        """The state; of a node that nobody has judged yet, ``GONE``."""
        return State(self.shown.change.after)

    @property
    def end(self) -> float:
        """When its last heartbeat ended, or will; ``NEVER`` if none was ever seen."""
        return NEVER if self.shown.end is None else self.shown.end

    @property
    def died(self) -> float:
        """When it died; ``NEVER`` if it is not declared dead."""
        return NEVER if self.shown.change.died is None else self.shown.change.died

    @property
    def dead(self) -> bool:
        """Whether it is declared dead."""
        return self.died > NEVER


class Table:
    """All nodes, and the change log. The judge's lock guards it.

    Args:
        rules: The settings.
        earlier: The last changes of the nodes that an earlier run of the exporter knew.

    Attributes:
        chances: When each Redis gave nodes a chance.
        living: The nodes that beat: the batch and the position of each.
        absent: The nodes that do not.
        due: The deaths that are held back, and since when.
        losses: The mass losses that have members.
        log: The changes that nobody has taken yet.
        leftovers: What was last known of dead nodes; None before the first ledger.
    """

    def __init__(self, rules: Rules, earlier: Iterable[Change] = ()) -> None:
        self.rules, self.chances = rules, Chances(rules.ttl, rules.beat)
        self.living: dict[bytes, tuple[_Batch, int]] = {}
        self.absent: dict[bytes, _Node] = {}
        self.due: dict[bytes, tuple[Death, float]] = {}
        self.losses: set[Loss] = set()
        self.log: list[Change] = []
        self.leftovers: Leftovers | None = None
        self._earlier = {change.name: change for change in earlier}
        self._grace = rules.ttl + rules.beat
        # By the identity of the names, which a batch keeps alive. A batch that no node is in is garbage-collected.
        self._batches: WeakValueDictionary[int, _Batch] = WeakValueDictionary()

    # --- looks ------------------------------------------------------------------------------------

    def look(self, reading: Reading) -> Verdicts:
        """Record a look at some nodes, or at none, and return their states."""
        self.log += self.chances.look(reading.server, reading.at, self.names)
        self._end_refusals(reading)
        names, missing, least = reading.names, set(reading.unread), min(reading.ttl_ms, default=1)
        if least <= 0:
            missing.update(position for position, ms in enumerate(reading.ttl_ms) if ms <= 0)
        for position in sorted(missing):
            self._miss(reading, position)
        batch = self._take_living(reading, missing, least)
        self._rule(reading.asked)
        self._end_losses(reading.asked)
        states, absent = [State.ONLINE] * len(names), {}
        for position in sorted(batch.elsewhere):
            if (name := names[position]) not in self.living:
                node = self.absent.get(name) or _unknown(name)
                states[position] = State.UNDECIDED if position in reading.unread else node.state
                absent[position] = node.shown
        return Verdicts(states, absent)

    def _end_refusals(self, reading: Reading) -> None:
        """Let the beats of a reading end the refusals that were seen before them."""
        if any(each.refused_since is not None for each in self.chances.each.values()):
            for name, ms in zip(reading.names, reading.ttl_ms, strict=True):
                for holder in self.chances.of(name)[-1:] if ms > 0 else ():
                    holder.beat(reading.asked - self.rules.ttl + min(ms / 1000, self.rules.ttl))

    def _take_living(self, reading: Reading, missing: Collection[int], least: int) -> _Batch:
        """Record the living heartbeats of a reading, and return its batch."""
        names, asked = reading.names, reading.asked
        batch = self._batches.get(id(names))
        if batch is None or batch.last.at > asked:
            batch = self._batches[id(names)] = _Batch(self.rules.ttl, reading, set(range(len(names))))
        batch.take(reading, least)
        for position in sorted(batch.elsewhere.difference(missing)):
            name = names[position]
            node, (known, there) = self.absent.get(name), self.living.get(name, (None, 0))
            if (node.shown.looked if node else known.last.at if known else NEVER) > asked:
                continue
            self.living[name] = batch, position
            batch.elsewhere.discard(position)
            if known:
                known.elsewhere.add(there)
                continue
            for left in (self.absent, self.due, self._earlier):
                left.pop(name, None)
            before = None if node is None or node.shown.change.at == NEVER else node.state
            if before is not State.ONLINE:
                ms, hashed = reading.ttl_ms[position], position not in reading.without_hash
                evidence = self._evidence(name, ms, hashed, reading.beats[position], batch.end(position))
                self.log.append(Change(name, before, State.ONLINE, asked, BEATS, evidence=evidence))
        return batch

    # --- one node ---------------------------------------------------------------------------------

    def _miss(self, reading: Reading, position: int) -> None:
        """Judge a node of which a reading shows no living heartbeat."""
        name, ms, asked = reading.names[position], reading.ttl_ms[position], reading.asked
        unread, hashed = position in reading.unread, position not in reading.without_hash
        node = self.absent.get(name) or self._first_missed(name, asked, known=unread or hashed or ms == NO_EXPIRY)
        if node is None or node.shown.looked > asked:
            return
        self.absent[name] = node
        gaps = () if node.dead else self.chances.gaps(name)
        again = node.ttl_ms == ms and asked - node.shown.looked >= LOOK_AGAIN
        node.ttl_ms, node.hashed = (None, None) if unread else (ms, hashed)
        node.shown = node.shown._replace(gap=max(gaps, key=lambda gap: gap.end, default=None))
        if not unread:
            changed = self.chances.changed(name)
            if node.since is None:
                self._start_chance(node, gaps, asked, same=node.seen >= changed)
            if hashed or ms == NO_EXPIRY:
                node.seen, node.lost = asked, None
            elif node.seen < changed and node.lost is None:
                node.lost = asked
            node.shown = node.shown._replace(looked=reading.at)
        state, why, until = self._decide(node, gaps, asked, again=again)
        node.shown = node.shown._replace(why=why, until=until)
        if node.dead and state is not State.GONE:
            self._let_go(node, asked)
        elif state is State.OFFLINE:
            # A heartbeat that ended long before this look may have been renewed in between.
            exact = node.state is State.ONLINE and node.end <= asked <= node.end + self.rules.ttl
            self.due.setdefault(name, (Death(node.end if exact else asked, node.end, name), asked))
        else:
            self.due.pop(name, None)
            self._change(node, state, asked, why)

    def _decide(  # noqa: PLR0911 - a table of rules
        self, node: _Node, gaps: Collection[Gap], asked: float, *, again: bool
    ) -> tuple[State, str, float | None]:
        """Return the state of a node without a living heartbeat: all rules on nodes, in their order.

        Args:
            node: The node.
            gaps: The times without chance that may excuse it.
            asked: When the look began.
            again: Whether the look before showed the same, and was long enough ago.

        Returns:
            The state, why, and when the node can be called dead if it does not beat.
        """
        # 1. A dead node stays dead until it beats, or has left.
        kept = (node.state, node.shown.change.why, None)
        # 2. Of a node whose primary cannot be read nothing is known.
        if node.ttl_ms is None or node.since is None:
            return kept if node.dead else (State.UNDECIDED, "its primary cannot be read", None)
        # 3. Without keys it has left, unless Redis lost them: then it is remembered for an hour.
        if not node.hashed and node.ttl_ms == MISSING:
            if node.lost is None:
                return State.GONE, "its heartbeat and its hash were deleted", None
            if asked - node.lost >= REMEMBER_LOST:
                return State.GONE, "Redis lost its keys, and it has not beaten for an hour since", None
        if node.dead:
            return kept
        # 4. A heartbeat without expiry proves no life. A key that changes its type during a look shows like one.
        second_look = (State.UNDECIDED, "a second look decides", asked + LOOK_AGAIN)
        if node.ttl_ms == NO_EXPIRY:
            return (State.OFFLINE, "its heartbeat never expires", None) if again else second_look
        # 5. It needs a TTL of chance since its last beat, and a beat more if a gap followed that.
        shaken, never_seen = node.shaken or any(gap.end > node.since for gap in gaps), node.end == NEVER
        needed = self._grace if shaken else LOOK_AGAIN if never_seen else self.rules.ttl
        left = needed - chance(gaps, node.since, asked)
        if left > 0 and shaken:
            last = node.shown.gap or Gap(node.since, node.since, "a gap")
            return State.UNDECIDED, last.why, None if last.end >= self.chances.at else asked + left
        # 6. Before its deadline a deleted heartbeat is the first half of a graceful stop.
        if left > 0:
            return second_look if never_seen else (State.ONLINE, "its heartbeat was deleted early", asked + left)
        ended = ENDED if node.state is State.ONLINE else "it did not beat although Redis gave it the time"
        return State.OFFLINE, HASH_ALONE if never_seen else ended, None

    def _first_missed(self, name: bytes, asked: float, *, known: bool) -> _Node | None:
        """Return the record of a node that was not missing before; None if more is known of it, or nothing."""
        batch, position = self.living.get(name, (None, 0))
        if batch and batch.last.at <= asked:
            del self.living[name]
            batch.elsewhere.add(position)
            last, end = batch.last, batch.end(position)
            change = Change(name, None, State.ONLINE, last.asked, BEATS)
            # A heartbeat alone shows only that the node beat on the data of then.
            seen = min(last.asked, end - self.rules.ttl) if position in last.without_hash else last.asked
            return _Node(Absent(change, last.beats[position], end, looked=last.at), seen)
        if batch or not known:
            return None
        earlier = self._earlier.pop(name, None)
        if earlier is None or earlier.died is None:
            return _unknown(name, known=earlier is not None)
        self.losses |= {earlier.loss} if earlier.loss else set()
        # A clock that was set back meanwhile must not make the node die in the future.
        change = earlier._replace(died=min(earlier.died, asked))
        return _Node(Absent(change, change.evidence.text, change.evidence.end), known=True)

    def _start_chance(self, node: _Node, gaps: Collection[Gap], asked: float, *, same: bool) -> None:
        """Record since when the chance of a node counts whose heartbeat a look misses for the first time.

        It counts from its last beat. But if nobody read the node between the end of that heartbeat and a later gap, it
        may have beaten until the gap; on the ``same`` data it has not within the last TTL, or its heartbeat would be
        there. A node that was never seen alive has its chance from the last gap on.
        """
        if node.end == NEVER:
            node.since, node.shaken = max((gap.start for gap in gaps), default=asked), bool(gaps)
            return
        beat, last = node.end - self.rules.ttl, asked - self.rules.ttl if same else asked
        node.since = max([beat, *(min(gap.start, last) for gap in gaps if chance(gaps, node.end, gap.start) > 0)])
        node.shaken = node.since > beat

    # --- deaths -----------------------------------------------------------------------------------

    def ending(self, by: float) -> Iterator[Death]:
        """Yield what would be the deaths of the nodes that beat and whose heartbeats end by a moment."""
        for batch in tuple(self._batches.values()):
            yield from batch.ending(by)

    def _rule(self, now: float) -> None:
        """Declare the deaths that are due, each by itself or as part of a mass loss; or hold them back."""
        if not self.due:
            return
        rules, due = self.rules, sorted(death for death, _ in self.due.values())
        dead = [node for node in self.absent.values() if node.dead]
        told = [Death(node.died, node.end, node.name, told=True) for node in dead if self._counts(node, now)]
        seen = [death for death in due if death.end > NEVER]  # what was never seen alive is part of no loss
        known, alive = [*seen, *told], len(self.living) + len(self.absent) - len(dead)
        late = list(self._late(now))
        lost, may_be = self._lost(known, alive), self._lost([*known, *late], alive)
        for death in due:
            node, (_, since), loss = self.absent[death.name], self.due[death.name], None
            if death.end > NEVER:
                loss = joined(death, self.losses, rules.ttl)
                if loss is None and death.name in lost:
                    group = [each for each in seen if each.name in lost and 0 <= each.died - death.died <= rules.ttl]
                    loss = named(group, {each.name for each in self.losses})
                    self.losses.add(loss)
                    lost, may_be = self._lost(known, alive), self._lost([*known, *late], alive)
                    self.log.append(Change(loss.name, None, "lost together", now, loss=loss, kind=Kind.MASS_LOSS))
                if loss is None and death.name in may_be and now - since < HOLD * rules.beat:
                    node.shown = node.shown._replace(why=HELD)
                    self._change(node, State.UNDECIDED, now, HELD)
                    continue
            del self.due[death.name]
            self._declare(node, now, node.shown.why, death.died, loss)

    def _lost(self, deaths: Iterable[Death], alive: int) -> set[bytes]:
        """Return the nodes whose deaths would be a new mass loss; members of a known one count towards no other."""
        free = (death for death in deaths if joined(death, self.losses, self.rules.ttl) is None)
        return together(free, alive, self.rules.ttl, self.rules.thresholds)

    def _counts(self, node: _Node, now: float) -> bool:
        """Return whether a death that was told before as one of its own counts towards a mass loss now."""
        alone = node.state is State.OFFLINE and node.shown.change.loss is None
        return alone and node.end > NEVER and not node.known and node.died > now - 2 * self.rules.ttl

    def _late(self, now: float) -> Iterator[Death]:
        """Yield the deaths that would follow if all nodes that are late now beat no more.

        A node whose heartbeat should have ended is one of them, whether a look missed it or not yet. A node whose
        primary cannot be read is none: it does not die at its deadline.
        """
        soon, heard = now + LATE * self.rules.ttl, self.chances.at
        yield from (each for each in self.ending(soon) if all(it.at == heard for it in self.chances.of(each.name)))
        for name, node in self.absent.items():
            until = node.shown.until
            if name not in self.due and until is not None and until < soon and node.end > NEVER:
                yield Death(max(until, node.end), node.end, name)

    def _end_losses(self, at: float) -> None:
        """Tell of the mass losses that have no members any more."""
        if self.losses:
            left = {node.shown.change.loss for node in self.absent.values()}
            for loss in sorted(self.losses - left):
                self.losses.discard(loss)
                self.log.append(Change(loss.name, "lost together", "over", at, loss=loss, kind=Kind.MASS_LOSS))

    # --- letting go -------------------------------------------------------------------------------

    def let_go(self, leftovers: Leftovers | None, at: float) -> bool:
        """Record what plan and lists say of dead nodes, and forget those that may be.

        Args:
            leftovers: What they say; None if there is neither, so that what they said before still counts.
            at: When that was read.

        Returns:
            Whether this is the first ledger, and states of the read that it was made of are outdated.
        """
        first, changes = self.leftovers is None, len(self.log)
        self.leftovers = leftovers or self.leftovers or Leftovers()
        for node in self.absent.values():
            if node.dead:
                self._let_go(node, at, first=first)
        self._end_losses(at)
        return first and len(self.log) > changes

    def _let_go(self, node: _Node, now: float, *, first: bool = False) -> None:
        """Forget a dead node, or show it again. Of a node that cannot be read, plan and lists say nothing."""
        if node.ttl_ms is None:
            return
        change = node.shown.change
        why = HASH_ALONE if change.why == FIRST_LEDGER else "it is needed again"
        self._declare(node, now, why, node.died, change.loss, first=first)

    def _declare(  # noqa: PLR0913 - the parts of a death
        self, node: _Node, now: float, why: str, died: float, loss: Loss | None, *, first: bool = False
    ) -> None:
        """Show a dead node as offline, or only count it."""
        if forgotten := self._why_forgotten(node, now - died, loss, first=first):
            self._change(node, State.FORGOTTEN, now, forgotten, died=died)
        else:
            self._change(node, State.OFFLINE, now, why, died=died, loss=loss)

    def _why_forgotten(self, node: _Node, offline: float, loss: Loss | None, *, first: bool) -> str:
        """Return why a dead node is only counted; empty if it is not."""
        rules, known, change = self.rules, self.leftovers or Leftovers(), node.shown.change
        stays = change.why if change.after == State.FORGOTTEN and change.why != FIRST_LEDGER else ""
        never_seen = node.end == NEVER and not node.known
        if self.leftovers is None and node.known:
            return stays  # before the first ledger it may be needed
        if change.name in known.needed:
            return ""
        if rules.forget_rehomed_after is not None:
            at_once = loss is not None or (first and never_seen)
            if change.name in known.rehomed and (at_once or offline > rules.forget_rehomed_after):
                return WORK_MOVED
            if self.leftovers is None and never_seen and offline < self._grace:
                return FIRST_LEDGER
        old = rules.forget_after is not None and offline > rules.forget_after
        return "it is offline for longer than --nodes.forget-after" if old else stays

    def keep(self, names: Collection[bytes], found: Collection[bytes], since: float) -> None:
        """Record what discovery shows.

        Args:
            names: The nodes that are read from now on; all others leave.
            found: The nodes of which a scan found keys: their data are not lost.
            since: When that scan began.
        """
        for name, node in self.absent.items():
            if node.lost is not None and name in found and self.chances.changed(name) < since:
                node.lost, node.seen = None, since
        for name in self.names().difference(names):
            if beyond := self.absent.get(name) or self._first_missed(name, since, known=False):
                self._change(beyond, State.GONE, since, "it is not read any more")

    def names(self) -> set[bytes]:
        """Return all known nodes."""
        return self.living.keys() | self.absent.keys()

    # --- changes ----------------------------------------------------------------------------------

    def _change(  # noqa: PLR0913 - the parts of a change
        self, node: _Node, after: State, at: float, why: str, *, died: float | None = None, loss: Loss | None = None
    ) -> None:
        """Change a node's state, if it is another one, and append that with its evidence to the log."""
        before, shown = node.shown.change, node.shown
        name, known = before.name, None if before.at == NEVER or before.why == FIRST_LEDGER else before.after
        if after is State.GONE:
            self.absent.pop(name, None)
            self.due.pop(name, None)
        if before.after != after or (before.why == FIRST_LEDGER != why):
            evidence = self._evidence(name, node.ttl_ms, node.hashed, shown.text, shown.end, shown.gap)
            exact = died is not None and died == shown.end
            change = Change(name, known, after, at, why, died, exact, loss, evidence)
            node.shown = shown._replace(change=change, why=why)
            self.log.append(change)

    def _evidence(self, name: bytes, *shown: Any) -> Evidence:
        """Return what a look showed of a node, with the run and the role of the Redis of its heartbeat."""
        server = next((each.server for each in self.chances.of(name)[-1:]), None) or Server("", "")
        return Evidence(*shown)._replace(run_id=server.run_id, role=server.role)


def _unknown(name: bytes, *, known: bool = False) -> _Node:
    """Return the record of a node that was not looked at yet."""
    return _Node(Absent(Change(name, None, State.GONE, NEVER)), known=known)
