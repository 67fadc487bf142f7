"""Status, series and quarantine in a real browser: narrow, dark, by keyboard alone; pictures are kept to look at."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from pyro_assets.app import App
from pyro_assets.jobs.quarantine import Pardons
from pyro_assets.ledger.decisions import DecisionRecords
from pyro_assets.operations import runs, sending
from tests.support import golden_bucket
from tests.support.browser import chrome, complaints, is_too_wide, prefer, screenshot, served, violations, wait
from tests.support.exports import HOUR, NOW_MS, config, opened, scripted
from tests.support.golden_bucket import GoldenBucket
from tests.support.scripted_server import scripted_server
from tests.support.web_client import site_of

pytestmark = pytest.mark.service

GOLDEN = golden_bucket.committed()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[App, str]]:
    """The golden jobs, one source of which is broken, sent to one of two receivers; and the address of the pages."""
    folder = tmp_path_factory.mktemp("pages")
    for key in GOLDEN.jobs[0]:
        target = folder / "bucket" / key
        target.parent.mkdir(parents=True)
        target.write_bytes(GOLDEN.read(key)[: -5 if key == GOLDEN.jobs[0][0] else None])
    (folder / "bucket" / "jobs.json").write_text("[]")
    golden = GoldenBucket(folder / "bucket")
    with scripted_server() as server:
        receivers = (scripted(server), scripted(server, "other"))
        with opened(folder, *receivers, golden=golden, series=config(functions=["main.fibonacci"])) as pipeline:
            runs.run_exact(pipeline, [GOLDEN.jobs[0]], run_id="run")
            sending.export(pipeline, [HOUR], names=["r"])
            with served(site_of(pipeline, dagster_url="http://127.0.0.1:9")) as url:
                yield pipeline, url


#: Pages that have browser tests of their own.
OTHERS = {
    "explore": "/explore?split=service_name",
    "explore-around": "/explore?around=main.fibonacci",
    "explore-compared": "/explore?against=labels&other=%7Bpod%3D~%22.*0%22%7D",
    "rules": "/rules",
    "rule": "/rules/show/function:main.fibonacci",
    "rule-new": "/rules/new?function=main.fibonacci&last=1h",
    "api": "/api",
}


def addresses(pipeline: App) -> dict[str, str]:
    """A page of every kind."""
    from pyro_assets.explore.scan import Asked
    from pyro_assets.explore.series import SeriesReader

    reader = SeriesReader(pipeline.archive, pipeline.ledger)
    metric = next(row for row in reader.metrics(Asked(0, NOW_MS)).rows if "_functions_" in row.metric)
    name = {"metric": metric.metric, "tenant": metric.tenant, "hours": "3"}
    (series, *_) = reader.label_sets(Asked(0, NOW_MS, tenant=metric.tenant, metric=metric.metric)).rows
    (source,) = Pardons(pipeline.ledger).unheld_sources()
    return {
        "status": "/status?days=3",
        "hour": f"/status/hours/{HOUR}",
        "series": "/series?hours=3",
        "series-metric": f"/series/metric?{urlencode(name)}",
        "series-one": f"/series/one?{urlencode(name | {'id': series.id})}",
        "quarantine": "/quarantine",
        "quarantine-item": f"/quarantine/item?{urlencode({'name': source.key})}",
        "backfills": "/backfills",
    }


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1200, True)])
def test_every_page_fits_and_breaks_no_policy(world: tuple[App, str], tmp_path: Path, width: int, dark: bool):
    pipeline, url = world
    with chrome(tmp_path, width=width, dark=dark, scripts=False) as driver:
        for name, address in addresses(pipeline).items():
            driver.get(url + address)
            screenshot(driver, f"{name}-{width}{'-dark' if dark else ''}")
            assert not is_too_wide(driver), name
            # One heading, and every field has a label.
            assert len(driver.find_elements("tag name", "h1")) == 1, name
            for field in driver.find_elements("css selector", "main input:not([type=hidden]), main select"):
                assert field.accessible_name, (name, field.get_attribute("outerHTML"))
        assert complaints(driver) == []


def test_nothing_serious_keeps_anybody_out(world: tuple[App, str], tmp_path: Path):
    pipeline, url = world
    with chrome(tmp_path, width=390) as driver:
        for name, address in (addresses(pipeline) | OTHERS).items():
            driver.get(url + address)
            assert not is_too_wide(driver), name
            assert violations(driver) == [], name
            # Another scheme has other colours, and nothing else.
            prefer(driver, "dark")
            assert violations(driver, "color-contrast") == [], name
            prefer(driver, "light")
        assert complaints(driver) == []


def test_every_hour_of_a_day_is_in_sight_on_a_phone(world: tuple[App, str], tmp_path: Path):
    _, url = world
    with chrome(tmp_path, width=390, scripts=False) as driver:
        driver.get(f"{url}/status?days=3#hours")
        cells = driver.find_elements("css selector", ".calendar tbody tr:nth-child(2) td a")
        assert len(cells) == 24
        for cell in cells:
            box = cell.rect
            assert 0 <= box["x"] <= box["x"] + box["width"] <= 390
            assert min(box["width"], box["height"]) >= 24, "a finger needs as much"
        screenshot(driver, "status-calendar-phone")


def test_charts_show_the_present_on_a_phone(world: tuple[App, str], tmp_path: Path):
    pipeline, url = world
    with chrome(tmp_path, width=390, scripts=False) as driver:
        for name in ("status", "series-metric", "series-one"):
            driver.get(url + addresses(pipeline)[name])
            drawings = driver.find_elements("css selector", ".chart .drawing")
            assert drawings, name
            for drawing in drawings:
                assert drawing.rect["x"] + drawing.rect["width"] <= 390, name
            texts = driver.execute_script(
                "return [...document.querySelectorAll('.chart .drawing text')].filter((one) => one.getBBox().width)"
                ".map((one) => [parseFloat(getComputedStyle(one).fontSize) * one.getScreenCTM().a,"
                " one.getBoundingClientRect().left - one.closest('.scroll').getBoundingClientRect().left])"
            )
            assert min(size for size, _ in texts) >= 8.5, name
            assert min(begin for _, begin in texts) >= 0, name


def test_decide_by_keyboard_alone(world: tuple[App, str], tmp_path: Path):
    from selenium.webdriver.common.keys import Keys

    pipeline, url = world
    (source,) = Pardons(pipeline.ledger).unheld_sources()
    with chrome(tmp_path) as driver:

        def press(*keys: str) -> None:
            for key in keys:
                driver.switch_to.active_element.send_keys(key)

        def go_to(label: str) -> Any:
            for _ in range(60):
                press(Keys.TAB)
                if label in driver.switch_to.active_element.accessible_name:
                    return driver.switch_to.active_element
            raise AssertionError(f"no way to {label!r} by keyboard")

        driver.get(f"{url}/status")
        link = go_to("Look at the list")
        assert link.value_of_css_property("outline-style") != "none"
        press(Keys.ENTER)
        go_to("choose segments/")
        press(Keys.SPACE)
        go_to("Forget the chosen")
        press(Keys.ENTER)
        wait(driver, lambda d: "Forget 1 item?" in d.page_source, "the question")
        go_to("Why")
        press("cannot be restored")
        screenshot(driver, "quarantine-confirm")
        go_to("Forget")
        press(Keys.ENTER)
        wait(driver, lambda d: "Back to the quarantine" in d.page_source, "the answer")
    assert Pardons(pipeline.ledger).unheld_sources() == []
    (decision,) = DecisionRecords(pipeline.ledger).past_decisions(subject=source.key)
    assert (decision.action, decision.why) == ("forget", "cannot be restored")
