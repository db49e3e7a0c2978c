"""The bundled runbooks as pages, with the node of an alert filled into each command."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from markdown_it import MarkdownIt
from markdown_it.token import Token
from tornado.template import Loader

from exporter import __repository__
from exporter.bundled import alert_severities, bundled
from exporter.escaping import printable
from exporter.web.page_parts import content_policy, source
from exporter.web.shell import PLACEHOLDER, VARIABLE, in_promql, with_node

_STYLE: Final = source("runbook.css")
HEADERS: Final = {
    "Content-Security-Policy": content_policy(_STYLE, forms=True),
    "Referrer-Policy": "no-referrer",
}
_LOADER: Final = Loader(str(Path(__file__).parent / "templates"), autoescape="xhtml_escape")
_NAME: Final = re.compile(r"[A-Za-z0-9]+")
_PROMQL: Final = "promql"
_MARK: Final = re.compile(r"^<!-- /?[a-z-]+ -->\n", re.MULTILINE)
_COMMON: Final = "README"
"""The page that says how to prepare the shell; each runbook's page has it folded up."""


@cache
def alert_summaries() -> dict[str, str]:
    """Return the severity of each alert that has a runbook, sorted by name."""
    return {name: severity for name, severity in alert_severities().items() if _markdown(name) is not None}


def index() -> bytes:
    """Return the list of all runbooks as HTML."""
    return _generate("runbooks.html", alerts=list(alert_summaries().items()), shell=_shell())


def runbook(name: str, node_id: str, known: Sequence[str]) -> bytes | None:
    """Return a runbook as HTML; None if no runbook has this name.

    Args:
        name: The alert.
        node_id: The node to fill in; empty for none.
        known: What is known now, sentence by sentence.
    """
    text = _markdown(name)
    if text is None:
        return None
    return _generate(
        "runbook.html",
        name=name,
        node_id=printable(node_id),
        typed=node_id if node_id.isprintable() else "",  # no field can hold a control character
        known=known,
        shell=_shell(),
        body=_html(text, node_id),
    )


def _generate(template: str, **values: Any) -> bytes:
    namespaces: list[dict[str, Any]] = []
    page = _LOADER.load(template).generate(namespaces=namespaces, style=_STYLE, **values)
    for namespace in namespaces:  # it would stay in memory until the garbage collector runs: see ``page.render``
        namespace.clear()
    return page


@cache
def _markdown(name: str) -> str | None:
    if not _NAME.fullmatch(name):
        return None
    try:
        text = bundled(f"alerts/runbooks/{name}.md").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return _MARK.sub("", text)


@cache
def _shell() -> str:
    """Return the common page without its title, as HTML."""
    _, _, sections = (_markdown(_COMMON) or "").partition("\n## ")
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
        token.attrSet("rel", "noreferrer")
    elif token.type == "fence" and token.info.strip() != _PROMQL:
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
    if _markdown(name) is not None:
        return f"./{name}" + (f"?node_id={quote(node_id)}" if node_id else "")
    return href if "://" in href else f"{__repository__}/blob/main/alerts/{href.removeprefix('../')}"
