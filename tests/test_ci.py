"""The workflows are pinned, and call what exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
CI = ROOT / ".ci" / "run"
WORKFLOWS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / ".github" / "workflows").glob("*.yml")}


def test_every_action_is_pinned_by_one_digest_and_every_called_target_exists() -> None:
    uses = set(re.findall(r"uses: (.+)", "\n".join(WORKFLOWS.values())))
    assert [action for action in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)] == []
    assert len({action.partition("@")[2] for action in uses}) <= len({action.partition("@")[0] for action in uses})
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    called = re.findall(r"\bmake --no-print-directory ([a-z-]+)", "\n".join((*WORKFLOWS.values(), CI.read_text())))
    assert set(called) <= targets
