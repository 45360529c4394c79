"""Chromium for tests: one window, and what a person does in it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1440,900",
)
HOME = ("file:", "data:", "blob:", "chrome:", "about:")
"""Beginnings of addresses that reach no network."""


def window(profile: Path) -> Iterator[Any]:
    """A window, closed afterwards."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium, "Chromium is missing: apt-get install chromium chromium-driver"
    assert driver, "Its driver is missing: apt-get install chromium-driver"
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = Service(driver)
    browser = webdriver.Chrome(options=options, service=service)
    yield browser
    browser.quit()
    for pipe in (service.process.stdin, service.process.stdout, service.process.stderr):
        if pipe:
            pipe.close()


def forget(browser: Any) -> None:
    """Empty the browser's logs."""
    browser.get_log("browser")
    browser.get_log("performance")


def complaints(browser: Any) -> list[Any]:
    """What the browser complained of since its logs were last read."""
    return browser.get_log("browser")


def asked_elsewhere(browser: Any, *home: str) -> set[str]:
    """Addresses that were asked for since the log was last read, without those that begin with one of `home`."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    return {url for url in asked if not url.startswith((*HOME, *home))}


def visit(browser: Any, address: str, ready: str = "return document.documentElement.dataset.ready === 'yes'") -> None:
    """Go to an address, and wait until the page says that it is ready."""
    browser.get("about:blank")
    browser.get(address)
    wait(browser, ready)


def wait(browser: Any, script: str, seconds: float = 10) -> Any:
    """Until the script gives something true; its value."""
    end = time.monotonic() + seconds
    while not (value := browser.execute_script(script)):
        assert time.monotonic() < end, f"Waited {seconds} s for: {script}"
        time.sleep(0.02)
    return value


def find(browser: Any, selector: str) -> list[Any]:
    """All elements that a selector of CSS picks."""
    return browser.find_elements("css selector", selector)


def texts(browser: Any, selector: str) -> list[str]:
    """What they say."""
    script = "return Array.from(document.querySelectorAll(arguments[0]), e => e.textContent)"
    return browser.execute_script(script, selector)
