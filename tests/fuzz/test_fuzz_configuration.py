"""Any configuration file is loaded, or refused with one line for each error: a loader raises no other exception."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from exporter import settings
from exporter.errors import SettingsError
from exporter.push.config import HttpConfig
from exporter.settings import all_settings
from exporter.web.config import WebConfig

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.dates(),
    st.datetimes(),
    st.binary(max_size=5),
    st.sampled_from(
        ["10s", "-1s", "1e400s", "redis://", "redis://h:99999", "::1", "[::1]:1", ":0", "a=b", "/dev/null"]
    ),
)
HASH = "$2b$04$abcdefghijklmnopqrstuuVHBYLlWg6sVBLQTfBMIJZIoTQnhXQpq"
NAMES = {
    "settings": sorted({part for setting in all_settings() for part in setting.name.split(".")}),
    "web": [
        *("tls_server_config", "cert_file", "key_file", "client_auth_type", "client_ca_file", "client_allowed_sans"),
        *("min_version", "cipher_suites", "curve_preferences", "prefer_server_cipher_suites", "basic_auth_users"),
        *("http_server_config", "http2", "headers", "X-Frame-Options"),
    ],
    "alertmanager": [
        *("basic_auth", "username", "password", "password_file", "authorization", "type", "credentials"),
        *("credentials_file", "tls_config", "ca_file", "cert_file", "key_file", "insecure_skip_verify"),
    ],
}


def trees(names: list[str]) -> st.SearchStrategy[Any]:
    """Return trees of any shape, in which known names are frequent."""
    keys = st.one_of(st.sampled_from(names), st.sampled_from(names), SCALARS)
    return st.recursive(
        st.one_of(SCALARS, st.sampled_from([*names, HASH])),
        lambda below: st.one_of(
            st.lists(below, max_size=3),
            st.dictionaries(keys, below, max_size=4),
            st.dictionaries(st.sampled_from(names), below, max_size=4),
        ),
        max_leaves=12,
    )


TEXTS = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text("{}[]:,-?!&*|>'\"%@` \n\t0123456789abx~=<.#", max_size=60).map(str.encode),
)
LOADERS: Mapping[str, Callable[[Path], object]] = {
    "settings": lambda file: settings.load({"config.file": str(file)}),
    "web": WebConfig.load,
    "alertmanager": HttpConfig.load,
}


def loaded_or_refused_in_clear_lines(kind: str, content: bytes) -> None:
    refusal = "none"
    with tempfile.NamedTemporaryFile(suffix=".yml") as file:
        file.write(content)
        file.flush()
        try:
            LOADERS[kind](Path(file.name))
        except SettingsError as error:
            refusal = str(error)
    # The settings name all errors at once, with a line for each.
    lines = refusal.split("\n") if kind == "settings" else [refusal]
    assert all(lines)
    assert [line for line in lines if "\n" in line or not line.startswith(("none", "configuration file: ", "--"))] == []


@pytest.fixture(autouse=True, scope="module")
def no_variables() -> None:
    with pytest.MonkeyPatch.context() as patch:
        for setting in all_settings():
            patch.delenv(setting.variable, raising=False)


@pytest.mark.parametrize("kind", LOADERS)
@given(content=TEXTS)
@example(content=b"2000-13-01")
@example(content=b"2001-01-01T99:00:00")
@example(content=b'!!int ""')
@example(content=b"!!bool x")
@example(content=b"!!timestamp x")
@example(content=b"{1: {}}")
@example(content=b"&a {redis: *a}")
@example(content=b"[" * 5000)
@example(content=b"1" * 5000)
def test_any_text_is_loaded_or_refused_in_clear_lines(kind: str, content: bytes) -> None:
    loaded_or_refused_in_clear_lines(kind, content)


@pytest.mark.parametrize("kind", LOADERS)
@given(data=st.data())
def test_any_tree_is_loaded_or_refused_in_clear_lines(kind: str, data: st.DataObject) -> None:
    tree = data.draw(trees(NAMES[kind]))
    loaded_or_refused_in_clear_lines(kind, yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))
