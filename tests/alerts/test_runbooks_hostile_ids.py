"""A hostile id in the commands of all runbooks, pasted into a real bash: each tool gets it whole, and nothing runs."""

import os
import pty
import re
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from runbook_files import all_blocks

from exporter.web.runbooks import assignment, with_node
from hostile_ids import HOSTILE

TOOLS = (
    *("amtool", "curl", "docker", "ginkgo-exporter", "journalctl", "kill", "kubectl", "promtool", "ps", "redis-cli"),
    "systemctl",
)
RECORD = 'printf "%s\\0" "${FUNCNAME[0]}" "$@" "END" >>"$RECORD"'
PATIENCE = 60.0
WRITTEN = {"portfolios.txt"}
"""What commands of runbooks write into the current folder."""


@cache
def templates() -> tuple[str, ...]:
    """Return each block with a node's id once."""
    found = [block.text for block in all_blocks() if block.form != "promql" and re.search(r"\bNODE\b", block.text)]
    return tuple(text for text in dict.fromkeys(found) if "export" not in text)


def calls(folder: Path, blocks: Sequence[str]) -> list[list[str]]:
    """Paste blocks into bash in a folder; return the arguments of every tool that they call."""
    record = folder / "record"
    tools = "\n".join(f"{tool}() {{ {RECORD}; }}" for tool in TOOLS)
    place = folder / "place"
    place.mkdir()
    script = "\n".join([tools, *blocks]).encode()
    environment = {"PATH": os.environ["PATH"], "RECORD": str(record)}
    done = subprocess.run(
        ["bash"], input=script, cwd=place, env=environment, capture_output=True, check=False, timeout=PATIENCE
    )
    assert not done.stderr, done.stderr[-1000:]
    assert {path.name for path in place.iterdir()} <= WRITTEN
    words = record.read_bytes().decode().split("\0")
    found: list[list[str]] = [[]]
    for word in words[:-1]:
        if word == "END":
            found.append([])
        else:
            found[-1].append(word)
    return found[:-1]


def test_each_tool_gets_the_id_whole_and_nothing_else_runs(tmp_path: Path) -> None:
    def called(node_id: str, folder: str) -> list[list[str]]:
        (tmp_path / folder).mkdir()
        return calls(tmp_path / folder, [with_node(text, node_id) for text in templates()])

    harmless = called("harmless", "harmless")
    assert len(harmless) > len(templates()) / 2
    for number, node_id in enumerate(HOSTILE):
        matched = node_id.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        names = {True: ('node_id="harmless"', f'node_id="{matched}"'), False: ("harmless", node_id)}
        expected = [[word.replace(*names[word.startswith("node_id=")]) for word in call] for call in harmless]
        assert called(node_id, str(number)) == expected, node_id


def test_a_terminals_shell_runs_nothing_either(tmp_path: Path) -> None:
    """An interactive bash expands its history (``!!``), which a script does not."""
    lines = ["PS1=", "echo the last command"]
    for number, node_id in enumerate(HOSTILE):
        lines += [assignment(node_id), f'printf %s "$NODE" >{number}']
    terminal, inside = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "TERM": "dumb"},
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
    )
    os.close(inside)
    os.write(terminal, "\n".join([*lines, "exit", ""]).encode())
    with suppress(OSError):  # the shell has ended
        while os.read(terminal, 4096):
            pass
    os.close(terminal)
    shell.wait(PATIENCE)
    assert {path.name for path in tmp_path.iterdir()} == {str(number) for number in range(len(HOSTILE))}
    for number, node_id in enumerate(HOSTILE):
        assert (tmp_path / str(number)).read_bytes().decode() == node_id
