"""Every command of every runbook, pasted into a real shell that reaches real servers, with a node of a hostile id."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from alert_rules import alerts
from runbook_files import all_blocks, blocks
from runbook_stack import HOSTILE, OnCall, distinct, on_call
from test_runbooks_form import WITH_NODE

from exporter.web.runbooks import in_promql, with_node
from lab.monitoring import ask
from lab.servers import Process, wait_for

pytestmark = [
    pytest.mark.rest,
    pytest.mark.server("prometheus"),
    pytest.mark.server("prometheus-alertmanager"),
    pytest.mark.server("redis-server"),
]

NEEDS_SYSTEMD = ("systemctl ", "journalctl ")
"""These are only parsed: a container of CI has no systemd."""
ONCE = re.compile(r" (?:--state|--sort) \w+")
"""Options of the exporter's commands whose values are all tried in the slow run only."""
SHOWS = {
    r"amtool .* silence query": r"ID  +Matchers",
    r"amtool .* alert query": r"GinkgoWatchdog",
    r"amtool .* config show": r"receiver: a",
    r"curl .*/-/healthy": r"\S",
    r"curl .*/-/ready": r"(?i)ready",
    r"ginkgo-exporter check .* --alertmanager": r"(?s)redis: (?:good|answers).*alertmanager http.*: good",
    r"ginkgo-exporter check ": r"redis: (?:good|answers), a master",
    r"ginkgo-exporter explain node:": r"Node .*is offline",
    r"ginkgo-exporter explain ": r"\S",
    r"ginkgo-exporter forget .* --yes": r"deleted",
    r"ginkgo-exporter forget ": r"would",
    r"ginkgo-exporter nodes .*--state undecided": r"",
    r"ginkgo-exporter nodes .*--state online": r"node-1 ",
    r"ginkgo-exporter nodes .*--state offline": r"touch pwned",
    r"ginkgo-exporter nodes ": r"(?s)touch pwned.*node-1 |node-1 .*touch pwned",
    r"ginkgo-exporter portfolios .*--state (?:duplicated|misplaced|unplanned)": r"",
    r"ginkgo-exporter portfolios ": r"^untraded +p4 +node_offline",
    r"printf .*HGETALL schedule:plan' \| redis-cli": r"p1\nnode-1",
    r"promtool check ready": r"(?i)ready|ok|success",
    r"promtool query instant .*Degraded": r"\A\n\Z",
    r"promtool query instant ": r"=> ?1 @",
    r"ps ": r"\d+ +\S+ +[\d:-]+ \S",
    r"redis-cli .* --bigkeys": r"Biggest",
    r"redis-cli .* --scan .*\| wc": r"^0$",
    r"redis-cli .* --scan .*portfolio:": r"portfolio:p1:state\n.*7.*\n.*node-1",
    r"redis-cli .* --raw --scan .*task_timer": r"host.*pid",
    r"redis-cli .* --scan .*worker": r"heartbeat:data_worker:w1",
    r"redis-cli .* --scan .*task_timer": r"heartbeat:task_timer:t1",
    r"redis-cli .* --scan .*node": r"node-1",
    r"redis-cli .* ACL WHOAMI": r"default",
    r"redis-cli .* BGSAVE": r"Background saving started",
    r"redis-cli .* CLIENT LIST": r"addr=",
    r"redis-cli .* CONFIG GET ": r"\S",
    r"redis-cli .* CONFIG SET ": r"\AOK\n\Z",
    r"redis-cli .* H?GET heartbeat:node:": r"",
    r"redis-cli .* HGETALL node:metrics:": r"(?s)total_events\n15000",
    r"redis-cli .* HM?GET node:metrics:": r"\S",
    r"redis-cli .* INFO errorstats": r"",
    r"redis-cli .* INFO clients \| grep paused": r"",
    r"redis-cli .* INFO ": r"\w+:",
    r"redis-cli .* OBJECT IDLETIME": r"\A\d+\n\Z",
    r"redis-cli .* PING": r"PONG",
    r"redis-cli .* PTTL ": r"\A-2\n\Z",
    r"redis-cli .* ROLE": r"master",
    r"redis-cli .* SET ginkgo:write-test": r"\AOK\n\Z",
    r"redis-cli .* SLOWLOG ": r"",
    r"redis-cli .* TYPE ": r"\Ahash\n\Z",
    r"redis-cli .* UNLINK ": r"\A1\n\Z",
}
"""What a command must show; the first pattern that fits a command counts."""
FAILED = re.compile(r"\AERR|\nERR |WRONGTYPE|Traceback|usage:|not found|unknown command|unrecognized|[Ss]yntax error")


@pytest.fixture(scope="module")
def engineer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnCall]:
    """An engineer on call for all tests of this module."""
    with on_call(tmp_path_factory.mktemp("on-call")) as engineer:
        yield engineer


def commands() -> Iterator[str]:
    """Yield the commands for hosts; of the exporter's commands one of each kind."""
    kinds = set[str]()
    for command in distinct([block for block in all_blocks() if block.form in ("every", "host")]):
        kind = ONCE.sub("", command) if command.startswith("ginkgo-exporter") else command
        if command.startswith(NEEDS_SYSTEMD) or command in ("PID=", 'kill -KILL "$PID"') or "export " in command:
            continue
        if " silence add " not in command and kind not in kinds:  # the next test silences
            yield command
        kinds.add(kind)


def test_each_command_runs_and_shows_what_the_reader_looks_for(engineer: OnCall) -> None:
    failures = []
    for command in commands():
        engineer.populate()
        done = engineer.pastes(with_node(command, HOSTILE))
        shown = next(shows for pattern, shows in SHOWS.items() if re.match(pattern, command))
        # grep says 1 if it finds nothing; check and --fail-untraded say 1 because a node is dead.
        codes = (0, 1) if "grep" in command or "untraded" in command or "check " in command else (0,)
        # redis-cli escapes when it writes to a terminal.
        raw = "\x1b" in done.stdout and "redis-cli" not in command
        if FAILED.search(done.stdout) or done.returncode not in codes or raw:
            failures.append((command, done.returncode, done.stdout))
        elif not re.search(shown, done.stdout, re.MULTILINE):
            failures.append((command, f"does not show {shown}", done.stdout))
    assert failures == []
    assert not (engineer.folder / "pwned").exists()


def test_each_silence_matches_the_alert_of_this_node_and_of_no_other(engineer: OnCall) -> None:
    for name in alerts():
        (block,) = (block for block in blocks(name) if block.section == "How to silence it")
        silence = engineer.pastes(with_node(block.text, HOSTILE)).stdout.split()[-1]
        found = ask(engineer.alertmanager.port, f"/api/v2/silence/{silence}")["matchers"]
        matchers = {each["name"]: each["value"] for each in found if each["isEqual"] and not each["isRegex"]}
        assert len(matchers) == len(found), name
        assert matchers.pop("alertname") == name
        assert matchers.pop("node_id", None) == (HOSTILE if name in WITH_NODE else None), name
        assert set(matchers) <= {"component"}, name
        engineer.pastes(f'amtool --alertmanager.url "$ALERTMANAGER_URL" silence expire {silence}')


def test_process_is_ended_only_by_its_number(engineer: OnCall, tmp_path: Path) -> None:
    (block,) = {block.text for block in all_blocks() if block.form == "host" and block.commands[0] == "PID="}
    process = Process(["sleep", "600"], tmp_path / "log")
    try:
        assert engineer.pastes(block).returncode != 0
        assert process.alive
        assert engineer.pastes(block.replace("PID=", f"PID={process.pid}")).returncode == 0
        wait_for(lambda: not process.alive, "for its end")
    finally:
        process.stop()


def test_queries_of_the_runbooks_are_answered(engineer: OnCall) -> None:
    for query in distinct([block for block in all_blocks() if block.form == "promql"]):
        path = f"/api/v1/query?query={quote(in_promql(query, HOSTILE))}"
        assert ask(engineer.prometheus.port, path)["status"] == "success", query
