"""Explore in a real browser: choosing, searching, zooming by mouse and by keyboard, a rule; narrow and dark windows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from tests.support.browser import arrived, chrome, complaints, is_too_wide, press, screenshot, served, served_app, wait
from tests.support.exports import derive, opened
from tests.support.web_client import site_of

pytestmark = pytest.mark.service

CPU = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with opened(tmp_path_factory.mktemp("explore")) as pipeline:
        derive(pipeline)
        with served(site_of(pipeline)) as url:
            yield url


def heading(driver: Any) -> str:
    """The frame that the flame graph is zoomed to."""
    return str(driver.find_element("css selector", ".crumbs strong").text)


def frames(driver: Any) -> list[Any]:
    return list(driver.find_elements("css selector", ".flame a"))


def test_from_a_profile_type_to_a_rule(address: str, tmp_path: Path):
    with chrome(tmp_path) as driver:
        driver.get(address)
        screenshot(driver, "explore")
        # A link to a part of the page leaves it as it is.
        asked = driver.execute_async_script(
            "const done = arguments[0]; let asked = 0; const ask = window.fetch;"
            "window.fetch = (...all) => { asked += 1; return ask(...all); };"
            "addEventListener('popstate', () => done(asked), { once: true }); location.hash = 'functions';"
        )
        assert asked == 0
        # A choice is shown at once, and in place: the script's state outlives it.
        driver.execute_script("window.isSame = true")
        Select(driver.find_element("id", "type")).select_by_value("memory:alloc_space:bytes:space:bytes")
        arrived(driver, "type=memory")
        wait(driver, lambda one: "memory allocated" in one.find_element("css selector", ".chart figcaption").text, "")
        assert driver.execute_script("return window.isSame === true")
        driver.back()
        wait(
            driver, lambda one: "CPU time" in one.find_element("css selector", ".chart figcaption").text, "the way back"
        )
        # What is typed is marked before it is sent.
        driver.find_element("id", "search").send_keys("runtime.")
        marked = driver.find_elements("css selector", ".flame .hit")
        assert marked
        assert all("runtime." in one.accessible_name for one in marked[:5])
        assert f"{len(marked)} frames" in driver.find_element("id", "matched").text
        driver.find_element("id", "search").send_keys(Keys.ENTER)
        arrived(driver, "search=runtime.")
        wait(
            driver, lambda one: all("runtime." in row.text for row in one.find_elements("css selector", "th.name")), ""
        )
        screenshot(driver, "explore-search")
        # Into the flame graph by mouse: it is zoomed before the answer is there; further by arrow keys, and back.
        inner = frames(driver)[1]
        name = inner.find_element("tag name", "text").get_attribute("textContent")
        inner.click()
        arrived(driver, "at=")
        wait(driver, lambda one: heading(one) == name, "the frame")
        first = heading(driver)
        assert len([one for one in frames(driver) if one.get_attribute("tabindex") == "0"]) == 1
        current = driver.find_element("css selector", ".flame a[aria-current]")
        driver.execute_script("arguments[0].focus()", current)
        driver.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
        below = driver.switch_to.active_element
        assert below != current
        focused = below.accessible_name
        below.send_keys(Keys.ENTER)
        wait(driver, lambda one: heading(one) != first, "the next frame")
        assert focused.startswith(heading(driver).rstrip("…")[:20])
        screenshot(driver, "explore-zoomed")
        driver.find_element("link text", "Up to the caller").click()
        wait(driver, lambda one: heading(one) == first, "the caller")
        driver.find_element("link text", "Callers and callees").click()
        wait(driver, lambda one: len(one.find_elements("css selector", ".flame")) == 2, "both drawings")
        screenshot(driver, "explore-around")
        driver.find_element("link text", "Make a rule").click()
        arrived(driver, "/rules/new?")
        assert first in driver.find_element("name", "functions").get_attribute("value")
        assert driver.find_element("name", "profile_types").get_attribute("value") == CPU
        assert complaints(driver) == []


def test_a_part_of_the_chart_and_a_comparison(address: str, tmp_path: Path):
    from selenium.webdriver import ActionChains

    with chrome(tmp_path, width=1440) as driver:
        driver.get(f"{address}/explore?split=service_name&refresh=1")
        assert len(driver.find_elements("css selector", ".legend li")) > 1
        # It is made anew by itself, in place.
        driver.execute_script("document.querySelector('main').dataset.old = ''")
        wait(driver, lambda one: not one.find_elements("css selector", "main[data-old]"), "a newer page")
        drawing = driver.find_element("css selector", ".chart .drawing")
        ActionChains(driver).move_to_element(drawing).click_and_hold().move_by_offset(90, 0).release().perform()
        arrived(driver, "until=")
        assert "last=" in driver.current_url
        wait(driver, lambda one: one.find_element("id", "until").get_attribute("value"), "the time in the form")
        driver.get(f"{address}/explore?against=labels&other=%7Bpod%3D~%22.*0%22%7D")
        assert "What has changed" in driver.find_element("tag name", "main").text
        assert driver.find_elements("css selector", ".flame [class*=change-]")
        screenshot(driver, "explore-compared")
        assert complaints(driver) == []


#: Stands in for speedscope: fetches what its address names, and says what it got.
SCOPE = """<title>scope</title><pre id="said"></pre><script>
const asked = new URLSearchParams(location.hash.slice(1)), said = document.getElementById("said");
const bytes = async (address) => [...new Uint8Array(await (await fetch(address)).arrayBuffer())];
const no = (address) => fetch(address).then(() => "let in", () => "refused");
(async () => {
  const address = asked.get("profileURL"), [a, b, ...rest] = await bytes(address);
  const page = await no(address.replace("/explore/download/pprof", "/explore"));
  said.textContent = [asked.get("title"), a, b, rest.length > 100, page, document.referrer].join("|");
})().catch((error) => { said.textContent = String(error); });
</script>"""


def test_a_profile_opens_in_speedscope_of_another_origin(tmp_path: Path):
    scope = Starlette(routes=[Route("/s/", lambda _: HTMLResponse(SCOPE))])
    with opened(tmp_path / "world") as pipeline, served_app(scope) as elsewhere:
        derive(pipeline)
        with (
            served(site_of(pipeline, speedscope_url=f"{elsewhere}/s/")) as address,
            served(site_of(pipeline)) as closed,
            chrome(tmp_path) as driver,
        ):
            driver.get(f"{address}/explore?type={CPU}&selector=%7Bpod%3D~%22.*%22%7D")
            link = driver.find_element("link text", "open in speedscope")
            to = link.get_attribute("href")
            link.click()
            arrived(driver, "/s/#profileURL=")
            text = wait(driver, lambda one: one.find_element("id", "said").text, "what was fetched")
            # The two bytes are gzip's.
            assert text == "CPU time, the last hour|31|139|true|refused|"
            # Pages that name no speedscope let none in.
            driver.get("about:blank")
            driver.get(to.replace(quote(address, safe=""), quote(closed, safe="")))
            text = wait(driver, lambda one: one.find_element("id", "said").text, "the refusal")
            assert "Failed to fetch" in text


def test_who_waits_sees_that_the_page_is_working(tmp_path: Path):
    shows = "return getComputedStyle(document.querySelector('.busy')).backgroundImage !== 'none'"
    with opened(tmp_path / "world") as pipeline:
        derive(pipeline)
        site = site_of(pipeline)
        with served(site) as address, chrome(tmp_path) as driver:
            driver.get(f"{address}/explore")
            assert not driver.execute_script(shows)
            # Nobody is answered who reads the archive, as if others asked for much.
            with site.reading.take(), site.reading.take():
                press(driver, "Show")
                assert driver.execute_script(shows)
            wait(driver, lambda one: not one.execute_script(shows), "the answer")
            with site.reading.take(), site.reading.take():
                leave = "document.querySelector('nav a[href=\"/series\"]').click();"
                assert driver.execute_script(leave + shows)
            arrived(driver, "/series")
            assert not driver.execute_script(shows)
            assert complaints(driver) == []


def test_without_scripts_and_in_a_narrow_dark_window(address: str, tmp_path: Path):
    with chrome(tmp_path, width=360, height=800, scripts=False, dark=True) as driver:
        driver.get(address)
        assert len(frames(driver)) > 20
        screenshot(driver, "explore-narrow-dark")
        driver.find_element("css selector", "#labels summary").send_keys(Keys.ENTER)
        label = driver.find_element("css selector", "a.pair")
        label.click()
        arrived(driver, "selector=")
        assert driver.find_element("id", "selector").get_attribute("value").startswith("{")
        driver.get(f"{address}/explore?selector=%7Bpod%3D")
        assert "selector" in driver.find_element("id", "selector-problem").text
        screenshot(driver, "explore-problem-narrow")
    with chrome(tmp_path / "wide", width=360) as driver:
        for path in ("/", "/explore?selector=%7Bpod%3D", "/explore?until=2020-01-01T00"):
            driver.get(address + path)
            assert not is_too_wide(driver)
