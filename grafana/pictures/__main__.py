"""Draw the dashboards with Grafana's own components over real Prometheus servers, and save them in docs/pictures/.

Needs Node.js with npm, Chromium, Prometheus and promtool. If pngquant is there too, it shrinks the PNGs to a third.
"""

import functools
import http.server
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from grafana.proof import stories, tsdb
from grafana.proof.expressions import read
from grafana.proof.lives import END
from grafana.proof.stories import Story

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
PICTURES: Final = ROOT / "docs" / "pictures"
WIDTH: Final = 1_280
_HEAD: Final = 52
_CELL: Final = 38
_FIRST_SCREEN: Final = 25  # rows of the grid


@dataclass(frozen=True)
class Picture:
    """One PNG of a dashboard over a story: the whole dashboard, or its grid down to a row."""

    name: str
    dashboard: str
    rows: int | None = None
    variables: Mapping[str, str] = field(default_factory=dict)

    def height(self) -> int:
        """Return the height of the drawn part of the dashboard, in pixels."""
        panels = read(_file(self.dashboard))["panels"]
        whole = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
        return _HEAD + _CELL * (self.rows or whole) + 8


STATES: Final[Mapping[str, tuple[Sequence[Story], str]]] = {
    "all-well": ([stories.all_well()], "node-3"),
    "one-dead": ([stories.one_dead()], "node-3"),
    "mass-loss": ([stories.mass_loss()], "node-2"),
    "redis-away": ([stories.redis_away()], "node-3"),
    "writes-refused": ([stories.writes_refused()], "node-3"),
    "untraded": ([stories.untraded()], "node-2"),
    "1000-nodes": ([stories.thousand()], "node-0013"),
    "two-installations": (stories.two_installations(), "node-3"),
}
"""For each state its story, and the node that the node's dashboard shows."""


def _pictures(state: str, node: str) -> tuple[Picture, ...]:
    return (
        Picture(f"fleet-{state}", "fleet", rows=_FIRST_SCREEN),
        Picture(f"node-{state}", "node", rows=_FIRST_SCREEN, variables={"node": node}),
        Picture(f"exporter-{state}", "exporter", rows=_FIRST_SCREEN),
    )


def main(names: list[str]) -> None:
    """Draw the named pictures, or all of them. The name of a state draws this state on all dashboards."""
    page = _built()
    for state, (story, node) in STATES.items():
        wanted = [picture for picture in _pictures(state, node) if not names or {picture.name, state} & {*names}]
        if not wanted:
            continue
        with tempfile.TemporaryDirectory() as folder:
            tsdb.load(story, ROOT / "alerts" / "ginkgo.rules.yml", Path(folder))
            with tsdb.running(Path(folder)) as prometheus, _served(page) as address:
                for picture in wanted:
                    _draw(picture, prometheus.url, address)


def _built() -> Path:
    page = HERE / "page"
    for command in (["npm", "ci", "--ignore-scripts", "--legacy-peer-deps"], ["npm", "run", "build"]):
        if command[1] == "ci" and (page / "node_modules").exists():
            continue
        subprocess.run(command, cwd=page, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own arguments
    return page


@contextmanager
def _served(page: Path) -> Iterator[str]:
    shutil.copytree(ROOT / "grafana" / "dashboards", page / "dist" / "dashboards", dirs_exist_ok=True)
    handler = functools.partial(_Quiet, directory=str(page))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def _draw(picture: Picture, prometheus: str, address: str) -> None:
    texts = [each for each in read(_file(picture.dashboard))["templating"]["list"] if each["type"] == "textbox"]
    parameters = {
        **{each["name"]: each["current"]["value"] for each in texts},
        "dashboard": f"dist/dashboards/{picture.dashboard}.json",
        "prometheus": prometheus,
        "end": str(END),
        **picture.variables,
    }
    target = PICTURES / f"{picture.name}.png"
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(  # noqa: S603 - our own arguments
            [  # noqa: S607 - wherever PATH has it
                "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                f"--user-data-dir={profile}",
                f"--window-size={WIDTH},{picture.height()}",
                "--virtual-time-budget=30000",
                f"--screenshot={target}",
                f"{address}/index.html?{urlencode(parameters)}",
            ],
            check=True,
            capture_output=True,
            timeout=180,
        )
    if shutil.which("pngquant"):
        quality = ["--quality=85-100", "--strip", "--force", "--output", str(target), str(target)]
        subprocess.run(["pngquant", *quality], check=True)  # noqa: S603, S607 - our own arguments, from PATH
    sys.stdout.write(f"{target.relative_to(ROOT)}: {target.stat().st_size // 1024} KB\n")


def _file(dashboard: str) -> Path:
    return ROOT / "grafana" / "dashboards" / f"{dashboard}.json"


if __name__ == "__main__":
    main(sys.argv[1:])
