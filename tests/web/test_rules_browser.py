"""The pages of rules in a real browser: from Explore to a saved rule, two tabs, keyboard alone, narrow windows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.app import App
from pyro_assets.rules.config import load_config
from pyro_assets.rules.stored import StoredRules
from tests.support.browser import arrived, chrome, complaints, is_too_wide, press, screenshot, served, wait
from tests.support.exports import derive, opened
from tests.support.web_client import site_of

pytestmark = pytest.mark.service

FILE = """
functions: {"main.fibonacci": "{}"}
rules:
- {name: filed, functions: [{glob: "runtime.*"}], by: [service_name]}
"""
HOSTILE = "<img src=x onerror=alert(1)>\"'&\u202e;{}" + "long" * 250
PAGES = ("/rules", "/rules/new", "/rules/import", "/rules/show/seen", "/rules/edit/seen", "/rules/compare/seen", "/api")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "series.yaml").write_text(FILE)
    with opened(folder, series=load_config(folder / "series.yaml")) as pipeline:
        derive(pipeline)
        yield pipeline


@pytest.fixture(scope="module")
def address(pipeline: App, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("config") / "series.yaml"
    path.write_text(FILE)
    with served(site_of(pipeline, config=path, dagster_url="http://127.0.0.1:3000")) as address:
        yield address


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chrome(tmp_path_factory.mktemp("chrome")) as driver:
        yield driver


def field(driver: Any, name: str) -> Any:
    """A field of the form; what stands under "More" is opened first."""
    found = driver.find_element("name", name)
    if not found.is_displayed() and found.get_attribute("type") != "hidden":
        summary = found.find_element("xpath", "ancestor::details[not(@open)]/summary")
        # The bar with Save covers the lower end of the window.
        driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", summary)
        summary.click()
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
    return found


def said(driver: Any, place: str) -> str:
    text: str = driver.find_element("css selector", f'[data-said="{place}"]').text
    return text


def make_seen(address: str, driver: Any, name: str) -> None:
    """A rule with two versions."""
    driver.get(f"{address}/rules/show/{name}")
    if driver.find_elements("link text", "Edit"):
        return
    driver.get(f"{address}/rules/new?function=main.{name}&name={name}")
    press(driver, "Save")
    arrived(driver, "/rules/show/")
    press(driver, "Edit")
    field(driver, "metric").send_keys("seen_cpu")
    field(driver, "profile_types").send_keys("cpu")
    field(driver, "why").send_keys("a name that people know")
    press(driver, "Save")
    arrived(driver, "saved=")


def test_from_explore_to_a_saved_rule(driver: Any, address: str, pipeline: App):
    driver.get(f"{address}/explore")
    links = driver.find_elements("css selector", 'a[href*="/rules/new?"]')
    assert links, "Explore has a link to make a rule"
    driver.get(links[0].get_attribute("href"))
    assert field(driver, "functions").get_attribute("value")
    name = field(driver, "name")
    name.clear()
    name.send_keys("from-explore")
    functions = field(driver, "functions")
    functions.clear()
    functions.send_keys("regex: (runtime")
    wait(driver, lambda one: "missing )" in said(one, "functions"), "the check while typing")
    assert functions.get_attribute("aria-invalid") == "true"
    screenshot(driver, "rules-problem")
    functions.clear()
    functions.send_keys("glob: runtime.*")
    wait(driver, lambda one: not said(one, "functions"), "the problem to go away")
    press(driver, "Preview")
    wait(driver, lambda one: one.find_elements("id", "preview"), "the preview")
    text = driver.find_element("id", "preview").text
    assert "Functions caught" in text
    assert "runtime." in text
    screenshot(driver, "rules-preview")
    assert not [one for one in StoredRules(pipeline.ledger).rules() if one.name == "from-explore"]
    field(driver, "why").send_keys("the runtime is busy")
    press(driver, "Save")
    arrived(driver, "/rules/show/from-explore?saved=")
    assert "Saved as version 1" in driver.find_element("tag name", "main").text
    screenshot(driver, "rules-saved")
    [saved] = [one for one in StoredRules(pipeline.ledger).rules() if one.name == "from-explore"]
    assert (saved.author, saved.why) == ("tester", "the runtime is busy")
    # Whoever waits for the first series need not ask again and again.
    driver.find_element("link text", "look again every 5 s").click()
    stop = wait(driver, lambda one: one.find_element("link text", "stop"), "the page that is made anew")
    assert driver.find_element("tag name", "body").get_attribute("data-refresh") == "5"
    stop.click()
    wait(driver, lambda one: not one.find_elements("link text", "stop"), "the page that stays")
    assert driver.find_element("tag name", "body").get_attribute("data-refresh") in (None, "0")
    driver.get(f"{address}/rules")
    screenshot(driver, "rules-list")
    assert "from-explore" in driver.find_element("css selector", "table.rules").text
    assert complaints(driver) == []


def test_two_tabs_do_not_overwrite_each_other(driver: Any, address: str, pipeline: App):
    make_seen(address, driver, "tabs")
    first = driver.current_window_handle
    driver.get(f"{address}/rules/edit/tabs")
    driver.switch_to.new_window("tab")
    try:
        driver.get(f"{address}/rules/edit/tabs")
        field(driver, "description").send_keys("theirs")
        press(driver, "Save")
        arrived(driver, "saved=")
        driver.close()
    finally:
        driver.switch_to.window(first)
    field(driver, "description").send_keys("mine")
    press(driver, "Save")
    conflict = wait(driver, lambda one: one.find_element("id", "conflict"), "the conflict").text
    assert "somebody else changed this rule meanwhile" in conflict
    sides = driver.find_element("css selector", "table.sides").text
    assert "description: theirs" in sides
    assert "description: mine" in sides
    assert field(driver, "description").get_attribute("value") == "mine"
    screenshot(driver, "rules-conflict")
    press(driver, "Save over theirs")
    arrived(driver, "saved=")
    [current] = [one for one in StoredRules(pipeline.ledger).rules() if one.name == "tabs"]
    assert '"mine"' in current.body
    assert any('"theirs"' in one.body for one in StoredRules(pipeline.ledger).rule_history("tabs"))


def test_a_keyboard_is_enough(driver: Any, address: str, pipeline: App):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def keys(*some: str) -> None:
        ActionChains(driver).send_keys(*some).perform()

    def tab_to(name: str) -> None:
        for _ in range(80):
            keys(Keys.TAB)
            focused = driver.switch_to.active_element
            if name in (focused.get_attribute("name"), focused.text):
                return
        raise AssertionError(f"tabs never reach {name}")

    driver.get(f"{address}/rules")
    keys(Keys.TAB)
    assert driver.switch_to.active_element.text == "Skip to the content"
    outline = driver.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    keys(Keys.ENTER)
    tab_to("New rule")
    keys(Keys.ENTER)
    arrived(driver, "/rules/new")
    tab_to("functions")
    keys("main.keys")
    tab_to("name")
    keys("by-keys")
    # Return in a field checks; it saves nothing.
    keys(Keys.ENTER)
    wait(driver, lambda one: "The rule is fine" in one.find_element("tag name", "main").text, "the check")
    assert not [one for one in StoredRules(pipeline.ledger).rules() if one.name == "by-keys"]
    tab_to("why")
    keys("no mouse")
    tab_to("Save")
    keys(Keys.ENTER)
    arrived(driver, "/rules/show/by-keys?saved=")
    [saved] = [one for one in StoredRules(pipeline.ledger).rules() if one.name == "by-keys"]
    assert saved.why == "no mouse"


def test_hostile_names_show_and_do_nothing(driver: Any, address: str):
    from urllib.parse import urlencode

    driver.get(f"{address}/rules/new?{urlencode({'function': HOSTILE, 'name': 'hostile'})}")
    shown = field(driver, "functions").get_attribute("value")
    assert shown == HOSTILE
    field(driver, "description").send_keys("<script>alert(1)</script>")
    press(driver, "Save")
    arrived(driver, "/rules/show/hostile?saved=")
    assert "<img src=x onerror=alert(1)>" in driver.find_element("tag name", "pre").text
    assert driver.find_elements("css selector", "main img") == []
    screenshot(driver, "rules-hostile")
    driver.get(f"{address}/rules")
    assert not is_too_wide(driver)
    assert complaints(driver) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_narrow_window_is_enough(address: str, tmp_path: Path, dark: bool):
    with chrome(tmp_path, width=360, height=740, dark=dark) as driver:
        make_seen(address, driver, "seen")
        for path in PAGES:
            driver.get(address + path)
            assert not is_too_wide(driver), path
            screenshot(driver, f"rules-narrow{'-dark' if dark else ''}-{path.strip('/').replace('/', '-')}")
        driver.get(f"{address}/rules/new")
        field(driver, "name").send_keys("narrow")
        field(driver, "functions").send_keys("glob: runtime.*")
        press(driver, "Preview")
        wait(driver, lambda one: one.find_elements("id", "preview"), "the preview")
        assert not is_too_wide(driver)
        assert complaints(driver) == []


def test_without_scripts_everything_works(address: str, tmp_path: Path, pipeline: App):
    with chrome(tmp_path, scripts=False) as driver:
        driver.get(f"{address}/rules/new?function=main.plain&name=plain")
        assert field(driver, "name").get_attribute("value") == "plain"
        field(driver, "max_series").send_keys("x")
        press(driver, "Check only")
        wait(driver, lambda one: "must be a whole number" in said(one, "max_series"), "the problem at its field")
        field(driver, "max_series").clear()
        press(driver, "Edit as text")
        wait(driver, lambda one: "- name: plain" in field(one, "text").get_attribute("value"), "the text")
        press(driver, "Save")
        arrived(driver, "/rules/show/plain?saved=")
    assert [one for one in StoredRules(pipeline.ledger).rules() if one.name == "plain"]
