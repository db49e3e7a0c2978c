"""The status page in a real browser: what it shows, and that it keeps itself current."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from exporter.liveness import State
from exporter.portfolios.ledger import PortfolioState
from exporter.snapshot.rows import COLUMNS
from exporter.snapshot.snapshot import COUNTED
from exporter.web import page
from exporter.web.palette import STATES
from lab.nodes import beat
from lab.servers import Exporter, RedisServer, running_exporter, wait_for

MARKUP = "<b onclick=alert(1)>n</b><script>document.title='owned'</script>\x1b\n\"'&amp;"
MARKUP_SHOWN = r"<b onclick=alert(1)>n</b><script>document.title='owned'</script>\x1b\n" + "\"'&amp;"
FLAGS = ("--discovery.interval", "100ms", "--redis.timeout", "1s", "--alertmanager.url", "http://127.0.0.1:9")
pytestmark = [pytest.mark.server("chromium"), pytest.mark.timeout(300)]


@pytest.fixture
def exporter(redis_server: RedisServer, tmp_path: Path) -> Iterator[Exporter]:
    with running_exporter(tmp_path, "--redis.url", redis_server.url, *FLAGS) as exporter:
        yield exporter


@pytest.fixture
def own_client(redis_server: RedisServer) -> Iterator["redis.Redis"]:
    with redis_server.client() as client:
        yield client


def opened(browser: Chrome, exporter: Exporter, nodes: int) -> None:
    wait_for(lambda: exporter.get("/api/v1/nodes").text.count('"node_id"') == nodes)
    browser.get(f"{exporter.url}/")


def table(browser: Chrome) -> list[list[str]]:
    """Return the texts of all cells, row by row."""
    rows: list[list[str]] = browser.execute_script(  # type: ignore[no-untyped-call]
        "return [...document.querySelectorAll('#nodes tbody tr')].map(r => [...r.children].map(c => c.textContent))"
    )
    return rows


def order(browser: Chrome) -> list[str]:
    return [row[1] for row in table(browser)]


def text(browser: Chrome, selector: str) -> str:
    while True:
        with suppress(StaleElementReferenceException):  # the page has replaced the element between the two steps
            return browser.find_element(By.CSS_SELECTOR, selector).text


def test_page_shows_all_nodes_offline_first_with_every_column_and_nothing_of_an_id_runs(
    browser: Chrome, exporter: Exporter, own_client: "redis.Redis"
) -> None:
    beat(own_client, MARKUP, ttl=600, portfolio_count=4, total_events=5)
    beat(own_client, "node-2", ttl=600)
    own_client.hset("node:metrics:node-3", "backpressure_count", "1234")
    opened(browser, exporter, 3)
    rows = table(browser)
    assert [row[:2] for row in rows] == [["offline", "node-3"], ["online", MARKUP_SHOWN], ["online", "node-2"]]
    titles = [heading.text for heading in browser.find_elements(By.CSS_SELECTOR, "#nodes thead th")]
    assert titles == [column.title for column in COLUMNS if column.name != "events"]
    assert rows[0][titles.index("Backpressure")] == "1,234"
    assert re.fullmatch(r"\d+s \(since before \d\d:\d\d:\d\d\)", rows[0][3])
    assert rows[1][4:8] == ["4", "15", "12.5 %", "512 MiB"]
    assert text(browser, "#counts").split() == ["2", "online", "1", "offline", "Redis", "answers"]
    assert browser.title.startswith("1 offline, 2 online")
    assert browser.find_elements(By.CSS_SELECTOR, "#nodes b, #nodes script") == []
    links = [link.get_dom_attribute("href") for link in browser.find_elements(By.CSS_SELECTOR, "nav a")]
    assert links[:4] == ["./metrics", "./api/v1/nodes", "./-/healthy", "./-/ready"]
    policy = exporter.get("/").headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert (policy.count("sha256-"), "unsafe" in policy) == (2, False)
    assert "style=" not in exporter.get("/").text


def test_page_keeps_itself_current_in_the_same_rows(
    browser: Chrome, exporter: Exporter, own_client: "redis.Redis"
) -> None:
    beat(own_client, "node-1", ttl=600, dropped_events=2)
    beat(own_client, "node-2", ttl=600)
    opened(browser, exporter, 2)
    assert "This exporter pushes no alert now." in text(browser, "#pushed")
    assert "Alerts that Prometheus makes from its rules are not shown here" in text(browser, "#pushed")
    browser.execute_script("document.querySelector('tr[data-id=node-2]').dataset.mark = 'same'")  # type: ignore[no-untyped-call]
    beat(own_client, "node-2", ttl=1)
    beat(own_client, "node-1", ttl=600, dropped_events=60)
    wait_for(lambda: order(browser) == ["node-2", "node-1"])
    assert browser.title.startswith("1 offline")
    wait_for(lambda: "node_id=node-2" in text(browser, "#pushed"))
    runbook = browser.find_element(By.LINK_TEXT, "GinkgoNodeOffline").get_dom_attribute("href")
    assert runbook == "./runbooks/GinkgoNodeOffline?node_id=node-2"
    wait_for(lambda: "Node node-1 dropped 58 events in the last five minutes." in text(browser, "#notices"))
    assert browser.find_element(By.CSS_SELECTOR, "tr.drops").text.split()[1] == "node-1"
    assert "Node node-2 is offline" in text(browser, "#events")


def test_nodes_are_sorted_and_filtered_by_mouse_and_keyboard(
    browser: Chrome, exporter: Exporter, own_client: "redis.Redis"
) -> None:
    for name, queue in (("tokyo-a", "10"), ("tokyo-b", "9"), ("hk-c", "100")):
        beat(own_client, name, ttl=600, queue_size=queue)
    own_client.hset("node:metrics:tokyo-d", "total_events", "1")
    opened(browser, exporter, 4)
    heading = "th[data-key=queue_size]"
    assert order(browser) == ["tokyo-d", "hk-c", "tokyo-a", "tokyo-b"]
    browser.find_element(By.CSS_SELECTOR, f"{heading} a").click()
    wait_for(lambda: order(browser) == ["tokyo-b", "tokyo-a", "hk-c", "tokyo-d"])
    assert browser.find_element(By.CSS_SELECTOR, heading).get_dom_attribute("aria-sort") == "ascending"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    wait_for(lambda: order(browser) == ["hk-c", "tokyo-a", "tokyo-b", "tokyo-d"])
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    wait_for(lambda: order(browser) == ["tokyo-d", "hk-c", "tokyo-a", "tokyo-b"])
    browser.find_element(By.ID, "filter").send_keys("TOKYO")
    wait_for(lambda: order(browser) == ["tokyo-d", "tokyo-a", "tokyo-b"])
    browser.find_element(By.ID, "state").send_keys("off")
    wait_for(lambda: order(browser) == ["tokyo-d"])
    assert text(browser, "#shown") == "1 node"
    assert browser.find_element(By.ID, "filter").get_property("value") == "TOKYO"
    browser.refresh()
    assert order(browser) == ["tokyo-d"], "the address names what is shown"


def test_rows_are_bounded_and_only_what_is_in_view_is_laid_out(
    browser: Chrome, exporter: Exporter, own_client: "redis.Redis"
) -> None:
    for number in range(page.MOST_ROWS + 1):
        beat(own_client, f"node-{number:04}", ttl=600)
    own_client.hset("node:metrics:z", "total_events", "1")
    opened(browser, exporter, page.MOST_ROWS + 2)
    assert (order(browser)[0], len(table(browser))) == ("z", page.MOST_ROWS)
    assert text(browser, "#more").startswith("2 more nodes are not shown")
    laid_out = (
        "return [...document.querySelectorAll('#nodes tbody td')]"
        ".filter(cell => cell.checkVisibility({contentVisibilityAuto: true})).length"
    )
    browser.execute_script("document.getElementById('nodes').scrollIntoView()")  # type: ignore[no-untyped-call]
    wait_for(lambda: 0 < browser.execute_script(laid_out) < 2_000)  # type: ignore[no-untyped-call]


def test_page_says_what_it_does_not_know(
    chrome: Chrome, redis_server: RedisServer, exporter: Exporter, own_client: "redis.Redis"
) -> None:
    assert "No nodes" in exporter.get("/").text
    beat(own_client, "node-1", ttl=600)
    opened(chrome, exporter, 1)
    redis_server.pause()
    wait_for(lambda: "Redis cannot be read" in text(chrome, "#counts"))
    assert table(chrome) == []
    assert "Nothing is known" in text(chrome, "#trouble")
    assert "online" not in text(chrome, "#counts")
    redis_server.resume()
    wait_for(lambda: order(chrome) == ["node-1"])
    exporter.stop()
    wait_for(lambda: "out of date" in text(chrome, "#trouble"))
    assert "The page cannot be refreshed" in text(chrome, "#counts")


def test_faults_of_portfolios_are_shown_with_their_open_positions(
    browser: Chrome, exporter: Exporter, own_client: "redis.Redis"
) -> None:
    beat(own_client, "a", ttl=600, loaded_portfolio_ids='["good"]')
    own_client.hset("portfolio:lost:state", mapping={"position_count": 14, "node_id": "gone"})
    own_client.hset("schedule:plan", mapping={"good": "a", "lost": "__ORPHANED__"})

    def shown() -> list[str]:
        ids: list[str] = browser.execute_script(  # type: ignore[no-untyped-call]
            "return [...document.querySelectorAll('#portfolios tbody tr')].map(r => r.children[1].textContent)"
        )
        return ids

    wait_for(lambda: "14</b> open positions in untraded portfolios" in exporter.get("/").text)
    opened(browser, exporter, 1)
    counts = exporter.get("/").text.partition('id="portfolio-counts"')[2].partition("</p>")[0]
    assert re.findall(r"<b>(\d+)</b> (\w+)", counts) == [("1", "traded"), ("1", "untraded"), ("14", "open")]
    assert shown() == ["lost"]
    beat(own_client, "a", ttl=600, loaded_portfolio_ids='["good", "lost"]')
    own_client.hset("schedule:plan", "lost", "a")
    wait_for(lambda: "2 traded" in text(browser, "#portfolio-counts"))
    assert shown() == []


def test_every_state_has_a_colour() -> None:
    assert {*map(str, COUNTED), *map(str, PortfolioState)} <= STATES.keys()
    assert State.GONE not in STATES
