"""What pages have in common: their style and script inside of the document, and the policy that allows these alone."""

import base64
import hashlib
from pathlib import Path
from typing import Final

_STATIC: Final = Path(__file__).parent / "static"


def source(name: str) -> str:
    """Return a style sheet or a script."""
    return (_STATIC / name).read_text(encoding="utf-8")


def content_policy(style: str, script: str = "", *, forms: bool = False) -> str:
    """Return the Content-Security-Policy of a page: a browser runs and loads nothing beside this style and script.

    Args:
        style: The page's style.
        script: The page's script; empty for none.
        forms: Whether the page may send a form, to this exporter only.
    """
    run = f" script-src {_hash(script)}; connect-src 'self';" if script else ""
    target = "self" if forms else "none"
    return (
        f"default-src 'none'; style-src {_hash(style)};{run}"
        f" img-src data:; base-uri 'none'; form-action '{target}'; frame-ancestors 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
