"""The status page's section on what changed last, each change with its evidence."""

from pathlib import Path
from typing import Any, Final

from tornado.template import Loader

from exporter.escaping import printable
from exporter.journal.journal import Journal
from exporter.journal.memory import Query
from exporter.journal.sentences import headline, reasons
from exporter.snapshot.rows import moment

MOST_EVENTS: Final = 20
"""Events that are shown."""

_TEMPLATE: Final = Loader(str(Path(__file__).parent / "templates"), autoescape="xhtml_escape").load("events.html")


def event_section(journal: Journal) -> bytes:
    """Return the section as HTML."""
    page = journal.page(Query(), MOST_EVENTS)
    namespaces: list[dict[str, Any]] = []
    section = _TEMPLATE.generate(
        namespaces=namespaces,
        problem=printable(journal.problem),
        events=[
            (event.id, f"{moment(event.time)} UTC", event.kind.value, headline(event), reasons(event))
            for event in page.events
        ],
        more=page.next is not None,
    )
    for namespace in namespaces:  # it would stay in memory until the garbage collector runs: see ``page.render``
        namespace.clear()
    return section
