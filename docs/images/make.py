"""Take the pictures of this folder from a run's report, with Debian's Chromium:

python docs/images/make.py RUN FEATURE
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
    time.sleep(0.5)
    return base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"])


def main(run: str, feature: str) -> None:
    """Write report.png and feature.png."""
    page = next((Path(run) / "report").glob("*.html")).resolve().as_uri()
    with tempfile.TemporaryDirectory() as profile:
        browser = open_browser(profile)
        try:
            for name, (fragment, width, height) in PICTURES.items():
                address = page + fragment.format(feature=feature)
                (HERE / f"{name}.png").write_bytes(picture(browser, address, width, height))
        finally:
            browser.quit()


if __name__ == "__main__":
    main(*sys.argv[1:])
