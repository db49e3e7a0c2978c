"""The status page in a real browser: what it shows, and that it keeps itself current."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import pytest
import redis
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from exporter.web import page
from lab.nodes import beat
from lab.servers import Exporter, RedisServer, wait_for

MARKUP = "<b onclick=alert(1)>n</b><script>document.title='owned'</script>\x1b\n\"'&amp;"
MARKUP_SHOWN = r"<b onclick=alert(1)>n</b><script>document.title='owned'</script>\x1b\n" + "\"'&amp;"
pytestmark = [pytest.mark.server("chromium"), pytest.mark.timeout(300)]


@pytest.fixture
def exporter(redis_server: RedisServer, tmp_path: Path) -> Iterator[Exporter]:
    exporter = Exporter(tmp_path, "--redis.url", redis_server.url, "--discovery.interval", "100ms")
    try:
        wait_for(lambda: answers(f"{exporter.url}/-/ready"))
        yield exporter
    finally:
        exporter.stop()


@pytest.fixture
def own_client(redis_server: RedisServer) -> Iterator["redis.Redis"]:
    with redis_server.client() as client:
        yield client


def answers(url: str) -> bool:
    try:
        with urlopen(url) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


def known(exporter: Exporter, count: int) -> bool:
    with urlopen(f"{exporter.url}/api/v1/nodes") as answer:  # noqa: S310
        return len(json.load(answer)["nodes"]) == count


def table(browser: Chrome) -> list[list[str]]:
    """Return the texts of all cells that are shown, row by row."""
    rows: list[list[str]] = browser.execute_script(  # type: ignore[no-untyped-call]
        "return [...document.querySelectorAll('#nodes tbody tr')].map(r => [...r.children].map(c => c.textContent))"
    )
    return rows


def states(browser: Chrome) -> dict[str, str]:
    return {row[1]: row[0] for row in table(browser)}


def order(browser: Chrome) -> list[str]:
    return [row[1] for row in table(browser)]


def sort_by(browser: Chrome, key: str) -> None:
    browser.find_element(By.CSS_SELECTOR, f"th[data-key={key}] button").click()


def text(browser: Chrome, selector: str) -> str:
    while True:
        with suppress(StaleElementReferenceException):  # the page has replaced the element between the two steps
            return browser.find_element(By.CSS_SELECTOR, selector).text


def refreshed(browser: Chrome) -> bool:
    """Whether the script has drawn the table at least once."""
    return bool(
        browser.execute_script(  # type: ignore[no-untyped-call]
            "return performance.getEntriesByType('resource').some(e => e.name.endsWith('/?rows') && e.responseEnd)"
        )
    )


def opened(browser: Chrome, exporter: Exporter) -> None:
    browser.get(f"{exporter.url}/")
    wait_for(lambda: refreshed(browser))


def test_page_shows_all_nodes_offline_first_and_counts_them(
    browser: Chrome, exporter: Exporter, own_client: "redis.Redis"
) -> None:
    beat(own_client, "node-1", ttl=600, portfolio_count=4, total_events=5)
    beat(own_client, "node-2", ttl=600)
    own_client.hset("node:metrics:node-3", "backpressure_count", "1234")
    wait_for(lambda: known(exporter, 3))
    opened(browser, exporter)
    rows = table(browser)
    assert [row[:2] for row in rows] == [["offline", "node-3"], ["online", "node-1"], ["online", "node-2"]]
    assert rows[0][9] == "1,234"
    assert re.fullmatch(r"before \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", rows[0][3])
    assert rows[1] == ["online", "node-1", "0s ago", "–", "4", "15", "12.5 %", "512 MiB", "–", "5", "2", "RUNNING"]  # noqa: RUF001
    assert text(browser, "#counts").split() == ["2", "online", "1", "offline", "Redis", "answers"]
    assert browser.title.startswith("1 offline, 2 online")
    links = [link.get_dom_attribute("href") for link in browser.find_elements(By.CSS_SELECTOR, "nav a")]
    assert links[:4] == ["./metrics", "./api/v1/nodes", "./-/healthy", "./-/ready"]


def test_page_shows_the_same_texts_before_and_after_its_own_refresh(
    browser: Chrome, exporter: Exporter, own_client: "redis.Redis"
) -> None:
    odd = {"portfolio_count": "2.25", "queue_size": "1234567.5", "cpu_usage": "33.333", "memory_usage": "1536.4"}
    large = {"total_events": "9" * 20, "backpressure_count": "1e15", "dropped_events": "1e300", "memory_usage": "1e9"}
    for name, fields in (("odd", odd), ("large", large), (MARKUP, {}), ("节点\u3000\u0085\U000e0001", {"status": "?"})):
        beat(own_client, name, ttl=600, **fields)
    own_client.hset("node:metrics:dead", "dropped_events", "0")
    wait_for(lambda: known(exporter, 5))
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(f"{exporter.url}/")
        served = [
            [cell.get_attribute("textContent") for cell in row.find_elements(By.CSS_SELECTOR, "th, td")]
            for row in browser.find_elements(By.CSS_SELECTOR, "#nodes tbody tr")
        ]
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    opened(browser, exporter)
    assert len(served) == 5
    assert sorted(table(browser)) == sorted(served)
    assert MARKUP_SHOWN in states(browser)


def test_id_with_markup_is_text_and_nothing_of_it_runs(
    browser: Chrome, exporter: Exporter, own_client: "redis.Redis"
) -> None:
    beat(own_client, MARKUP, ttl=600)
    wait_for(lambda: known(exporter, 1))
    opened(browser, exporter)
    assert order(browser) == [MARKUP_SHOWN]
    assert browser.find_elements(By.CSS_SELECTOR, "#nodes b, #nodes script") == []
    assert "owned" not in browser.title


def test_runbook_fills_in_an_id_with_markup_as_text_and_takes_another_id_from_its_field(
    browser: Chrome, exporter: Exporter
) -> None:
    browser.get(f"{exporter.url}/runbooks/GinkgoNodeOffline?node_id={quote(MARKUP)}")
    assert browser.find_elements(By.CSS_SELECTOR, "#known b, #known script, main script") == []
    assert browser.title.startswith("GinkgoNodeOffline · <b onclick")
    field = browser.find_element(By.NAME, "node_id")
    field.clear()
    field.send_keys("it's", Keys.ENTER)
    wait_for(lambda: "node_id=it%27s" in browser.current_url, "for the form")
    assert """NODE='it'"'"'s'""" in text(browser, "main")


def test_crash_shows_by_itself_in_the_same_row(browser: Chrome, exporter: Exporter, own_client: "redis.Redis") -> None:
    beat(own_client, "node-1", ttl=600)
    beat(own_client, "node-2", ttl=3)
    wait_for(lambda: known(exporter, 2))
    opened(browser, exporter)
    browser.execute_script("document.querySelector('tr[data-id=node-2]').dataset.mark = 'same'")  # type: ignore[no-untyped-call]
    wait_for(lambda: states(browser).get("node-2") == "offline")
    assert order(browser) == ["node-2", "node-1"]
    row = browser.find_element(By.CSS_SELECTOR, "tr[data-id=node-2]")
    assert row.get_dom_attribute("data-mark") == "same"
    cells = row.find_elements(By.CSS_SELECTOR, "td")
    assert cells[1].text.endswith("s ago")
    with urlopen(f"{exporter.url}/api/v1/nodes") as answer:  # noqa: S310
        since = json.load(answer)["nodes"][1]["offline_since"]
    assert cells[2].text == f"{datetime.fromtimestamp(since, UTC):%Y-%m-%d %H:%M:%S}"
    assert "1 offline" in text(browser, "#counts")


def test_columns_sort_by_mouse_and_keyboard_and_say_so(
    browser: Chrome, exporter: Exporter, own_client: "redis.Redis"
) -> None:
    for name, queue in (("a", "10"), ("b", "9"), ("c", "100")):
        beat(own_client, name, ttl=600, queue_size=queue)
    own_client.hset("node:metrics:d", "total_events", "1")
    wait_for(lambda: known(exporter, 4))
    opened(browser, exporter)
    heading = browser.find_element(By.CSS_SELECTOR, "th[data-key=queue_size]")
    assert order(browser) == ["d", "a", "b", "c"]
    sort_by(browser, "queue_size")
    assert order(browser) == ["b", "a", "c", "d"]
    assert heading.get_dom_attribute("aria-sort") == "ascending"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert order(browser) == ["c", "a", "b", "d"]
    assert heading.get_dom_attribute("aria-sort") == "descending"
    browser.switch_to.active_element.send_keys(Keys.SPACE)
    assert order(browser) == ["d", "a", "b", "c"]
    assert heading.get_dom_attribute("aria-sort") is None


def test_filter_and_state_narrow_the_table_and_say_how_far(
    browser: Chrome, exporter: Exporter, own_client: "redis.Redis"
) -> None:
    for name in ("tokyo-1", "tokyo-2", "hk-1"):
        beat(own_client, name, ttl=600)
    own_client.hset("node:metrics:tokyo-3", "total_events", "1")
    wait_for(lambda: known(exporter, 4))
    opened(browser, exporter)
    browser.find_element(By.ID, "filter").send_keys("TOKYO")
    assert order(browser) == ["tokyo-3", "tokyo-1", "tokyo-2"]
    browser.find_element(By.ID, "state").send_keys("off")
    wait_for(lambda: order(browser) == ["tokyo-3"])
    assert text(browser, "#shown") == "1 of 4 nodes"


def test_a_thousand_nodes_are_all_there_and_sort_at_once(
    browser: Chrome, exporter: Exporter, own_client: "redis.Redis"
) -> None:
    for number in range(1000):
        beat(own_client, f"node-{number:04}", ttl=600, queue_size=(number * 7) % 1000)
    wait_for(lambda: known(exporter, 1000))
    opened(browser, exporter)
    assert len(table(browser)) == 1000
    assert not browser.find_element(By.ID, "more").is_displayed()
    sort_by(browser, "queue_size")
    assert [int(row[5]) for row in table(browser)] == list(range(1000))
    # Only what is in view costs anything: with all rows laid out, an operator waits at each refresh.
    laid_out = browser.execute_script(  # type: ignore[no-untyped-call]
        "return [...document.querySelectorAll('#nodes tbody td')]"
        ".filter(cell => cell.checkVisibility({contentVisibilityAuto: true})).length"
    )
    assert 0 < laid_out < 2_000


def test_beyond_a_thousand_rows_the_offline_ones_stay_and_the_filter_finds_the_rest(
    browser: Chrome, exporter: Exporter, own_client: "redis.Redis"
) -> None:
    for number in range(page.MOST_ROWS + 1):
        beat(own_client, f"node-{number:04}", ttl=600)
    own_client.hset("node:metrics:z", "total_events", "1")
    wait_for(lambda: known(exporter, page.MOST_ROWS + 2))
    opened(browser, exporter)
    assert order(browser)[0] == "z"
    assert len(table(browser)) == page.MOST_ROWS
    assert text(browser, "#more").startswith("2 more nodes are not shown")
    browser.find_element(By.ID, "filter").send_keys(f"node-{page.MOST_ROWS}")
    assert order(browser) == [f"node-{page.MOST_ROWS}"]


def test_redis_that_cannot_be_read_empties_the_table_until_it_answers(
    browser: Chrome, redis_server: RedisServer, own_client: "redis.Redis", tmp_path: Path
) -> None:
    exporter = Exporter(tmp_path / "short", "--redis.url", redis_server.url, "--redis.timeout", "500ms")
    try:
        wait_for(lambda: answers(f"{exporter.url}/-/ready"))
        beat(own_client, "node-1", ttl=600)
        wait_for(lambda: known(exporter, 1))
        opened(browser, exporter)
        redis_server.pause()
        wait_for(lambda: "Redis cannot be read" in text(browser, "#counts"))
        assert table(browser) == []
        assert "nothing is known" in text(browser, "#trouble")
        assert "online" not in text(browser, "#counts")
        browser.refresh()
        assert "nothing is known" in text(browser, "#trouble")
        redis_server.resume()
        wait_for(lambda: order(browser) == ["node-1"])
        assert not browser.find_element(By.ID, "trouble").is_displayed()
    finally:
        redis_server.resume()
        exporter.stop()


def test_stopped_exporter_is_reported_above_the_outdated_table(
    chrome: Chrome, exporter: Exporter, own_client: "redis.Redis"
) -> None:
    beat(own_client, "node-1", ttl=600)
    wait_for(lambda: known(exporter, 1))
    opened(chrome, exporter)
    exporter.stop()
    wait_for(lambda: "out of date" in text(chrome, "#trouble"))
    assert "No answer from the exporter" in text(chrome, "#counts")


def test_events_per_second_come_from_two_beats(browser: Chrome, exporter: Exporter, own_client: "redis.Redis") -> None:
    beat(own_client, "node-1", ttl=20, total_events=1000)
    wait_for(lambda: known(exporter, 1))
    opened(browser, exporter)
    beat(own_client, "node-1", ttl=28, total_events=3000)
    wait_for(lambda: table(browser)[0][8] != "–")  # noqa: RUF001
    # Eight seconds by the TTL, and the little that has passed since.
    assert 2000 / 20 < float(table(browser)[0][8].replace(",", "")) <= 2000 / 8


def test_table_without_nodes_says_so(browser: Chrome, exporter: Exporter) -> None:
    opened(browser, exporter)
    assert "No nodes" in text(browser, "main")


def test_pushed_alerts_are_listed_until_they_end(
    browser: Chrome, redis_server: RedisServer, own_client: "redis.Redis", tmp_path: Path
) -> None:
    flags = ("--alertmanager.url", "http://127.0.0.1:9", "--discovery.interval", "100ms")
    exporter = Exporter(tmp_path / "push", "--redis.url", redis_server.url, *flags)
    try:
        wait_for(lambda: answers(f"{exporter.url}/-/ready"))
        beat(own_client, "node-1", ttl=600)
        wait_for(lambda: known(exporter, 1))
        opened(browser, exporter)
        title, *refusals, none = text(browser, "#pushed").splitlines()
        assert (title, none) == ("Alerts being pushed", "None.")
        assert all(line.startswith("Alertmanager http://127.0.0.1:9 takes no posts since ") for line in refusals)
        own_client.hset("node:metrics:node-2", "total_events", "1")
        wait_for(lambda: "GinkgoNodeOffline" in text(browser, "#pushed"))
        assert "node_id=node-2" in text(browser, "#pushed")
        runbook = browser.find_element(By.LINK_TEXT, "GinkgoNodeOffline").get_dom_attribute("href")
        assert runbook == "./runbooks/GinkgoNodeOffline?node_id=node-2"
        assert "Alertmanager http://127.0.0.1:9 takes no posts since " in text(browser, "#pushed")
        beat(own_client, "node-2", ttl=600)
        wait_for(lambda: "None." in text(browser, "#pushed"))
    finally:
        exporter.stop()


def test_faults_of_portfolios_are_shown_and_all_portfolios_on_demand(
    browser: Chrome, exporter: Exporter, own_client: "redis.Redis"
) -> None:
    beat(own_client, "a", ttl=600, loaded_portfolio_ids='["good"]')
    own_client.hset("schedule:plan", mapping={"good": "a", "lost": "__ORPHANED__"})
    wait_for(lambda: known(exporter, 1))
    browser.get(exporter.url)

    def shown() -> list[str]:
        ids: list[str] = browser.execute_script(  # type: ignore[no-untyped-call]
            "return [...document.querySelectorAll('#portfolios tbody tr')].map(r => r.children[1].textContent)"
        )
        return ids

    assert shown() == ["lost"]
    browser.find_element(By.ID, "portfolios-all").click()
    wait_for(lambda: shown() == ["lost", "good"])
    own_client.hset("schedule:plan", "lost", "a")
    beat(own_client, "a", ttl=600, loaded_portfolio_ids='["good", "lost"]')
    wait_for(lambda: "2 traded" in text(browser, "#portfolio-counts"))
    assert shown() == ["good", "lost"]
    browser.find_element(By.ID, "portfolios-all").click()
    wait_for(lambda: shown() == [])
    own_client.delete("schedule:plan")
    beat(own_client, "a", ttl=600, loaded_portfolio_ids=None)
    own_client.hdel("node:metrics:a", "loaded_portfolio_ids")
    wait_for(lambda: not browser.find_element(By.ID, "portfolios").is_displayed())


def test_content_security_policy_names_every_part_of_the_page(exporter: Exporter) -> None:
    with urlopen(f"{exporter.url}/") as answer:  # noqa: S310
        policy, body = answer.headers["Content-Security-Policy"], answer.read().decode()
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none';")
    assert policy.count("sha256-") == 2
    assert "style=" not in body
    assert " on" + "click=" not in body
