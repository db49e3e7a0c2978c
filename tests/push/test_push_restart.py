"""An Alertmanager that is restarted has lost its alerts: they are posted again at once, and nobody is paged twice."""

import asyncio
import signal
from pathlib import Path

import pytest
from offering import REFRESH, offering, run, until
from push_stack import Stack

pytestmark = pytest.mark.server("prometheus-alertmanager")

SLACK = 2.0


@pytest.mark.parametrize("down", [0.0, 10.0])
@pytest.mark.parametrize("log_lost", [False, True], ids=["log kept", "log lost"])
def test_alerts_are_posted_again_at_once_to_an_alertmanager_that_was_restarted(
    stack: Stack, down: float, *, log_lost: bool
) -> None:
    webhook = stack.webhook()
    alertmanager = stack.alertmanager(webhook, resolve_timeout=300)

    async def scenario() -> None:
        async with offering(alertmanager.url) as offered:
            await until(lambda: offered.taken[alertmanager.url])
            offered.die("node-1")
            await until(lambda: webhook.of("node-1") == ["firing"], "for the page")
            await until(log.exists, "for its notification log")
            await asyncio.sleep(1.5)  # it saves that log twice a second
            alertmanager.process.stop(signal.SIGKILL)
            if log_lost:
                log.unlink()  # noqa: ASYNC240 - no harm in a test
            await asyncio.sleep(down)
            alertmanager.start()
            await until(alertmanager.alerts, "for it to know the alert again", REFRESH + SLACK)
            told = ["firing", "firing"] if log_lost else ["firing"]
            await until(lambda: webhook.of("node-1") == told, "for the page of one that forgot it had sent it")
            await asyncio.sleep(2 * REFRESH)
            assert webhook.of("node-1") == told

    log: Path = alertmanager.folder / "nflog"
    run(scenario)
