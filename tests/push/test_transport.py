"""The way to an Alertmanager: what is sent, how long an answer is waited for, authentication and TLS."""

import base64
import json
import socket
import ssl
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from exporter.errors import SettingsError
from exporter.push.transport import Clocks, HttpConfig, Transport
from lab.clusters import Certificates
from lab.fakes import FakeAlertmanager, fake_server
from lab.monitoring import Alertmanager, one_receiver


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


def config(folder: Path, text: str) -> HttpConfig:
    """Return the configuration that a file with this text gives."""
    path = folder / "http.yml"
    path.write_text(text)
    return HttpConfig.load(path)


def refusal(url: str, http: HttpConfig) -> str:
    """Return what is said of an empty post."""
    return Transport(url, http).post([]).problem


def test_a_post_is_accepted_and_the_date_of_its_answer_is_told() -> None:
    with FakeAlertmanager() as fake:
        fake.headers = {"Date": "Wed, 25 Nov 2026 12:00:00 GMT"}
        reply = Transport(f"{fake.url}/prefix", HttpConfig()).post([{"labels": {"node_id": "nöde"}}])
        assert fake.posts == [[{"labels": {"node_id": "nöde"}}]]
        assert fake.heads[0].startswith("POST /prefix/api/v2/alerts HTTP/1.1\r\n")
        assert reply[1:] == (False, "Wed, 25 Nov 2026 12:00:00 GMT")
        assert reply.problem == ""


def test_any_other_answer_is_a_refusal_said_in_one_line_and_no_redirect_is_followed() -> None:
    with FakeAlertmanager() as fake, FakeAlertmanager() as other:
        fake.headers = {"Date": "", "Location": f"{other.url}/api/v2/alerts"}
        fake.text = b"no,\n for a reason" + bytes(range(256)) * 10
        for fake.status in (201, 307, 400, 599):
            reply = Transport(fake.url, HttpConfig()).post([])
            assert reply.problem.startswith(f"HTTP {fake.status} no, for a reason")
            assert ("\n" in reply.problem, len(reply.problem) < 220, reply.date) == (False, True, "")
        fake.text = b""
        assert refusal(fake.url, HttpConfig()) == "HTTP 599"
        assert other.posts == []


def test_a_server_that_is_not_there_not_known_or_not_http_is_said_in_one_line() -> None:
    def odd(near: socket.socket) -> None:
        near.recv(65536)
        near.sendall(b"220 smtp.example ESMTP\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener, fake_server(odd) as port:
        full = f"http://127.0.0.1:{listener.getsockname()[1]}"
        for url, said in (
            ("http://127.0.0.1:1", "cannot connect: Connection refused (is it running there?"),
            *((url, "cannot connect: ") for url in ("http://alertmanager.invalid", "http://[::1]", "https://[::1]")),
            (f"http://127.0.0.1:{port}", "220 smtp"),
            (full, "no answer within 0.2 s"),
        ):
            reply = Transport(url, HttpConfig(), timeouts=(0.2, 0.2)).post([])
            assert reply.problem.startswith(said)
            assert ("\n" in reply.problem, reply.date, reply.timed_out) == (False, None, url == full)


def test_each_timeout_doubles_the_next_one_and_an_answer_halves_it() -> None:
    with FakeAlertmanager() as fake:
        way = Transport(fake.url, HttpConfig(), timeouts=(0.1, 0.4))
        fake.hangs = True
        for timeout in (0.1, 0.2, 0.4, 0.4):
            start = time.monotonic()
            assert way.post([]).timed_out
            assert timeout <= time.monotonic() - start < timeout + 0.2
        fake.hangs = False
        for timeout in (0.2, 0.1, 0.1):
            assert way.post([]).date
            assert way._timeout == timeout


def test_passwords_and_tokens_are_read_anew_from_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("old\n")
    assert config(tmp_path, "").headers() == {}
    for text, sent in (
        (f"authorization: {{credentials_file: {secret}}}", "Bearer {}"),
        (f"basic_auth: {{username: u, password_file: {secret}}}", "u:{}"),
    ):
        for password in ("old", "sécret:1"):
            secret.write_text(f"{password}\n")
            http = config(tmp_path, text)
            told = http.headers()["Authorization"]
            assert (base64.b64decode(told[6:]).decode() if told.startswith("Basic ") else told) == sent.format(password)
        secret.unlink()
        with FakeAlertmanager() as fake:
            assert "No such file" in refusal(fake.url, http), "an error of that post"
        secret.write_text("old\n")
    secret.write_text("old\nnew\n")
    with FakeAlertmanager() as fake:
        told = refusal(fake.url, config(tmp_path, f"authorization: {{credentials_file: {secret}}}"))
    assert told == f"{secret} holds more than one line"


def test_a_bad_file_is_refused_without_its_secrets(tmp_path: Path) -> None:
    for text, reason in (
        ("basic_auth: {username: u}", "basic_auth: username goes with password_file"),
        ("basic_auth: {password_file: /etc/passwd}", "basic_auth: username goes with password_file"),
        ("basic_auth: {username: u, password: abc}", "basic_auth.password: unknown"),
        (
            "basic_auth: {username: u, password_file: /etc/passwd}\nauthorization: {credentials_file: /etc/passwd}",
            "give one of basic_auth and",
        ),
        ("basic_auth: {username: u, password_file: /nowhere}", "basic_auth.password_file: no such file"),
        ("tls_config: {cert_file: /etc/passwd}", "tls_config: cert_file goes with key_file"),
        ("bearer_token: abc", "bearer_token: unknown"),
        ("a: [", ""),
        ("abc", ""),
    ):
        with pytest.raises(SettingsError) as caught:
            config(tmp_path, text.replace("abc", "top-secret"))
        assert str(caught.value).startswith(f"--alertmanager.config-file: {reason}")
        assert "\n" not in str(caught.value)
        assert "top-secret" not in str(caught.value)


def test_certificates_are_read_anew_for_each_post(tmp_path: Path, papers: Certificates) -> None:
    ca = tmp_path / "rotated.pem"
    ca.write_bytes(papers.ca.read_bytes())
    http = config(tmp_path, f"tls_config: {{ca_file: {ca}}}")
    assert not http.context().verify_flags & ssl.VERIFY_X509_STRICT  # as Alertmanager and Prometheus check certificates
    ca.unlink()
    assert "No such file" in refusal("https://localhost:1", http)
    (tmp_path / "ca.pem").write_text("not a certificate")
    broken = config(tmp_path, f"tls_config: {{ca_file: {tmp_path / 'ca.pem'}}}")
    assert refusal("https://localhost:1", broken)


@pytest.mark.server("prometheus-alertmanager")
def test_a_real_alertmanager_is_posted_to_over_tls_with_certificate_password_and_prefix(
    tmp_path: Path, papers: Certificates
) -> None:
    cert, key = papers.pair("localhost")
    web = tmp_path / "web.yml"
    tls = {"cert_file": str(cert), "key_file": str(key), "client_ca_file": str(papers.ca)}
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    users = {"basic_auth_users": {"bridge": hashed}}
    web.write_text(json.dumps({"tls_server_config": {**tls, "client_auth_type": "VerifyClientCertIfGiven"}, **users}))
    flags = (f"--web.config.file={web}", "--web.route-prefix=/alerting")

    class Secured(Alertmanager):
        """An Alertmanager that is asked for its readiness over TLS only."""

        def answers(self) -> bool:
            http = config(tmp_path, f"tls_config: {{ca_file: {papers.ca}}}")
            return "401" in refusal(f"https://localhost:{self.port}/alerting", http)

    server = Secured(tmp_path / "am", one_receiver("http://127.0.0.1:1", 1, 1), *flags)
    url, text = (
        f"https://localhost:{server.port}/alerting",
        "tls_config: {ca_file: %s%s}\nbasic_auth: {username: bridge, password_file: %s}",
    )
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    for file in (right, wrong):
        file.write_text(file.name)
    try:
        plain = config(tmp_path, text % (papers.ca, "", right))
        pair = f", cert_file: {papers.client_cert}, key_file: {papers.client_key}"
        assert refusal(url, plain) == refusal(url, config(tmp_path, text % (papers.ca, pair, right))) == ""
        assert refusal(url, config(tmp_path, text % (papers.ca, "", wrong))) == "HTTP 401 Unauthorized"
        assert "CERTIFICATE_VERIFY_FAILED" in refusal(url, plain._replace(tls_config=HttpConfig().tls_config))
        assert "certificate is not valid for '127.0.0.1'" in refusal(url.replace("localhost", "127.0.0.1"), plain)
    finally:
        server.stop()


NOON = datetime(2026, 11, 25, 12, 0, 0, 700_000, tzinfo=UTC).timestamp()
HOUR, YEAR = 3600.0, 365.25 * 86_400
FIRST, LAST = "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"


def clocks_of(date: float | str | None, off: float = 0.0) -> Clocks:
    """Return clocks after an answer whose date is so many seconds off, or reads so; ours is ``off``."""
    clocks = Clocks("http://am", wall=lambda: NOON + off, monotonic=lambda: 1000.0)
    clocks.observe(http_date(date) if isinstance(date, (int, float)) else date, 1000.0)
    return clocks


def http_date(off: float) -> str:
    return format_datetime(datetime.fromtimestamp(int(NOON + off), UTC), usegmt=True)


def times(clocks: Clocks) -> tuple[float | None, float | None]:
    """Return, in seconds from now, the start and the end of an alert that began 30 s ago and ends in 120 s."""
    told = clocks.times(970.0, 1120.0)
    unix = {name: datetime.fromisoformat(text).timestamp() - NOON for name, text in told.items()}
    return unix.get("startsAt"), unix.get("endsAt")


def test_an_alert_starts_by_the_earlier_and_ends_by_the_later_of_two_clocks_that_agree_to_a_minute() -> None:
    cases: list[tuple[float | str | None, float, float | None, float | None]] = [
        # the date, our clock; the start and the end (a date is cut to the second)
        (0, 0, -30.7, 120),
        (-40, 0, -70.7, 120),
        (60, 0, -30, 179.3),
        (61, 0, -30, None),
        (-59, 0, -89.7, 120),
        (-62, 0, -92.7, None),
        (HOUR, 0, -30, None),
        (FIRST, 0, -NOON - 30, None),
        (LAST, 0, -30, None),
        ("yesterday", 0, -30, None),
        (None, 0, -30, None),
        ("Wed, 25 Nov 2026 20:00:00 +0800", 0, -30.7, 120),
        ("Wed, 25 Nov 2026 12:00:00", 0, -30.7, 120),
        (0, -HOUR, -HOUR - 30, None),
        (0, HOUR, -30.7, None),
        (0, -60 * YEAR, -60 * YEAR - 30, None),
    ]
    wrong = {case[:2]: times(clocks_of(*case[:2])) for case in cases}
    assert wrong == {case[:2]: pytest.approx(case[2:], abs=0.01) for case in cases}


def test_an_alert_that_is_over_ends_in_the_past_of_both_clocks() -> None:
    for date, ends in ((0, -0.7), (40, 0), (HOUR, 0), (-HOUR, -HOUR - 0.7)):
        told = clocks_of(date).times(970.0, 1000.0, over=True)
        unix = [datetime.fromisoformat(told[key]).timestamp() - NOON for key in ("startsAt", "endsAt")]
        assert unix == pytest.approx([ends - 30, ends], abs=0.01)


def test_a_clock_that_is_unknown_or_was_set_gives_no_end() -> None:
    off = [0.0]
    clocks = Clocks("http://am", wall=lambda: NOON + off[0], monotonic=lambda: 1000.0)
    assert times(clocks) == (pytest.approx(-30), None)
    clocks.observe(http_date(0), 1000.0)
    for off[0], start, known in ((0.0, -30.7, True), (-90.0, -120, False), (90.0, -30.7, False)):
        assert times(clocks)[0] == pytest.approx(start)
        assert (times(clocks)[1] is not None) is known
    clocks.observe(None, 1000.0)
    assert times(clocks)[1] is None, "a date that is missing after a good one"


@given(st.text() | st.dates().map(str) | st.from_regex(r"\w{3}, \d{1,2} \w{3} \d{1,5} \d+:\d+:\d+ [-+]?\w{0,5}"))
def test_no_date_is_an_error(text: str) -> None:
    assert (times(clocks_of(text))[0] or 0) <= -30


def test_a_disagreement_is_logged_once() -> None:
    clocks = Clocks("http://am", wall=lambda: NOON, monotonic=lambda: 1000.0)
    with capture_logs() as logs:
        for date in (http_date(0), None, None, http_date(0), http_date(0), http_date(HOUR), http_date(-HOUR)):
            clocks.observe(date, 1000.0)
    assert [entry["date"] for entry in logs] == [None, http_date(HOUR)]
