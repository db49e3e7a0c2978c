"""The one judge of which nodes are alive, shared by scrapes, the page, the table and the push.

A crash leaves the hash, and the heartbeat expires. A graceful stop deletes both keys. A fault of Redis can take either
key from a living node, so a fault alone never makes a node dead.

Each known node is in exactly one place: it beats (living), or it does not (absent). One rule on looks: readings
overlap, so a look counts for a node only if it began after the last one that counted ended. All times are monotonic
seconds.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from threading import RLock
from typing import Final
from weakref import WeakValueDictionary

from exporter.liveness.chance import ANSWERS, CANNOT_BE_READ, GRACE, Chances, chance
from exporter.liveness.changes import NEVER, Batch, Change, Evidence, Gap, Kind, Leftovers, Node, State, Verdicts, View
from exporter.liveness.mass_loss import Death, Loss, joined, named, together
from exporter.settings import Settings
from exporter.source.reading import MISSING, NO_EXPIRY, Reading, Server

LOOK_AGAIN: Final = 0.02
"""Seconds until the second look at a node that was never seen alive, or whose heartbeat has no expiry."""
REMEMBER_LOST: Final = 3600.0
"""Seconds for which a node is remembered after Redis lost its keys."""
LATE: Final = 0.4
"""Remaining life of a heartbeat, as a share of a TTL, below which its node is late."""
HOLD: Final = 0.5
"""Longest time for which a death is held back, as a share of a TTL: a beat and a half."""
MOST_WAITING: Final = 1000
"""Largest number of nodes without a heartbeat in one look, so that it is short: others wait for a read of all."""
MOST_OUTAGES: Final = 500
"""Number of outages that are remembered: more than fit into ``WINDOW``."""
AHEAD: Final = 1.0
"""Seconds before a deadline from which on the late nodes are read: at the deadline it is known which of them beat."""
REFRESH: Final = 3.0
"""Seconds after which an offline node is looked at again: an alert about a node that is back must not be posted."""

BEATS, ENDED = "a living heartbeat", "no heartbeat came in time"
HELD: Final = "a mass loss is possible"
SECOND_LOOK, FIRST_LEDGER = "a second look decides", "the first ledger decides"
WORK_MOVED: Final = "the work has moved to other nodes"


class Judge:
    """Decides each node's state. It has no clock: each look carries its time.

    Args:
        settings: The settings.
        earlier: The changes of nodes in an earlier run of the exporter, the oldest first; the last one counts.

    Attributes:
        ttl: Seconds that a heartbeat lives.
        wake: Called after a look or a failure that has changed anything, without the lock.
    """

    def __init__(self, settings: Settings, earlier: Iterable[Change] = ()) -> None:
        self.ttl, self._settings = settings.heartbeat.ttl, settings
        self.wake: Callable[[], object] = lambda: None
        self._lock = RLock()
        self._log: list[Change] = []  # the changes that nobody has taken yet
        self._chances = Chances(self.ttl, self._log)
        self._errors: dict[str, str] = {}  # why the last operation of each kind failed that did
        self._outages = [(NEVER, NEVER)]  # when they began and ended; one that lasts has no end
        self._living: dict[bytes, tuple[Batch, int]] = {}  # the batch of each node, and its position there
        self._absent: dict[bytes, Node] = {}
        self._due: dict[bytes, Death] = {}  # those that are held back
        self._leftovers: Leftovers | None = None  # None before the first ledger
        self._earlier = {change.name: change for change in earlier}  # of nodes that this run has not seen yet
        self._losses = {change.loss for change in self._earlier.values() if change.loss}  # those that have members
        # By the identity of the names, which a batch keeps alive. A batch that no node is in is garbage-collected.
        self._batches: WeakValueDictionary[int, Batch] = WeakValueDictionary()

    # --- what others tell -------------------------------------------------------------------------

    def failed(self, what: str, error: str, began: float) -> None:
        """Record that an operation of a kind, which began at ``began``, could not read Redis."""
        with self._lock:
            # A first answer long after that shows a silence.
            self._chances.asked = min(self._chances.asked, began)
            if not self._errors:
                # An operation of the last outage may fail late: its seconds count already.
                began = max(began, self._outages[-1][1])
                self._outages = [*self._outages[-MOST_OUTAGES:], (began, -NEVER)]
                self._log.append(Change(b"", ANSWERS, CANNOT_BE_READ, began, error, kind=Kind.REDIS))
            self._errors[what] = error
        self.wake()

    def succeeded(self, what: str, at: float) -> None:
        """Record that an operation of this kind could read Redis at ``at``."""
        with self._lock:
            if self._errors.pop(what, None) is None or self._errors:
                return
            *past, (began, _) = self._outages
            self._outages = [*past, (began, at)]
            evidence = Evidence(gap=Gap(began, at, CANNOT_BE_READ))
            self._log.append(Change(b"", CANNOT_BE_READ, ANSWERS, at, evidence=evidence, kind=Kind.REDIS))

    def find(self, names: Collection[bytes], since: float) -> None:
        """Record that a scan, which began at ``since``, found keys of these nodes: their data are not lost."""
        with self._lock:
            for name in self._absent.keys() & names:
                node = self._absent[name]
                self._absent[name] = node._replace(seen=max(node.seen, since))

    def leave_out(self, names: Iterable[bytes], at: float) -> None:
        """Forget nodes that are no longer read, except those that were looked at after ``at``."""
        with self._lock:
            for name in names:
                if node := self._taken(name, at):
                    self._due.pop(name, None)
                    self._changed(node, State.GONE, at, "too many nodes are known, or another id looks like its own")

    def let_go(self, leftovers: Leftovers | None, at: float) -> bool:
        """Record what plan and lists say of dead nodes; forget those that may be, and show those that are needed again.

        Args:
            leftovers: What they say; None if there is neither, so that what they said before still counts.
            at: When that was read.

        Returns:
            Whether this is the first ledger, and the next look at nodes that do not beat may decide otherwise.
        """
        with self._lock:
            first = self._leftovers is None
            known = self._leftovers = leftovers or self._leftovers or Leftovers()
            after, moved_after = self._settings.nodes.forget_after, self._settings.nodes.forget_rehomed_after
            for name, node in self._absent.items():
                died, loss = node.change.died or at, node.change.loss
                if node.ttl_ms is None or not (node.dead or node.new):
                    continue  # plan and lists say nothing of a node that cannot be read
                at_once = loss or (node.new and (first or not node.dead))
                moved = moved_after is not None and name in known.rehomed and (at_once or at - died > moved_after)
                old = after is not None and at - died > after
                if name not in known.needed and (moved or old or node.state is State.FORGOTTEN):
                    why = WORK_MOVED if moved else "it is offline for longer than --nodes.forget-after"
                    self._absent[name] = self._changed(node, State.FORGOTTEN, at, why, died)
                elif node.dead:
                    self._absent[name] = self._changed(node, State.OFFLINE, at, "it is needed again", died, loss)
            return first and bool(self._absent)

    # --- what others ask --------------------------------------------------------------------------

    def names(self) -> set[bytes]:
        """Return all known nodes: a whole read asks for them, and for what discovery found."""
        with self._lock:
            return self._living.keys() | self._absent.keys() | self._earlier.keys()

    def due(self, now: float, *, full: bool) -> Sequence[bytes]:
        """Return the nodes to read now.

        These are the nodes that do not beat and are not dead, as many as one look may read.

        Args:
            now: The time.
            full: Whether to return the nodes that are offline, too; and if a death is near, all that are late, since it
                depends on them whether it is held back.
        """
        with self._lock:
            old = now - REFRESH if full else NEVER
            names = [
                name
                for name, node in self._absent.items()
                if not node.dead or (node.looked <= old and node.state is State.OFFLINE)
            ][:MOST_WAITING]
            if self._due or (full and any(self._ending(now + AHEAD))):
                names += [death.name for death in self._ending(now + LATE * self.ttl)]
            return names

    def next_end(self, by: float) -> float:
        """Return when the next node may be dead, as far as that is not after ``by``."""
        with self._lock:
            return min((death.died for death in self._late(by)), default=-NEVER)

    def take(self) -> tuple[list[Change], View]:
        """Return the changes since the last call, and the view that holds them all. There is one caller: the watch."""
        with self._lock:
            self._end_losses(self._chances.at)
            changes = self._log.copy()
            self._log.clear()
            return changes, self.view()

    def view(self) -> View:
        """Return all that others need to know, at one moment."""
        with self._lock:
            chances, counts = self._chances, Counter(node.change.after for node in self._absent.values())
            counts[State.ONLINE] += len(self._living)
            return View(
                self._absent.copy(),
                counts,
                chances.server,
                chances.at,
                min(chances.refused, default=None),
                min((it.refusal_since for it in chances.each.values() if it.refusal_since is not None), default=None),
                chances.calm,
                self._errors.copy(),
                self._outages,
            )

    # --- looks ------------------------------------------------------------------------------------

    def look(self, reading: Reading) -> Verdicts:
        """Record a look at some nodes, or at none, and return their states."""
        with self._lock:
            self._chances.look(reading.server, reading.at, self.names)
            self._end_refusals(reading)
            names, missing, least = reading.names, set(reading.unread), min(reading.ttl_ms, default=1)
            if least <= 0:
                missing.update(position for position, ms in enumerate(reading.ttl_ms) if ms <= 0)
                least = min((ms for ms in reading.ttl_ms if ms > 0), default=0)
            for position in sorted(missing):
                self._miss(reading, position)
            batch = self._batches.get(id(names))
            if batch is None or batch.at > reading.asked:
                batch = self._batches[id(names)] = Batch(self.ttl, reading)
            batch.take(reading, least)
            for position in sorted(batch.elsewhere.difference(missing)):
                self._meet(batch, position, hashed=position not in reading.without_hash)
            self._rule(reading.asked)
        if self._log:
            self.wake()
        return self.verdicts(reading, batch.elsewhere)

    def verdicts(self, reading: Reading, positions: Iterable[int]) -> Verdicts:
        """Return the present states of the nodes of a reading; only those at these positions may not beat."""
        with self._lock:
            states, absent = [State.ONLINE] * len(reading.names), {}
            for position in sorted(positions):
                absent[position] = node = self._node(reading.names[position])
                # The first ledger takes an old hash for that of a dead node.
                state = State.FORGOTTEN if node.why == FIRST_LEDGER else node.state
                states[position] = State.UNDECIDED if position in reading.unread else state
            return Verdicts(states, absent)

    def _end_refusals(self, reading: Reading) -> None:
        """Let the beats of a reading end the refusals that were seen before them.

        A heartbeat that lives longer than a TTL does not show when it was written.
        """
        if self._chances.refused:
            for name, ms in zip(reading.names, reading.ttl_ms, strict=True):
                for holder in self._chances.of(name)[-1:] if 0 < ms <= self.ttl * 1000 else ():
                    holder.beat(reading.asked - self.ttl + ms / 1000)

    def _node(self, name: bytes) -> Node:
        """Return the record of a node; a new one of a node that beats, or that this run has not seen yet."""
        if node := self._absent.get(name):
            return node
        if name in self._living:
            batch, position = self._living[name]
            change = Change(name, None, State.ONLINE, batch.asked, BEATS)
            return Node(change, batch.beat(position), batch.end(position), looked=batch.at, seen=batch.asked)
        new = self._leftovers is None and name not in self._earlier
        change = self._earlier.pop(name, Change(name, None, State.GONE, NEVER))
        shown = Evidence() if change.died is None else change.evidence
        return Node(change, shown.text, NEVER if shown.end is None else shown.end, new=new)

    def _taken(self, name: bytes, asked: float) -> Node | None:
        """Return the record of a node, taken from its place; None if a look that began at ``asked`` is outdated."""
        node = self._node(name)
        if node.looked > asked:
            return None
        if name in self._living:
            batch, position = self._living.pop(name)
            batch.elsewhere.add(position)
        self._absent.pop(name, None)
        return node

    def _meet(self, batch: Batch, position: int, *, hashed: bool) -> None:
        """Record that the last heartbeat of a node is in a batch."""
        name = batch.names[position]
        if node := self._taken(name, batch.asked):
            self._due.pop(name, None)
            node = node._replace(text=batch.beat(position), end=batch.end(position), gap=None, hashed=hashed)
            self._changed(node._replace(ttl_ms=batch.ttl_ms[position]), State.ONLINE, batch.asked, BEATS)
            self._living[name] = batch, position
            batch.elsewhere.discard(position)

    def _miss(self, reading: Reading, position: int) -> None:
        """Judge a node of which a reading shows no living heartbeat."""
        name, ms, asked = reading.names[position], reading.ttl_ms[position], reading.asked
        node = self._taken(name, asked)
        if node is None:
            return
        holders = self._chances.of(name)
        gaps = [] if node.dead else [gap for each in holders for gap in each.gaps()]
        changed = max([self._chances.moved.get(name, NEVER), *(each.changed for each in holders)])
        node = node._replace(ttl_ms=None, hashed=None, gap=max(gaps, key=lambda gap: gap.end, default=None))
        if position not in reading.unread:
            since, hashed = node.since, position not in reading.without_hash
            if since == NEVER and not node.dead:
                # Its chance counts from its last beat. But if nobody read the node between the end of that heartbeat
                # and a later gap, it may have beaten until the gap; on the same data it has not within the last TTL, or
                # its heartbeat would be there. A node that was never seen alive has its chance from the last gap on.
                last = asked - self.ttl if node.seen >= changed and node.end > NEVER else asked
                later = (min(gap.start, last) for gap in gaps if chance(gaps, node.end, gap.start) > 0)
                since = max([node.end - self.ttl, *later])
                since = asked if since == NEVER else since
            seen = asked if hashed or ms == NO_EXPIRY else node.seen
            node = node._replace(ttl_ms=ms, hashed=hashed, looked=reading.at, since=since, seen=seen)
        state, why, until = self._decide(node, gaps, asked, changed)
        node = node._replace(why=why, until=until)
        if state is State.OFFLINE and not node.dead and node.end > NEVER:
            # A heartbeat that ended long before this look may have been renewed in between.
            exact = node.state is State.ONLINE and node.end <= asked <= node.end + self.ttl
            self._due.setdefault(name, Death(node.end if exact else asked, node.end, name, found=asked))
        else:  # a node that was never seen alive is part of no loss
            self._due.pop(name, None)
            died = asked if state is State.OFFLINE and not node.dead else None
            node = self._changed(node, state, asked, why, died)
        if state is not State.GONE:
            self._absent[name] = node

    def _decide(  # noqa: PLR0911 - a table of rules
        self, node: Node, gaps: Collection[Gap], asked: float, changed: float
    ) -> tuple[State, str, float | None]:
        """Return the state of a node without a living heartbeat: all rules on nodes, in their order.

        Args:
            node: The node.
            gaps: The times without chance that may excuse it.
            asked: When the look began.
            changed: When an answer first showed that the data where its keys are may be others.

        Returns:
            The state, why, and when the node can be called dead if it does not beat.
        """
        # 1. Of a node whose primary cannot be read nothing is known.
        if node.ttl_ms is None:
            return node.state if node.dead else State.UNDECIDED, "the primary cannot be read", None
        # 2. Without keys it has left, unless Redis lost them: then it is remembered for an hour.
        remembered = node.state is not State.GONE and node.seen < changed and asked - changed < REMEMBER_LOST
        if not node.hashed and node.ttl_ms == MISSING and not remembered:
            return State.GONE, "heartbeat and hash were deleted", None
        # 3. A dead node stays dead until it beats, or has left.
        if node.dead:
            return node.state, node.change.why, None
        # 4. A heartbeat without expiry proves no life. A key that changes its type during a look shows like one.
        second_look = (State.UNDECIDED, SECOND_LOOK, asked + LOOK_AGAIN)
        if node.ttl_ms == NO_EXPIRY:
            return (State.OFFLINE, "a heartbeat that never expires", None) if node.why == SECOND_LOOK else second_look
        # 5. It needs a TTL of chance since its last beat, and a beat more if a gap followed that.
        never_seen, beat = node.end == NEVER, node.end - self.ttl
        shaken = any(gap.end >= node.since for gap in gaps) or (node.since > beat > NEVER)
        waits = node.new and self._leftovers is None and self._settings.nodes.forget_rehomed_after is not None
        needed = GRACE * self.ttl if shaken or waits else LOOK_AGAIN if never_seen else self.ttl
        left = needed - chance(gaps, node.since, asked)
        if left <= 0:
            ended = ENDED if node.state is State.ONLINE else "no heartbeat came, although Redis gave the time for one"
            return State.OFFLINE, "a hash without a heartbeat" if never_seen else ended, None
        if shaken and node.gap:
            return State.UNDECIDED, node.gap.why, None if node.gap.end >= self._chances.at else asked + left
        # 6. What was never seen alive is looked at twice; at the start of the exporter it may be an old hash.
        if never_seen:
            return (State.UNDECIDED, FIRST_LEDGER, asked + left) if waits else second_look
        # 7. Before its deadline a deleted heartbeat is the first half of a graceful stop.
        return State.ONLINE, "the heartbeat was deleted early", asked + left

    # --- deaths -----------------------------------------------------------------------------------

    def _ending(self, by: float) -> Iterator[Death]:
        """Return what would be the deaths of the nodes that beat and whose heartbeats end by a moment."""
        return (death for batch in tuple(self._batches.values()) for death in batch.ending(by))

    def _rule(self, now: float) -> None:
        """Declare the deaths that are due, each by itself or as part of a mass loss; or hold them back."""
        ttl = self.ttl
        alone = not all(joined(death, self._losses, ttl) for death in self._due.values())
        absent = self._absent.values() if alone else ()  # for a death in a known loss nobody else counts
        alive = len(self._living) + sum(not node.dead for node in absent)
        told = (
            Death(died, node.end, node.change.name, told=True)
            for node in absent
            # What the process found dead at its start, or an earlier run, counts for nothing.
            if (died := node.change.died or NEVER) > now - 2 * ttl and NEVER not in (node.end, node.since)
            if node.state is State.OFFLINE
        )
        known = [*self._due.values(), *told]
        may_be = [*known, *self._late(now + LATE * ttl)] if alone else known
        for death in sorted(self._due.values()):
            node, loss = self._absent[death.name], joined(death, self._losses, ttl)
            if loss is None and death.name in (lost := self._lost(known, alive)):
                loss = Loss(b"", death.died)  # one of the nodes that join it gives it its name
                group = [it for it in self._due.values() if it.name in lost and joined(it, [loss], ttl)]
                loss = loss._replace(name=named(group, {each.name for each in self._losses}))
                self._losses.add(loss)
                self._log.append(Change(loss.name, None, "lost together", now, loss=loss, kind=Kind.MASS_LOSS))
            if loss is None and now - death.found < HOLD * ttl and death.name in self._lost(may_be, alive):
                node = self._changed(node._replace(why=HELD), State.UNDECIDED, now, HELD)
            else:
                del self._due[death.name]
                node = self._changed(
                    node, State.OFFLINE, now, ENDED if node.why == HELD else node.why, death.died, loss
                )
            self._absent[death.name] = node

    def _lost(self, deaths: Iterable[Death], alive: int) -> set[bytes]:
        """Return the nodes whose deaths would be a new mass loss; members of a known one count towards no other."""
        free = (death for death in deaths if joined(death, self._losses, self.ttl) is None)
        return together(free, alive, self.ttl, self._settings.mass_loss)

    def _late(self, by: float) -> Iterator[Death]:
        """Yield the deaths that would follow by a moment if no node beat any more.

        A node whose heartbeat should have ended is one of them, whether a look missed it or not yet. A node whose
        primary cannot be read is none: it does not die at its deadline.
        """
        heard = self._chances.at
        yield from (each for each in self._ending(by) if all(it.at == heard for it in self._chances.of(each.name)))
        for name, node in self._absent.items():
            if node.until is not None and node.until < by and node.end > NEVER:
                yield Death(node.until, node.end, name)

    def _end_losses(self, at: float) -> None:
        """Tell of the mass losses that have no members any more."""
        if self._losses:
            last = *self._earlier.values(), *(node.change for node in self._absent.values())
            for loss in sorted(self._losses.difference(change.loss for change in last)):
                self._losses.discard(loss)
                self._log.append(Change(loss.name, "lost together", "over", at, loss=loss, kind=Kind.MASS_LOSS))

    # --- changes ----------------------------------------------------------------------------------

    def _changed(  # noqa: PLR0913, PLR0917 - the parts of a change
        self, node: Node, after: State, at: float, why: str, died: float | None = None, loss: Loss | None = None
    ) -> Node:
        """Return a node in this state; if that is another one, append the change with its evidence to the log."""
        before = node.change
        if before.after == after:
            return node
        server = self._chances.server or Server("", "")
        end = node.end if node.end > NEVER else None
        shown = Evidence(node.ttl_ms, node.hashed, node.text, end, node.gap, server.run_id, server.role)
        known = None if before.at == NEVER else before.after
        self._log.append(Change(before.name, known, after, at, why, died, died == end, loss, shown))
        return node._replace(change=self._log[-1], why=why)
