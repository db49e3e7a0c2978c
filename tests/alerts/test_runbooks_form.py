"""The runbooks have one form: the same headings, one look first, and no command that deletes without a look."""

import re
import shlex
from collections.abc import Iterator

from alert_rules import alerts
from runbook_files import FORMS, HEADINGS, Block, all_blocks, blocks, page, sections

DELETES = re.compile(
    r"--yes\b|\b(?:DEL|UNLINK|FLUSHALL|FLUSHDB|RENAME|CONFIG SET maxmemory)\b|\bkill -|docker (?:kill|rm|stop)\b"
    r"|\bcompose (?:kill|rm|down|stop|up)\b|kubectl .*\b(?:delete|scale|drain)\b(?! pod --selector)"
)
LOOKS = ("ps ", "docker ps", "docker compose ps", "kubectl", "redis-cli", "ginkgo-exporter")
WITH_NODE = {name for name, rule in alerts().items() if "$labels.node_id" in str(rule["annotations"])}


def faults_of(name: str) -> Iterator[str]:
    """Yield in which points a runbook has another form than the others."""
    title, parts, own = (
        re.findall(r"^# (.*)$", page(name).replace("```", ""), re.MULTILINE)[0],
        sections(name),
        [*blocks(name)],
    )
    if (title, tuple(parts)) != (name, HEADINGS):
        yield "its headings"
        return
    asked = [block for block in own if block.section == "Is it true?"]
    if [len(block.commands) for block in asked if block.form != "promql"] != [1] or "promql" not in [
        b.form for b in asked
    ]:
        yield "the truth is not asked by one command and queries"
    if len(re.findall(r"^- \*\*.+?\*\*: |^\| `", parts["Is it true?"], re.MULTILINE)) < 2:
        yield "the answers are not explained"
    yield from command_faults(own)
    found = [block.form for block in own if block.form in FORMS]
    if found != [*FORMS] * (len(found) // len(FORMS)):
        yield "its forms do not come in threes"


def command_faults(own: list[Block]) -> Iterator[str]:
    seen: set[str] = set()
    for block in own:
        if not any(DELETES.search(command) for command in block.commands):
            seen |= {block.form for command in block.commands if command.startswith(LOOKS)}
        elif not {block.form, "every"} & seen:
            yield f"{block.text} comes before a look"
        elif not all(DELETES.search(each) or each == "PID=" or "kubectl" in each for each in block.commands):
            yield f"{block.text} is pasted together with a look"
        for command in block.commands:
            # A read of the plan counts as a look of the scheduler, unless its connection said NO-TOUCH.
            if "schedule:plan" in command and not re.search(
                r"NO-TOUCH ON' .*HGETALL| (?:TYPE|OBJECT IDLETIME) schedule:plan", command
            ):
                yield f"{command} hides a scheduler that hangs"


def test_all_runbooks_have_one_form() -> None:
    assert [(name, fault) for name in alerts() for fault in faults_of(name)] == []


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


def test_commands_for_containers_are_of_a_known_form() -> None:
    for form, command in sorted(_in_containers()):
        if command.startswith("export "):
            continue
        function = re.fullmatch(r"[a-z-]+\(\) \{ (.*) \"\$@\"; \}", command)
        own_words = function[1].removesuffix(" --no-raw") if function else command
        words = shlex.split(own_words.removesuffix(" >/dev/null &"))
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
