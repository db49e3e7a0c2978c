"""Tells the journal of posts: which alerts an Alertmanager took, which ended, and which Alertmanager takes no posts."""

from collections.abc import Callable, Iterable, Iterator

from exporter.journal.changes import Entry
from exporter.journal.event import EventKind
from exporter.journal.journal import Journal
from exporter.journal.situation import alertmanager_refuses
from exporter.push.alerts import Alert, AlertTexts

TAKEN, ENDED = "taken", "ended"
"""The states of an alert."""
ACTIVE, REFUSED = "active", "refused"
"""The states of an Alertmanager."""
STALE = "Redis was not seen for so long that other writers may know more"


class PushJournal:
    """Tells of each alert once for each Alertmanager. For the event loop.

    Args:
        journal: Is told.
        texts: Labels of alerts.
        now: Returns monotonic seconds.
    """

    def __init__(self, journal: Journal, texts: AlertTexts, now: Callable[[], float]) -> None:
        self._journal, self._texts, self._now = journal, texts, now
        self._taken: dict[str, dict[tuple[str, str], float]] = {}
        self._states: dict[str, str] = {}
        self._refused: dict[str, tuple[float, str]] = {}  # since when, in monotonic seconds, and why

    def posted(self, url: str, problem: str, alerts: Iterable[Alert]) -> None:
        """Hear of a post.

        Args:
            url: The Alertmanager.
            problem: Why it was not accepted; empty if it was.
            alerts: The alerts in it.
        """
        state, before = REFUSED if problem else ACTIVE, self._states.get(url)
        if state != before:
            self._states[url] = state
            evidence = {"error": problem} if problem else {}
            self._journal.note(EventKind.PUSH, url, before, state, alertmanager=url, **evidence)
        if problem:
            self._refused[url] = self._refused.get(url, (self._now(), ""))[0], problem
            return
        self._refused.pop(url, None)
        taken = self._taken.setdefault(url, {})
        new = [alert for alert in alerts if taken.get(alert.key) != alert.began]
        if new:
            taken.update((alert.key, alert.began) for alert in new)
            at = self._now()
            self._journal.tell(lambda: self._taken_entries(url, new, at))

    def refusals(self) -> list[str]:
        """Return a sentence for each Alertmanager that takes no posts, with since when and why."""
        return [
            alertmanager_refuses(url, self._journal.unix(since), problem)
            for url, (since, problem) in self._refused.items()
        ]

    def ended(self, alerts: Iterable[Alert], *, resolved: bool, stale: bool) -> None:
        """Hear that alerts are no longer pushed; of those that no Alertmanager took nothing is told.

        Args:
            alerts: The alerts.
            resolved: Whether their end is posted.
            stale: Whether the reason is that Redis was not seen for too long.
        """
        over = [alert for alert in alerts for taken in self._taken.values() if taken.pop(alert.key, None) is not None]
        if over:
            evidence = {"reason": STALE} if stale else {"resolved": resolved}
            at = self._now()
            names = dict.fromkeys(alert.name for alert in over)
            self._journal.tell(
                lambda: [
                    Entry(at, EventKind.PUSH, subject, TAKEN, ENDED, {"alertname": name, **evidence})
                    for name in names
                    for subject in (name, *dict.fromkeys(a.node_id for a in over if a.name == name and a.node_id))
                ]
            )

    def _taken_entries(self, url: str, alerts: list[Alert], at: float) -> Iterator[Entry]:
        for name in dict.fromkeys(alert.name for alert in alerts):
            some = [alert for alert in alerts if alert.name == name]
            labels = {key: text for key, text in self._texts.labels(some[0]).items() if key != "node_id"}
            common = {"alertmanager": url, "alertname": name, "labels": labels, "answer": "HTTP 200"}
            began = {alert.node_id or name: round(self._journal.unix(alert.began), 3) for alert in some}
            for subject in (name, *(alert.node_id for alert in some if alert.node_id)):
                yield Entry(at, EventKind.PUSH, subject, None, TAKEN, common, {"starts_at": began.get(subject)})
