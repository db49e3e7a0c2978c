"""What the tests of the commands share: a command that runs in this process, and what it says."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from exporter import cli


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Say = Callable[..., Said]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Run the command line with some words."""

    def call(*words: str) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        code = ended.value.code
        assert isinstance(code, int)
        return Said(code, *capsys.readouterr())

    return call
