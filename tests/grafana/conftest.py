"""The written dashboards, and a Prometheus with an hour of each story, loaded once in a session."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from grafana.proof import history, tsdb
from grafana.proof.history import Story
from grafana.proof.tsdb import Prometheus

RULES = Path(__file__).parents[2] / "alerts" / "ginkgo.rules.yml"


def _serve(story: Story | None, folder: Path) -> Iterator[Prometheus]:
    for binary in ("prometheus", "promtool"):
        if shutil.which(binary) is None:
            pytest.skip(f"{binary} is not installed")
    if story is not None:
        tsdb.load(story, RULES, folder)
    with tsdb.running(folder) as prometheus:
        yield prometheus


@pytest.fixture(scope="session")
def eight_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    yield from _serve(history.normal(), tmp_path_factory.mktemp("eight"))


@pytest.fixture(scope="session")
def thousand_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    yield from _serve(history.thousand(), tmp_path_factory.mktemp("thousand"))


@pytest.fixture(scope="session")
def redis_down(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    yield from _serve(history.redis_down(), tmp_path_factory.mktemp("redis"))


@pytest.fixture(scope="session")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    yield from _serve(None, tmp_path_factory.mktemp("nothing"))
