"""Page, JSON, readiness, log and the commands say the same of a Redis that cannot be read, in the same words."""

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from lab.nodes import beat
from lab.servers import Exporter, RedisServer, wait_for


def body(url: str) -> str:
    try:
        with urlopen(url) as answer:  # noqa: S310
            return str(answer.read().decode())
    except HTTPError as error:
        with error:
            return error.read().decode()


def test_outage_is_told_everywhere_in_the_same_words(redis_server: RedisServer, tmp_path: Path) -> None:
    flags = ("--redis.url", redis_server.url, "--redis.timeout", "500ms", "--discovery.interval", "100ms")
    exporter = Exporter(tmp_path, *flags)
    try:
        wait_for(exporter.is_ready)
        with redis_server.client() as client:
            beat(client, "node-1", ttl=600)
        wait_for(lambda: json.loads(body(f"{exporter.url}/api/v1/nodes"))["nodes"])
        redis_server.kill()
        wait_for(lambda: not json.loads(body(f"{exporter.url}/api/v1/nodes"))["redis_up"])
        ready = wait_for(lambda: re.fullmatch(r"not ready: (Redis cannot .+)\n?", body(f"{exporter.url}/-/ready")))
        sentence = ready[1]
        assert re.match(
            r"Redis cannot be read since \d{4}-\d\d-\d\d [0-9:]{8} UTC: cannot connect to Redis at", sentence
        )
        trouble = json.loads(body(f"{exporter.url}/api/v1/nodes"))["trouble"]
        assert trouble.startswith(f"{sentence} So nothing is known of the nodes now. The last that was known is old,")
        assert "1 online" in trouble
        assert json.loads(body(f"{exporter.url}/api/v1/portfolios"))["trouble"] == trouble
        assert trouble in body(f"{exporter.url}/")
        assert trouble in body(f"{exporter.url}/runbooks/GinkgoNodeOffline?node_id=node-1")
        command = [sys.executable, "-m", "exporter", "nodes", "--exporter.url", exporter.url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (
            1,
            f"ginkgo-exporter: the exporter at {exporter.url} says: {trouble}\n",
        )
        assert 'event="Redis cannot be read" error="cannot connect to Redis at' in exporter.output()
    finally:
        exporter.stop()
