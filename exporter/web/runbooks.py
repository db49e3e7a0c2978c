"""The bundled runbooks as pages: an alert's node is filled into each command, and what is known now stands on top.

Pasting such a command into a shell can run nothing that is hidden in an id.
"""

import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import Final
from urllib.parse import quote

from markdown_it import MarkdownIt
from markdown_it.token import Token

from exporter import __repository__
from exporter.bundled import alert_severities, bundled
from exporter.escaping import printable
from exporter.fleet import Fleet
from exporter.journal.event import Query, at, headline, of_node, of_portfolios, reasons, shown
from exporter.snapshot.rows import portfolio_rows, rows_of
from exporter.snapshot.snapshot import Snapshot
from exporter.web.api import refusal, trouble
from exporter.web.page import generate, headers, source, troubles

MOST_EVENTS: Final = 5
"""Events that stand on top of a runbook."""
PLACEHOLDER: Final = re.compile(r"\bNODE\b")
"""What stands for the node in the commands of runbooks."""
VARIABLE: Final = '"$NODE"'
"""How commands name the node."""
_STRING: Final = r"\"NODE\""
_ESCAPES: Final = str.maketrans({'"': '\\"', "\\": "\\\\", "\n": "\\n"})
"""The escapes of Alertmanager's matchers, which know no others."""
_STYLE: Final = source("runbook.css")
HEADERS: Final = headers(_STYLE)
_MARK: Final = re.compile(r"^<!-- /?[a-z-]+ -->\n", re.MULTILINE)
_COMMON: Final = "README"
"""The page that says how to prepare the shell; each runbook's page has it folded up."""


@cache
def index() -> bytes:
    """Return the list of all runbooks as HTML."""
    return generate("runbooks.html", style=_STYLE, alerts=alert_severities().items(), shell=_shell())


def runbook(name: str, node_id: str, fleet: Fleet, snapshot: Snapshot | None) -> bytes:
    """Return a runbook as HTML.

    Args:
        name: The alert, one of ``alert_severities``.
        node_id: The node to fill in; empty for none.
        fleet: Knows what happened.
        snapshot: The nodes; None if Redis could not be read in time.
    """
    return generate(
        "runbook.html",
        style=_STYLE,
        name=name,
        node_id=printable(node_id),
        typed=node_id if node_id.isprintable() else "",  # no field can hold a control character
        known=known(node_id, fleet, snapshot),
        shell=_shell(),
        body=_html(_markdown(name), node_id),
    )


def _markdown(name: str) -> str:
    return _MARK.sub("", bundled(f"alerts/runbooks/{name}.md").read_text(encoding="utf-8"))


@cache
def _shell() -> str:
    """Return the common page without its title, as HTML."""
    _, _, sections = _markdown(_COMMON).partition("\n## ")
    return _html(f"## {sections}", "")


def _html(text: str, node_id: str) -> str:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    for token in (inner for outer in tokens for inner in (outer, *(outer.children or ()))):
        _fill_in(token, node_id)
    html: str = parser.renderer.render(tokens, parser.options, {})
    return html


def _fill_in(token: Token, node_id: str) -> None:
    if token.type == "link_open":
        token.attrSet("href", _target(str(token.attrGet("href")), node_id))
    elif token.type == "fence" and token.info.strip() != "promql":
        token.content = with_node(token.content, node_id)
    elif token.type == "fence" and node_id:
        token.content = in_promql(token.content, node_id)
    elif token.type == "code_inline" and " " in token.content:
        token.content = PLACEHOLDER.sub(lambda _: VARIABLE, token.content)


def _target(href: str, node_id: str) -> str:
    """Return where a link of a runbook leads: on this page, to another runbook here, or into the repository."""
    page, _, anchor = href.partition("#")
    name = page.removesuffix(".md")
    if name == _COMMON:
        return f"#{anchor}"
    if name in alert_severities():
        return f"./{name}" + (f"?node_id={quote(node_id)}" if node_id else "")
    return href if "://" in href else f"{__repository__}/blob/main/alerts/{href.removeprefix('../')}"


# --- what is known now -----------------------------------------------------------------------


def known(node_id: str, fleet: Fleet, snapshot: Snapshot | None) -> list[str]:
    """Return what is known of a node now, and its last changes, sentence by sentence.

    Args:
        node_id: The node; empty for all of them.
        fleet: Knows what happened.
        snapshot: The nodes; None if Redis could not be read in time.
    """
    said = [*(_now(node_id, snapshot) if snapshot else [trouble(fleet)]), *filter(None, [refusal(fleet)])]
    query = Query(subjects=frozenset({node_id}) if node_id else None)
    for event in fleet.journal.page(query, MOST_EVENTS)[0]:
        subject = node_id if node_id in event.subjects else None
        said.append(" ".join([f"{at(event.time)}:", headline(event, subject), *reasons(event, subject)[:1]]))
    return said


def _now(node_id: str, snapshot: Snapshot) -> Iterator[str]:
    portfolios = list(portfolio_rows(snapshot.account)) if snapshot.account else None
    if not node_id:
        counts = ", ".join(f"{number} {state}" for state, number in snapshot.counts.items() if number)
        yield f"Nodes now: {counts or 'none is known'}."
        yield from troubles(snapshot)
        yield from of_portfolios(portfolios or ())
    elif row := next(rows_of(snapshot, lambda shown_as, _: shown_as == node_id), None):
        yield from of_node(row, portfolios)
    else:
        yield f"Node {shown(node_id)} is gone or forgotten now."


def assignment(value: str, variable: str = "NODE") -> str:
    r"""Return a line that gives a variable this value, whatever characters the value has.

    The line holds no control character: a terminal may obey one even inside of quotes. A value with such
    characters is written as bash, zsh and ksh read it: ``$'\141\012'``.

    Args:
        value: The variable's value, such as a node's id.
        variable: The variable's name.
    """
    if value.isprintable():
        return f"{variable}={shlex.quote(value)}"
    return f"{variable}=$'" + "".join(f"\\{byte:03o}" for byte in value.encode("utf-8", "surrogateescape")) + "'"


def with_node(commands: str, node_id: str) -> str:
    r"""Return commands that name the node by variables, after the lines that set them.

    Args:
        commands: Lines of a shell, with ``NODE`` outside of quotes where the id belongs, and ``\"NODE\"`` where a
            matcher of Alertmanager needs the id as a string.
        node_id: The id; empty if it is not known, so that the reader sets the variable.
    """
    lines = []
    if node_id and _STRING in commands:
        lines.append(assignment(f'"{node_id.translate(_ESCAPES)}"', "MATCHED"))
        commands = commands.replace(_STRING, '"$MATCHED"')
    if PLACEHOLDER.search(commands):
        lines.insert(0, assignment(node_id) if node_id else "NODE=")
        commands = PLACEHOLDER.sub(lambda _: VARIABLE, commands)
    return "\n".join([*lines, commands])


def in_promql(query: str, node_id: str) -> str:
    """Return a query with the id in place of ``NODE``, which stands inside of double quotes."""
    return PLACEHOLDER.sub(lambda _: json.dumps(node_id, ensure_ascii=False)[1:-1], query)
