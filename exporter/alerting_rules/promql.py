"""Changes queries of PromQL token by token, so that no text within a string or a comment is taken for a part of it."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

_TOKEN: Final = re.compile(
    r"""
      (?P<space>\s+|\#[^\n]*)
    | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
    | (?P<duration>(?:[0-9]+(?:ms|[smhdwy]))+(?!\w))
    | (?P<number>0x[0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<placeholder>«[^»]*»)
    | (?P<name>[a-zA-Z_][\w:]*)
    | (?P<operator>==|!=|>=|<=|=~|!~|[-+*/%^<>=(){}\[\],@:])
    """,
    re.VERBOSE | re.ASCII,
)
_LABEL_LISTS: Final = frozenset(("by", "without", "on", "ignoring", "group_left", "group_right"))
_AGGREGATIONS: Final = frozenset(
    ("avg", "bottomk", "count", "count_values", "group", "max", "min", "quantile", "stddev", "stdvar", "sum", "topk")
)
_WORDS: Final = _LABEL_LISTS | _AGGREGATIONS | {"and", "or", "unless", "atan2", "offset", "bool", "inf", "nan"}
_MATCHER: Final = re.compile(r"""([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*("(?:\\.|[^"\\\n])*")""", re.ASCII)


class Token(NamedTuple):
    """A part of a query: ``space``, ``string``, ``duration``, ``number``, ``placeholder``, ``name`` or ``operator``."""

    kind: str
    text: str


class Matcher(NamedTuple):
    """A condition on a label, such as ``cluster="tokyo"``.

    Attributes:
        label: The label's name.
        operator: ``=``, ``!=``, ``=~`` or ``!~``.
        quoted: The value as it stands in a query, in double quotes.
    """

    label: str
    operator: str
    quoted: str

    def __str__(self) -> str:
        """Return the condition as it stands in a query."""
        return f"{self.label}{self.operator}{self.quoted}"


def matcher(text: str) -> Matcher:
    """Return the condition that a text such as ``cluster="tokyo"`` means.

    Raises:
        ValueError: The text is no such condition.
    """
    found = _MATCHER.fullmatch(text.strip())
    if not found:
        raise ValueError('not a selector such as cluster="tokyo" or environment=~"live|paper"')
    return Matcher(*found.groups())


def tokens(query: str) -> list[Token]:
    """Return the tokens of a query; their texts joined are the query.

    Raises:
        ValueError: A part of the text is no token of PromQL.
    """
    found, end = [], 0
    for match in _TOKEN.finditer(query):
        if match.start() != end:
            break
        found.append(Token(str(match.lastgroup), match[0]))
        end = match.end()
    if end != len(query):
        raise ValueError(f"no PromQL: {query[end : end + 20]}")
    return found


def with_matchers(query: str, matchers: Sequence[object]) -> str:
    """Return a query with more conditions in each of its selectors.

    Args:
        query: The query.
        matchers: The conditions. Each is written as its ``str``.
    """
    added = ", ".join(map(str, matchers))
    if not added:
        return query
    given = tokens(query)
    written = []
    for place, token in enumerate(given):
        written.append(token.text)
        if token.text == "{" and token.kind == "operator":
            empty = _next(given, place).text == "}"
            written.append(added if empty else f"{added}, ")
        elif _is_metric(given, place) and _next(given, place).text != "{":
            written.append(f"{{{added}}}")
    return "".join(written)


def with_ranges(query: str, changed: Callable[[str], str]) -> str:
    """Return a query with other durations in its ranges and offsets, such as ``[5m]`` and ``offset 1m``."""
    given = tokens(query)
    return "".join(changed(token.text) if token.kind == "duration" else token.text for token in given)


def metrics(query: str) -> Iterator[str]:
    """Yield the name of the metric in each selector of a query that has one."""
    given = tokens(query)
    return (token.text for place, token in enumerate(given) if _is_metric(given, place))


def _is_metric(given: Sequence[Token], place: int) -> bool:
    token = given[place]
    if token.kind != "name" or token.text.lower() in _WORDS or _next(given, place).text == "(":
        return False
    return not _in_labels(given, place)


def _in_labels(given: Sequence[Token], place: int) -> bool:
    """Return whether a token stands between braces, or in a list of labels such as ``without (instance)``."""
    for before in range(place - 1, -1, -1):
        token = given[before]
        if token.kind != "operator" or token.text == ",":
            continue
        if token.text == "(":
            word = next((each for each in reversed(given[:before]) if each.kind != "space"), None)
            return word is not None and word.text.lower() in _LABEL_LISTS
        return token.text == "{" or (token.text in ("=", "!=", "=~", "!~") and _in_labels(given, before))
    return False


def _next(given: Sequence[Token], place: int) -> Token:
    return next((token for token in given[place + 1 :] if token.kind != "space"), Token("end", ""))
