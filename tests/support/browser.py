"""A real browser on real pages: Debian's chromium by Selenium, our application behind uvicorn on a free port.

Screenshots are kept for people to look at, in `test-output/screenshots` or below PYRO_ASSETS_TEST_OUTPUT. A machine
without the browser skips with the reason, which `tests.support.require_services` turns into a failure.
"""

import os
import queue
import shutil
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from pyro_assets.web.app import make_app
from pyro_assets.web.serve import PageServer
from pyro_assets.web.site import Site

_SECONDS = 20
OUTPUT = Path(os.environ.get("PYRO_ASSETS_TEST_OUTPUT") or Path(__file__).parents[2] / "test-output")


def served(site: Site, **limits: float) -> AbstractContextManager[str]:
    """Our pages on a free port, by the server of `pyro-assets web`; yields their address without a slash at the end."""
    return served_app(make_app(site), **limits)


@contextmanager
def served_app(app: Starlette, **limits: float) -> Iterator[str]:
    """The same of an application."""
    ports: queue.Queue[int] = queue.Queue()
    server = PageServer(app, "127.0.0.1", 0, ports.put, **limits)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{ports.get(timeout=_SECONDS)}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def chrome(
    folder: Path, *, width: int = 1200, height: int = 900, scripts: bool = True, dark: bool = False
) -> Iterator[Any]:
    """A chromium with a profile of its own.

    Args:
        folder: for its profile.
        width: of the window, in CSS pixels.
        height: of the window.
        scripts: whether pages may run any.
        dark: whether the system prefers dark colours.
    """
    driver_path, program = shutil.which("chromedriver"), shutil.which("chromium")
    if driver_path is None or program is None:
        pytest.skip("chromium and chromedriver not found; install Debian's chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--no-proxy-server", "--hide-scrollbars",
        f"--user-data-dir={folder / 'chromium'}", f"--window-size={max(width, 500)},{height}",
        *(["--force-dark-mode"] if dark else []),
    ):  # fmt: skip
        options.add_argument(argument)
    if not scripts:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    try:
        # Windows are never narrower than 500 pixels; phones are.
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        if dark:
            driver.execute_cdp_cmd(
                "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
            )
        driver.set_page_load_timeout(60)
        yield driver
    finally:
        driver.quit()


def screenshot(driver: Any, name: str) -> Path:
    """Keeps a picture of the whole page."""
    import base64

    folder = OUTPUT / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    taken = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
    path = folder / f"{name}.png"
    path.write_bytes(base64.b64decode(taken["data"]))
    return path


def wait(driver: Any, until: Any, what: str, *, seconds: float = _SECONDS, every: float = 0.05) -> Any:
    """What `until(driver)` gives, once that is something; asked every so many seconds."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    # A page that is just loaded anew has other elements.
    stale = [StaleElementReferenceException]
    return WebDriverWait(driver, seconds, poll_frequency=every, ignored_exceptions=stale).until(until, what)


def press(driver: Any, words: str) -> None:
    """Presses a button, or follows a link, that says so."""
    driver.find_element("xpath", f"//main//*[self::button or self::a][normalize-space()={words!r}]").click()


def arrived(driver: Any, part: str) -> None:
    """Waits for a page whose address has this part."""
    wait(driver, lambda one: part in one.current_url, f"an address with {part}")


def is_too_wide(driver: Any) -> bool:
    """Whether the page scrolls sideways, which only its tables may."""
    return bool(
        driver.execute_script("return document.documentElement.scrollWidth > document.documentElement.clientWidth")
    )


def complaints(driver: Any) -> list[str]:
    """What the browser complains of: scripts that fail, what the policy of content forbids; not statuses of answers."""
    return [
        entry["message"]
        for entry in driver.get_log("browser")
        if entry["level"] == "SEVERE" and entry["source"] != "network"
    ]


def prefer(driver: Any, scheme: str) -> None:
    """Lets the system prefer "light" or "dark" colours from now on."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def violations(driver: Any, *rules: str) -> list[str]:
    """What axe-core finds serious or critical on the page, by all rules or some; scripts must be allowed there."""
    driver.execute_script(_axe())
    found = driver.execute_async_script(
        "const [rules, done] = arguments;"
        "axe.run(document, {resultTypes: ['violations'], ...(rules.length && {runOnly: rules})})"
        ".then((all) => done(all.violations), (error) => done([String(error)]))",
        rules,
    )
    return [
        one if isinstance(one, str) else f"{one['id']}: {[node['target'] for node in one['nodes'][:3]]}"
        for one in found
        if isinstance(one, str) or one["impact"] in ("serious", "critical")
    ]


@cache
def _axe() -> str:
    import axe_core_python

    return Path(axe_core_python.__file__).with_name("axe.min.js").read_text("utf-8")
