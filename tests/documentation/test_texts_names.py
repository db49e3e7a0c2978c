"""Texts name only commands, variables, endpoints, files, modules and make targets that exist."""

import re
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import yaml
from texts import ROOT, name_of, texts

from docs.source.flags import OPTIONS
from exporter.settings import all_settings

TEXTS = {path: path.read_text(encoding="utf-8") for path in texts()}
NOT_IN_A_CHECKOUT = re.compile(r"^(build|dist)/|NAME|^/")
"""Paths that a command writes, that stand for any name, or that are on the reader's machine."""
FOREIGN = {"/api/v1/query", "/api/v1/rules", "/api/v1/alerts", "/api/v1/", "/-/reload"}
"""Prometheus's own endpoints."""


def code(text: str) -> list[str]:
    """Return the lines of the blocks of code, and what stands in backticks."""
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`]+)`", prose)


def unknown(pattern: str, known: Callable[[str, Path], bool]) -> list[tuple[str, str]]:
    """Return text and name for each name that the code of a text has, and that is not known."""
    return [
        (name_of(path), name)
        for path, text in TEXTS.items()
        for line in code(text)
        for name in re.findall(pattern, line)
        if not known(name, path)
    ]


def one_of(names: Iterable[str]) -> Callable[[str, Path], bool]:
    found = frozenset(names)
    return lambda name, _: name in found


def test_no_make_target_is_unknown() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert unknown(r"^ *make ([a-z-]+)", one_of(targets)) == []


def test_no_command_is_unknown() -> None:
    known = one_of({*OPTIONS, "serve", "check"})
    assert unknown(r"(?<![\w./-])(?<!SETUSER )ginkgo-exporter ([a-z]+)\b(?!/)", known) == []


def test_no_variable_is_unknown() -> None:
    known = one_of(setting.variable for setting in all_settings())
    assert unknown(r"\bGINKGO_EXPORTER_[A-Z_]+\b", known) == []


def test_no_endpoint_is_unknown() -> None:
    paths = yaml.safe_load((ROOT / "docs" / "reference" / "openapi.yaml").read_text(encoding="utf-8"))["paths"]
    own = [re.compile(re.sub(r"\{\w+\}", r"[{}\\w$-]+", path)) for path in paths]
    pattern = r"(?<![\w.}>])/(?:api/v1|-|runbooks)/[\w{}$/-]*"
    assert unknown(pattern, lambda name, _: name in FOREIGN or any(path.fullmatch(name) for path in own)) == []


def test_no_file_is_unknown() -> None:
    top = (folder for folder in ROOT.iterdir() if folder.name[0] != "." and folder.name not in {"build", "dist"})
    basenames = {path.name for folder in top for path in (folder, *folder.rglob("*"))}

    def known(name: str, path: Path) -> bool:
        bases = (ROOT, path.parent, ROOT / "exporter", ROOT / "helm" / "ginkgo-exporter")
        there = any((base / name).exists() for base in bases) or ("/" not in name and name in basenames)
        return there or bool(NOT_IN_A_CHECKOUT.search(name))

    assert unknown(r"(?<![\w/.:$-])[\w-][\w./-]*\.(?:py|md|toml|svg|png)\b(?![\w/-])", known) == []


def test_no_test_is_unknown() -> None:
    assert (
        unknown(
            r"(?<![\w/.-])tests(?:/[\w.]+)+", lambda name, path: any((b / name).exists() for b in (ROOT, path.parent))
        )
        == []
    )


def has_name(name: str) -> bool:
    """Whether a dotted name is a module of this tree, or a name in such a module."""
    module, _, attribute = name.rpartition(".")
    try:
        return bool(find_spec(name)) or hasattr(import_module(module), attribute)
    except ModuleNotFoundError:
        return hasattr(import_module(module), attribute)


def test_no_name_of_python_is_unknown() -> None:
    own = {folder.name for folder in ROOT.iterdir()}
    assert unknown(r"^(exporter(?:\.\w+)+)(?:\(\))?$", lambda name, _: has_name(name)) == []
    pattern = r"python3? -m ([\w.]+)"
    assert unknown(pattern, lambda name, _: name.partition(".")[0] not in own or bool(find_spec(name))) == []


def test_a_name_that_a_text_gives_to_a_file_is_in_it() -> None:
    """For example the text says: add the field to `FIELDS` in `tests/exposition/test_text.py`."""
    missing = [
        (name_of(path), name, file)
        for path, text in TEXTS.items()
        for name, file in re.findall(r"`(\w+)`\s(?:in|of)\s`([\w./-]+\.(?:py|yml|toml))`", text)
        if not re.search(rf"\b{name}\b", (ROOT / file).read_text(encoding="utf-8"))
    ]
    assert missing == []
