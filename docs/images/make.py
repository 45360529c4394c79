"""Take the pictures of this folder from a run's report, and from the app that shows it, with Debian's Chromium:

python docs/images/make.py RUN FEATURE [http://127.0.0.1:8000/]
"""

from __future__ import annotations

import base64
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PICTURES = {"report": ("", 1360, 900), "feature": ("#feature-{feature}", 1360, 860)}
APP = {
    "app-features": ("runs/{run}/features?at={feature}", 1360, 860),
    "app-prompt": ("prompt?run={run}", 1360, 900),
    "app-steer": ("steer?run={run}&add={feature}:1", 1360, 900),
}
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def open_browser(profile: str) -> Any:
    """Chromium without a window."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        raise SystemExit("Chromium is missing: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=Service(driver))


def picture(browser: Any, address: str, width: int, height: int) -> bytes:
    """A PNG of the page as it stands when it is ready."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1.15, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get("about:blank")
    browser.get(address)
    for _ in range(200):
        if browser.execute_script("return document.documentElement.dataset.ready") == "yes":
            break
        time.sleep(0.05)
    time.sleep(4)  # texts of the app are written meanwhile
    return base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"])


def main(run: str, feature: str, app: str | None = None) -> None:
    """Write the report's pictures, and the app's where its address is given."""
    page = next((Path(run) / "report").glob("*.html")).resolve().as_uri()
    views = [(name, page + view, *size) for name, (view, *size) in PICTURES.items()]
    if app is not None:
        views += [(name, app + view, *size) for name, (view, *size) in APP.items()]
    with tempfile.TemporaryDirectory() as profile:
        browser = open_browser(profile)
        try:
            for name, view, width, height in views:
                address = view.format(feature=feature, run=Path(run).name)
                (HERE / f"{name}.png").write_bytes(picture(browser, address, width, height))
        finally:
            browser.quit()


if __name__ == "__main__":
    main(*sys.argv[1:])
