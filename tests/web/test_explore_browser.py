"""Explore in a real browser: choosing, searching, zooming by mouse and by keyboard, a rule; narrow and dark windows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests.support.browser import arrived, chrome, complaints, is_too_wide, screenshot, served, wait
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
        Select(driver.find_element("id", "type")).select_by_value("memory:alloc_space:bytes:space:bytes")
        driver.find_element("css selector", ".explore button").click()
        arrived(driver, "type=memory")
        assert "alloc_space" in driver.find_element("css selector", ".chart figcaption").text
        driver.get(f"{address}/explore")
        driver.find_element("id", "search").send_keys("runtime." + Keys.ENTER)
        arrived(driver, "search=runtime.")
        names = [one.text for one in driver.find_elements("css selector", "th.name")]
        assert names
        assert all("runtime." in name.lower() for name in names)
        screenshot(driver, "explore-search")
        # Into the flame graph by mouse, further by keyboard, and back.
        frames(driver)[1].click()
        arrived(driver, "at=")
        first = heading(driver)
        below = [one for one in frames(driver) if "above" not in one.get_attribute("class")][1]
        driver.execute_script("arguments[0].focus()", below)
        focused = driver.switch_to.active_element.get_attribute("aria-label")
        assert focused == below.get_attribute("aria-label")
        driver.switch_to.active_element.send_keys(Keys.ENTER)
        wait(driver, lambda one: heading(one) != first, "the next frame")
        assert focused.startswith(heading(driver).rstrip("…")[:20])
        screenshot(driver, "explore-zoomed")
        driver.find_element("link text", "Up to the caller").click()
        wait(driver, lambda one: heading(one) == first, "the caller")
        driver.find_element("link text", "Show everything").click()
        wait(driver, lambda one: heading(one) == "all", "everything")
        rule = driver.find_element("link text", "make a rule")
        function = driver.find_element("css selector", "th.name").text
        rule.click()
        arrived(driver, "/rules/new?")
        assert function in driver.find_element("name", "functions").get_attribute("value")
        assert driver.find_element("name", "profile_types").get_attribute("value") == CPU
        assert complaints(driver) == []


def test_without_scripts_and_in_a_narrow_dark_window(address: str, tmp_path: Path):
    with chrome(tmp_path, width=360, height=800, scripts=False, dark=True) as driver:
        driver.get(address)
        assert heading(driver) == "all"
        assert len(frames(driver)) > 20
        screenshot(driver, "explore-narrow-dark")
        driver.find_element("css selector", "details summary").send_keys(Keys.ENTER)
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
