"""The report in headless Chromium: no message in the console, no request, no serious finding of axe-core, and the keyboard opens it."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.reporting.page import page

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
PACKAGES = all(importlib.util.find_spec(name) for name in ("selenium", "axe_core_python"))
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER and PACKAGES), reason="needs chromium, chromedriver, selenium and axe-core-python")

FLAGS = (
    "headless",
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
)


@pytest.fixture(scope="module")
def browser(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser that shows the report."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page(built / "data"), encoding="utf-8")
    driver.get(path.as_uri())
    yield driver
    driver.quit()


def test_quiet_and_alone(browser: Any) -> None:
    """Nothing in the console; the only request is for the page itself."""
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert asked <= {browser.current_url} and browser.current_url.startswith("file:")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(browser: Any, scheme: str) -> None:
    """Axe-core has no serious finding, with everything opened, in the light and in the dark."""
    import axe_core_python

    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    browser.execute_script("document.querySelectorAll('details').forEach(item => item.open = true)")
    browser.execute_script((Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = browser.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"] if one["impact"] in ("serious", "critical")] == []


def test_keyboard_and_phone(browser: Any) -> None:
    """Enter opens a line of the flow; on a phone's width nothing stands out to the right."""
    from selenium.webdriver.common.keys import Keys

    browser.execute_script("document.querySelectorAll('details').forEach(item => item.open = false)")
    line = browser.find_element("css selector", ".flow summary")
    line.send_keys(Keys.ENTER)
    assert browser.execute_script("return arguments[0].parentElement.open", line)
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True})
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
