"""``ginkgo-exporter explain``: tells what happened to a node, a portfolio or an alert, and why it was judged so."""

import argparse
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

from exporter.bundled import alert_severities
from exporter.commands.explain_source import Facts, JournalOnDisk, RunningExporter
from exporter.commands.explanation import Explanation, of_alert, of_all, of_node, of_portfolio
from exporter.commands.exporter_api import ExporterApi
from exporter.errors import ExporterError, SettingsError
from exporter.escaping import printable_json
from exporter.journal.event import EventKind
from exporter.journal.memory import Query
from exporter.journal.sentences import shown
from exporter.journal.times import parse_time
from exporter.settings import Settings

_EXPLAIN: Final = {EventKind.NODE: of_node, EventKind.PORTFOLIO: of_portfolio}
_NEAREST: Final = 3


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print the explanation and return 0.

    Raises:
        SettingsError: An option is invalid.
        ExporterError: Nothing can be explained; one line that says why.
    """
    options = vars(arguments)
    moment = _moment(options["at"])
    explanation = explained(_facts(settings, options), options["subject"], moment)
    if options["output"] == "json":
        print(printable_json(explanation.to_json()))  # noqa: T201
    else:
        print("\n".join(explanation.lines()))  # noqa: T201
    return 0


def explained(facts: Facts, subject: str | None, moment: float | None) -> Explanation:
    """Return the explanation of a subject.

    Args:
        facts: What is known.
        subject: A node, a portfolio or an alert, maybe after ``node:`` or ``portfolio:``; None for all that happened.
        moment: Unix time that is asked about; None for now.

    Raises:
        ExporterError: The subject is unknown, or is a node and a portfolio.
    """
    if subject is None:
        return of_all(facts, moment)
    names = facts.names()
    kinds = [kind for kind in _EXPLAIN if subject in names[kind]]
    for kind in _EXPLAIN:
        prefix, name = f"{kind}:", subject.removeprefix(f"{kind}:")
        if not kinds and subject.startswith(prefix):
            if name not in names[kind] and not _was_seen(facts, kind, name):
                raise ExporterError(_unknown(subject, {kind: names[kind]}))
            return _EXPLAIN[kind](facts, name, moment)
    if len(kinds) > 1:
        raise ExporterError(f"{shown(subject)} is a node and a portfolio: ask for node:… or portfolio:…")
    if kinds:
        return _EXPLAIN[kinds[0]](facts, subject, moment)
    alerts = frozenset(alert_severities())
    if subject in alerts:
        return of_alert(facts, subject, moment)
    for kind in _EXPLAIN:
        if _was_seen(facts, kind, subject):
            return _EXPLAIN[kind](facts, subject, moment)
    raise ExporterError(_unknown(subject, {**names, EventKind.PUSH: alerts}))


def _was_seen(facts: Facts, kind: EventKind, name: str) -> bool:
    return bool(facts.events(Query(subjects=frozenset({name}), kinds=frozenset({kind})), 1))


def _unknown(subject: str, names: Mapping[EventKind, frozenset[str]]) -> str:
    known = sorted(set().union(*names.values()))
    near = get_close_matches(subject.partition(":")[2] or subject, known, _NEAREST, 0.5)
    near += get_close_matches(subject, known, _NEAREST, 0.5) if ":" in subject else []
    hint = f"; the nearest known names are {', '.join(map(shown, dict.fromkeys(near)))}" if near else ""
    return f"nothing is known of {shown(subject)}{hint}"


def _facts(settings: Settings, options: Mapping[str, Any]) -> Facts:
    given = "journal.file" in options
    if given and options["exporter.url"]:
        raise SettingsError("--journal.file: the facts come from a file or from --exporter.url; give one of them")
    if given and settings.journal.file:
        return JournalOnDisk(settings.journal.file)
    return RunningExporter(
        ExporterApi(options["exporter.url"] or f"http://localhost:{settings.web.listen_address.port}")
    )


def _moment(text: str | None) -> float | None:
    try:
        return None if text is None else parse_time(text)
    except ValueError as error:
        raise SettingsError(f"--at: {error}") from None
