"""The written dashboards, and a Prometheus with an hour of each story, loaded once in a session."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from grafana.proof import stories, tsdb
from grafana.proof.stories import Story
from grafana.proof.tsdb import Prometheus
from lab.servers import binary

RULES = Path(__file__).parents[2] / "alerts" / "ginkgo.rules.yml"


def _serve(told: Sequence[Story], folder: Path) -> Iterator[Prometheus]:
    for program in ("prometheus", "promtool"):
        binary(program)
    if told:
        tsdb.load(told, RULES, folder)
    with tsdb.running(folder) as prometheus:
        yield prometheus


@pytest.fixture(scope="session")
def eight_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    yield from _serve([stories.normal()], tmp_path_factory.mktemp("eight"))


@pytest.fixture(scope="session")
def thousand_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    yield from _serve([stories.thousand()], tmp_path_factory.mktemp("thousand"))


@pytest.fixture(scope="session")
def installations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    yield from _serve(stories.installations(), tmp_path_factory.mktemp("installations"))


@pytest.fixture(scope="session")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    yield from _serve([], tmp_path_factory.mktemp("nothing"))
