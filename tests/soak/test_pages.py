"""The soak's judge of pages accuses the exporter of false, missing and second ones, and of nothing else."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from by_hand import Truth, dead, seen_online

from exporter.push.alerts import MASS_LOSS, REDIS_UNREACHABLE, WRITES_REFUSED
from lab.oracle import OFFLINE, ONLINE, UNDECIDED
from lab.servers import ROOT, wait_for


def test_page_for_a_dead_node_is_right_and_one_for_a_living_node_is_false() -> None:
    truth = dead()
    assert not truth.page(103.2)
    assert not truth.judged(120)
    living, excused, stopped = seen_online(), seen_online(), seen_online()
    for second in (101, 102, 103):
        living.beat(second)
    excused.fault(100.2, 108)
    stopped.stop(101)
    assert living.page(103.2)
    assert excused.page(109)
    assert stopped.page(109)


def test_death_without_a_page_is_noticed_once() -> None:
    truth = dead()
    assert not truth.judged(104)
    assert len(truth.judged(109)) == 1
    assert not truth.judged(110)


def test_second_page_for_one_death_is_wrong_and_one_for_each_of_two_deaths_is_right() -> None:
    truth = dead()
    truth.judged(120)
    truth.page(120.2)
    assert truth.page(121), "the first one is open"
    truth.page(122, status="resolved")
    assert truth.page(123), "the node has not beaten since"
    truth.page(124, status="resolved")
    truth.beat(125)
    truth.say(125.1, ONLINE)
    truth.say(128.1, OFFLINE)
    assert not truth.page(128.2)
    truth.page(129, status="resolved", ends=124)
    assert not truth.page(130), "Prometheus has repeated the end of the first alert"


def test_member_of_a_mass_loss_has_the_common_page_and_no_other() -> None:
    truth = Truth("a", "b", "c")
    for name in truth.nodes:
        truth.beat(100, name)
    truth.say(103.1, OFFLINE, member=True)
    assert not truth.page(103.2, MASS_LOSS)
    assert not truth.judged(112)
    assert truth.page(112.1)
    assert seen_online().page(103.2, MASS_LOSS), "it needs three deaths"


def test_answer_event_and_page_each_need_the_other_two() -> None:
    truth = seen_online()
    truth.say(103.1, OFFLINE, event=False)
    assert len(truth.judged(109)) == 2, "no event, and no page"
    truth = seen_online()
    assert truth.page(103.2), "no event"
    truth = dead()
    truth.page(103.2)
    truth.tell(112, OFFLINE, "forgotten")  # and no answer since
    assert not truth.judged(112.2)
    for at, before, after in (
        (103.2, OFFLINE, OFFLINE),
        (100.5, ONLINE, OFFLINE),  # it lives
        (110.0, ONLINE, UNDECIDED),
    ):
        truth = seen_online()
        truth.tell(at, before, after)
        assert len(truth.judged(105)) == 1, (at, before, after)


def test_page_about_redis_needs_its_cause() -> None:
    for until, right in ((150.0, False), (175.0, True)):
        truth = seen_online()
        truth.fault(110, until)
        assert (not truth.page(until - 0.5, REDIS_UNREACHABLE)) is right
    truth = seen_online()
    assert truth.page(110, WRITES_REFUSED)
    truth.recorder.refuse(120, 120.1)
    assert not truth.page(121, WRITES_REFUSED)


@pytest.mark.slow
@pytest.mark.server("prometheus-alertmanager")
def test_exporter_is_never_wrong_through_a_minute_of_faults() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab", "soak", "--minutes", "1", "--seed", "5"],
        capture_output=True,
        text=True,
        timeout=250,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.server("prometheus-alertmanager")
def test_sigterm_and_ctrl_c_leave_no_server_and_no_folder_behind(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        command = [sys.executable, "-m", "lab", "soak", "--minutes", "1"]
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        soak = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        process = psutil.Process(soak.pid)
        wait_for(lambda process=process: len(process.children()) >= 3, "for the servers")  # type: ignore[misc]
        children = process.children(recursive=True)
        time.sleep(0.5)
        soak.send_signal(number)
        soak.wait(60)
        assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        assert not list(tmp_path.iterdir()), number
