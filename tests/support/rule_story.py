"""What a person does who has never read our code: finds a function, makes a rule, previews, saves, backfills, looks.

`tell` walks the pages of a running deployment in a real browser and leaves a picture of each step.
"""

from typing import Any

from tests.support.browser import arrived, complaints, is_too_wide, press, screenshot, wait

NAME = "story"
#: Dagster's daemon looks for new backfills every half minute, and a run takes its time to start.
_BACKFILL_SECONDS = 240


def tell(driver: Any, address: str) -> str:
    """Walks from Explore to the series of a new rule; returns the function that it is about."""

    def picture(step: int, what: str) -> None:
        assert not is_too_wide(driver), what
        assert complaints(driver) == []
        screenshot(driver, f"story-{step}-{what}")

    driver.get(f"{address}/explore")
    link = wait(driver, lambda one: one.find_elements("link text", "make a rule"), "functions in Explore")[0]
    picture(1, "explore")
    link.click()
    arrived(driver, "/rules/new")
    function: str = driver.find_element("id", "functions").get_attribute("value")
    assert function
    name = driver.find_element("id", "name")
    name.clear()
    name.send_keys(NAME)
    driver.find_element("css selector", "#more > summary").click()
    driver.find_element("css selector", '#keep option[value="by"]').click()
    driver.find_element("id", "keep_labels").send_keys("service_name")
    press(driver, "Preview")
    wait(driver, lambda one: "Functions caught: 1" in one.find_element("id", "preview").text, "the preview")
    picture(2, "preview")
    driver.find_element("id", "why").send_keys("it is the largest")
    press(driver, "Save")
    arrived(driver, f"/rules/show/{NAME}?saved=1")
    picture(3, "saved")
    press(driver, "backfill the rule")
    arrived(driver, "/backfills?rule=")
    picture(4, "backfill")
    press(driver, "Estimate")
    wait(driver, lambda one: one.find_elements("id", "start"), "the estimate")
    picture(5, "estimate")
    driver.find_element("id", "start").click()
    wait(driver, lambda one: one.find_elements("id", "state"), "the backfill")
    picture(6, "started")
    # A page that loads itself again, at a moment that nobody knows, cannot be asked safely: we load it ourselves.
    assert driver.find_elements("css selector", "body[data-refresh]")
    press(driver, "Stop reloading this page")
    arrived(driver, "refresh=0")
    wait(driver, _is_done, "the end of the backfill", seconds=_BACKFILL_SECONDS, every=1)
    picture(7, "done")
    press(driver, "Look at its series")
    arrived(driver, "/series")
    assert "functions_" in driver.find_element("tag name", "main").text
    picture(8, "series")
    driver.get(f"{address}/rules")
    row = driver.find_element("xpath", f"//table//tr[.//a[text()='{NAME}']]").text
    assert "on" in row.split()
    picture(9, "rules")
    return function


def _is_done(driver: Any) -> bool:
    driver.refresh()
    kinds = driver.find_element("id", "state").get_attribute("class").split()
    assert "bad" not in kinds, driver.find_element("tag name", "main").text
    return "good" in kinds
