"""The runbooks have one form: the same headings, one look first, and no command that deletes without a look."""

import re
import shlex
import subprocess

import pytest
from alert_rules import alerts
from runbook_files import FORMS, HEADINGS, all_blocks, blocks, page, sections

from docs.source.forms import forms
from lab.servers import binary

EVERY_RUNBOOK = pytest.mark.parametrize("name", list(alerts()))
SENTENCE = re.compile(r"[^.]*(?:\d\.\d[^.]*|\.[a-z][^.]*)*\.$")
DELETES = re.compile(
    r"--yes\b|\b(?:DEL|UNLINK|FLUSHALL|FLUSHDB|RENAME|CONFIG SET maxmemory)\b|\bkill -|docker (?:kill|rm|stop)\b"
    r"|\bcompose (?:kill|rm|down|stop|up)\b|kubectl .*\b(?:delete|scale|drain)\b(?! pod --selector)"
)
LOOKS = ("ps ", "docker ps", "docker compose ps", "kubectl", "redis-cli", "ginkgo-exporter")
MOST_QUESTIONS = 6
WITH_NODE = {name for name, rule in alerts().items() if "$labels.node_id" in str(rule["annotations"])}


@EVERY_RUNBOOK
def test_every_runbook_has_the_same_headings(name: str) -> None:
    assert re.findall(r"^# (.*)$", page(name).replace("```", ""), re.MULTILINE)[0] == name
    assert tuple(sections(name)) == HEADINGS


@EVERY_RUNBOOK
def test_the_meaning_begins_with_one_sentence(name: str) -> None:
    first = " ".join(sections(name)["What it means"].split("\n\n")[0].split())
    assert SENTENCE.match(first), first


@EVERY_RUNBOOK
def test_the_truth_is_asked_by_one_command_and_its_answers_are_explained(name: str) -> None:
    text = sections(name)["Is it true?"]
    assert text.startswith("```sh\n")
    commands = [block for block in blocks(name) if block.section == "Is it true?" and block.form != "promql"]
    assert [len(block.commands) for block in commands] == [1]
    assert "promql" in [block.form for block in blocks(name) if block.section == "Is it true?"]
    answers = re.findall(r"^- \*\*.+?\*\*: |^\| `", text, re.MULTILINE)
    assert len(answers) >= 2


@EVERY_RUNBOOK
def test_the_decision_takes_at_most_six_questions_and_goes_forward_only(name: str) -> None:
    text = sections(name)["Decide"]
    questions = re.findall(r"^(\d)\. \*\*.+?\?\*\*", text, re.MULTILINE)
    assert questions == [str(number + 1) for number in range(len(questions))]
    assert 2 <= len(questions) <= MOST_QUESTIONS
    for number, step in enumerate(re.split(r"^\d\. ", text, flags=re.MULTILINE)[1:], 1):
        for target in re.findall(r"go\s+to\s+(\d)", step, re.IGNORECASE):
            assert number < int(target) <= len(questions), f"question {number} leads to {target}"


@EVERY_RUNBOOK
def test_a_silence_matches_this_alert_and_its_node_for_a_limited_time(name: str) -> None:
    silences = [block for block in blocks(name) if block.section == "How to silence it"]
    (command,) = [command for block in silences for command in block.commands]
    words = shlex.split(command)
    assert words[:5] == ["amtool", "--alertmanager.url", "$ALERTMANAGER_URL", "silence", "add"]
    matchers = [word for word in words[5:] if not word.startswith("--")]
    assert matchers[0] == f"alertname={name}"
    assert ('node_id="NODE"' in matchers) == (name in WITH_NODE)
    (hours, minutes) = re.fullmatch(r"--duration=(?:(\d+)h)?(?:(\d+)m)?", words[-2]).groups("0")  # type: ignore[union-attr]
    assert 0 < int(hours) * 60 + int(minutes) <= 24 * 60
    assert words[-1].startswith("--comment=")


@EVERY_RUNBOOK
def test_what_deletes_or_ends_something_stands_alone_and_after_a_look(name: str) -> None:
    seen: set[str] = set()
    for block in blocks(name):
        if not any(DELETES.search(command) for command in block.commands):
            seen |= {block.form for command in block.commands if command.startswith(LOOKS)}
            continue
        assert {block.form, "every"} & seen, f"{block.text} comes before a look"
        assert all(
            DELETES.search(command) or command == "PID=" or "kubectl" in command for command in block.commands
        ), f"{block.text} is pasted together with a look"


@EVERY_RUNBOOK
def test_no_command_hides_a_scheduler_that_hangs(name: str) -> None:
    """A read of the plan counts as a look of the scheduler, unless its connection said NO-TOUCH."""
    for command in (command for block in blocks(name) for command in block.commands if "schedule:plan" in command):
        assert re.search(r"NO-TOUCH ON' .*HGETALL| (?:TYPE|OBJECT IDLETIME) schedule:plan", command), command


@EVERY_RUNBOOK
def test_forms_come_in_threes(name: str) -> None:
    found = [block.form for block in blocks(name) if block.form in FORMS]
    assert found == [*FORMS] * (len(found) // len(FORMS))


def test_every_form_is_used() -> None:
    text = "".join(page(name) for name in alerts())
    assert [name for name, form in forms().items() if form not in text] == []


def _in_containers() -> set[tuple[str, str]]:
    """Return form and text of each command for containers."""
    return {
        (block.form, command)
        for block in all_blocks()
        if block.form in ("compose", "kubernetes")
        for line in block.commands
        for command in re.split(r" &&\s*", line)
    }


KNOWN = {
    ("docker", "ps"): {"--all", "--filter"},
    ("docker", "logs"): {"--tail"},
    ("docker", "kill"): set[str](),
    ("docker", "compose", "ps"): {"--all"},
    ("docker", "compose", "logs"): {"--tail"},
    ("docker", "compose", "restart"): {"--timeout"},
    ("docker", "compose", "up"): {"--detach", "--no-recreate", "--scale"},
    ("docker", "compose", "exec"): {"-T"},
    ("kubectl", "get"): {"--namespace", "--output"},
    ("kubectl", "logs"): {"--namespace", "--tail"},
    ("kubectl", "delete"): {"--namespace", "--now", "--timeout"},
    ("kubectl", "scale"): {"--namespace", "--replicas"},
    ("kubectl", "wait"): {"--namespace", "--for", "--selector", "--timeout"},
    ("kubectl", "rollout", "restart"): {"--namespace"},
    ("kubectl", "exec"): {"--namespace", "--stdin"},
    ("kubectl", "port-forward"): {"--namespace"},
}
"""Tool, command and the flags that runbooks use, from the references of Docker, Docker Compose and kubectl."""
VALUED = {"--namespace", "--filter", "--tail", "--output", "--selector", "--scale"}


@pytest.mark.parametrize(("form", "command"), sorted(_in_containers()))
def test_commands_for_containers_are_of_a_known_form(form: str, command: str) -> None:
    if command.startswith("export "):
        return
    if function := re.fullmatch(r"[a-z-]+\(\) \{ (.*) \"\$@\"; \}", command):
        command = function[1].removesuffix(" --no-raw")
    words = shlex.split(command.removesuffix(" >/dev/null &"))
    tool, flags, rest = words[0], set(), []
    assert tool == ("docker" if form == "compose" else "kubectl")
    own = words[1 : words.index("--")] if "--" in words else words[1:]
    while own:
        word = own.pop(0)
        if word.startswith("-"):
            flags.add(word.partition("=")[0])
            own = own[word in VALUED :]
        else:
            rest.append(word)
    names = [name for name in KNOWN if name == (tool, *rest[: len(name) - 1])]
    assert names, f"{tool} {rest[:2]} is unknown"
    assert flags <= KNOWN[max(names, key=len)]
    # An id that begins with a hyphen is no flag.
    assert not [word for word in words if re.match(r"NODE\b", word)] or "--" in words


@pytest.mark.server("docker-compose")
@pytest.mark.parametrize("command", [name[-1] for name in KNOWN if name[:2] == ("docker", "compose")])
def test_docker_compose_knows_these_flags(command: str) -> None:
    run = subprocess.run([binary("docker-compose"), command, "--help"], capture_output=True, text=True, check=True)
    flags = set(re.findall(r"^ +(-\w)?,? *(--[a-z-]+)?", run.stdout, re.MULTILINE))
    assert KNOWN["docker", "compose", command] <= {flag for pair in flags for flag in pair}
