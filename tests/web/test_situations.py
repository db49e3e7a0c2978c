"""The page in eight situations, in a real browser: clean by axe-core, usable by keyboard, from one host alone.

With ``--pictures FOLDER`` the pictures of the documentation are drawn too.
"""

import base64
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.keys import Keys
from situations import NAMES, Course, running_course

from lab.servers import wait_for

AXE = Path(__file__).parent / "axe"
PHONE, NARROW, DESK = (390, 844), (700, 900), (1300, 900)
LOOKS = ((DESK, "light"), (DESK, "dark"), (NARROW, "light"), (NARROW, "dark"), (PHONE, "light"))
LARGEST = 150_000

pytestmark = [pytest.mark.server("chromium"), pytest.mark.timeout(300)]

_RUN_AXE = """
const [scheme, done] = arguments;
const rules = scheme === "dark" ? ["color-contrast"] : undefined; // the same page with other colours
axe.run(document, {resultTypes: ["violations"], runOnly: rules}).then(
  (found) => done(found.violations.map((one) => `${one.id}: ${one.help}: ${one.nodes.map((n) => n.target).join(" ")}`)),
  (error) => done([String(error)]),
);
"""
_FOCUSABLE = """
const shown = (one) => one.checkVisibility({visibilityProperty: true}) && one.tabIndex >= 0;
return [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex]")].filter(shown).length;
"""
_UNTOUCHED = """
document.activeElement.blur();
scrollTo(0, 0);
for (const part of document.querySelectorAll(".scroll")) part.scrollTo(0, 0);
"""
_CUT = """
const cut = (cell) => cell.scrollWidth > cell.clientWidth || cell.getBoundingClientRect().right > row(cell).right + 1;
const row = (cell) => cell.parentElement.getBoundingClientRect();
return [...document.querySelectorAll("#nodes td, #nodes th")].filter(cut).map((cell) => cell.textContent);
"""
_WATCH_FOCUS = """
window.visited = [];
document.addEventListener("focusin", (event) => {
  const style = getComputedStyle(event.target);
  window.visited.push(event.target.matches(":focus-visible") && style.outlineStyle !== "none");
});
"""


@dataclass
class Visit:
    """What the browser saw in one situation."""

    text: str
    title: str
    violations: dict[str, list[str]] = field(default_factory=dict)
    focusable: int = 0
    visited: list[bool] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    console: list[Any] = field(default_factory=list)
    wider_than_window: int = 0
    cut: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def axe() -> str:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    lock, installed = AXE / "package-lock.json", AXE / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=AXE, check=True, capture_output=True)
    return (AXE / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def visits(
    chrome: Chrome, axe: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[str, Visit]:
    pictures = request.config.getoption("--pictures")
    seen = {}
    with running_course(tmp_path_factory.mktemp("situations")) as course:
        for name in NAMES:
            course.go(name)
            seen[name] = visit(chrome, course, axe)
            if pictures:
                draw(chrome, Path(pictures), name)
    look(chrome, DESK, "light")
    chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    return seen


def visit(chrome: Chrome, course: Course, axe: str) -> Visit:
    """Open the page as a person would, on a desk and on a phone, by light and in the dark."""
    chrome.get("about:blank")
    chrome.get_log("browser")  # type: ignore[no-untyped-call]
    look(chrome, DESK, "light")
    chrome.get(f"{course.exporter.url}/")
    wait_for(lambda: run(chrome, "return document.documentElement.classList.contains('live')"))
    seen = Visit(chrome.find_element("css selector", "body").text, chrome.title)
    seen.focusable = run(chrome, _FOCUSABLE)
    run(chrome, _WATCH_FOCUS)
    ActionChains(chrome).send_keys(Keys.TAB * seen.focusable).perform()
    seen.visited = run(chrome, "return window.visited")
    run(chrome, axe)
    for size, scheme in LOOKS:
        look(chrome, size, scheme)
        seen.cut += run(chrome, _CUT)
        seen.violations[f"{size[0]} {scheme}"] = chrome.execute_async_script(_RUN_AXE, scheme)  # type: ignore[no-untyped-call]
    seen.wider_than_window = run(chrome, "return document.documentElement.scrollWidth - innerWidth")
    seen.loaded = run(chrome, "return performance.getEntriesByType('resource').map((one) => one.name)")
    seen.console = chrome.get_log("browser")  # type: ignore[no-untyped-call]
    return seen


def run(chrome: Chrome, script: str) -> Any:
    return chrome.execute_script(script)  # type: ignore[no-untyped-call]


def look(chrome: Chrome, size: tuple[int, int], scheme: str) -> None:
    """Set the size of the window, and whether the person prefers light or dark pages."""
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    chrome.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )


def draw(chrome: Chrome, folder: Path, name: str) -> None:
    """Write the pictures of a situation; pngquant makes them small."""
    looks = {f"{name}-light": (DESK, "light"), f"{name}-dark": (DESK, "dark")}
    looks |= {f"{name}-phone": (PHONE, "light")} if name == "dead" else {}
    folder.mkdir(parents=True, exist_ok=True)
    for file, (size, scheme) in looks.items():
        look(chrome, size, scheme)
        run(chrome, _UNTOUCHED)
        picture = chrome.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        path = folder / f"{file}.png"
        path.write_bytes(base64.b64decode(picture["data"]))
        if shutil.which("pngquant"):
            subprocess.run(["pngquant", "--force", "--ext", ".png", "--strip", "64", path], check=True)


def test_axe_finds_nothing_in_any_situation_at_any_size_by_light_and_in_the_dark(visits: dict[str, Visit]) -> None:
    found = {(name, where): faults for name, seen in visits.items() for where, faults in seen.violations.items()}
    assert len(found) == len(NAMES) * len(LOOKS)
    assert {place: faults for place, faults in found.items() if faults} == {}


def test_axe_finds_faults_where_there_are_some(chrome: Chrome, axe: str) -> None:
    chrome.get("data:text/html,<title>t</title><main><h1>h</h1><img src=x><input></main>")
    run(chrome, axe)
    found = chrome.execute_async_script(_RUN_AXE, "light")  # type: ignore[no-untyped-call]
    assert {"image-alt", "label"} <= {line.partition(":")[0] for line in found}


def test_axe_finds_nothing_on_a_runbook(chrome: Chrome, axe: str, tmp_path: Path) -> None:
    with running_course(tmp_path) as course:
        chrome.get(f"{course.exporter.url}/runbooks/GinkgoNodeOffline?node_id=node-1")
        run(chrome, 'document.querySelector("details").open = true')
        run(chrome, axe)
        for size, scheme in LOOKS:
            look(chrome, size, scheme)
            assert chrome.execute_async_script(_RUN_AXE, scheme) == []  # type: ignore[no-untyped-call]
            assert run(chrome, "return document.documentElement.scrollWidth - innerWidth") <= 0


def test_keyboard_reaches_everything_and_nothing_is_cut_off_or_loaded_from_elsewhere(visits: dict[str, Visit]) -> None:
    for name, seen in visits.items():
        assert (name, seen.focusable >= 6, seen.visited) == (name, True, [True] * seen.focusable)
        assert (name, seen.console, seen.wider_than_window, seen.cut) == (name, [], 0, [])
        assert all(address.startswith("http://127.0.0.1:") for address in seen.loaded)


def test_each_situation_is_told_at_a_glance(visits: dict[str, Visit]) -> None:
    wanted = {
        "empty": ("0 offline, 0 online", "No nodes"),
        "well": ("0 offline, 5 online", "Redis answers", "8 traded", "nowhere else."),
        "dead": (
            "1 offline, 4 online",
            "GinkgoNodeOffline",
            "node_id=exec-sg-1",
            "Node exec-sg-1 is offline; it was online before.",
        ),
        "untraded": ("1 offline, 4 online", "3 untraded", "node offline", "orphaned"),
        "alertmanager": ("1 offline, 4 online", "takes no posts: HTTP 503"),
        "loss": ("6 offline, 5 online", "GinkgoMassHeartbeatLoss"),
        "refused": (
            "0 offline, 3 online",
            "2 undecided",
            "Redis answers, and refuses writes",
            "Redis has refused writes since",
        ),
        "away": ("Redis cannot be read", "Nothing is known of the nodes now", "The last known states are old, of"),
    }
    for name, (title, *texts) in wanted.items():
        assert visits[name].title == f"{title} · ginkgo-exporter"
        assert (name, [text for text in texts if text not in visits[name].text]) == (name, [])


def test_pictures_of_the_documentation_are_there_and_small() -> None:
    folder = Path(__file__).parents[2] / "docs" / "reference" / "status-page"
    wanted = {f"{name}-{scheme}.png" for name in NAMES for scheme in ("light", "dark")} | {"dead-phone.png"}
    assert {path.name for path in folder.iterdir()} == wanted
    assert all(path.stat().st_size <= LARGEST for path in folder.iterdir())
