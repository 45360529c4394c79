"""How soon a page of a run of many features can be used, in Chromium: from the server's start, and once it is there.

    python benchmarks/first_view.py [--features 65536] [--passages 20] [--rounds 7] [--run FOLDER]

The run is that of server.py. `monosema serve` starts in a process of its own; the first byte is that of the list of
runs. Then Chromium, with its cache emptied before each visit, goes to each page: a page is usable when it says that it
is ready, with its first rows and its first feature drawn and its keys taken, in milliseconds since the navigation
began. The first visit of all is made as soon as the server answers, while it still opens the run. Beside stands the
processor time that the page's main thread and the server took, which neighbours on the machine change less than they
change waiting. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from chromium import wait as until
from chromium import window

from server import make_run, wait, wait_for

PAGES = {"runs": "/", "run": "/runs/{}", "features": "/runs/{}/features", "feature": "/runs/{}/features/17"}
NOTE = """
new MutationObserver((_, observer) => {
  if (document.documentElement?.dataset.ready !== "yes") return;
  window.usable = performance.now();
  observer.disconnect();
}).observe(document, { attributes: true, childList: true, subtree: true });
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--features", type=int, default=65_536)
    parser.add_argument("--passages", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--port", type=int, default=8196)
    parser.add_argument("--run", type=Path, help="where the run is, or is to be made")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, browser(Path(home)) as chromium:
        run = asked.run or Path(home) / "large"
        if not (run / "recipe.toml").exists():
            make_run(run, asked.features, asked.passages)
        measure(run, chromium, asked)


@contextmanager
def browser(home: Path) -> Iterator[Any]:
    """A window of Chromium that notes when a page is ready."""
    opened = window(home / "profile")
    chromium = next(opened)
    chromium.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": NOTE})
    try:
        yield chromium
    finally:
        next(opened, None)


def measure(run: Path, chromium: Any, asked: argparse.Namespace) -> None:
    """Start the server, visit its pages, and print how long each took."""
    address = f"http://127.0.0.1:{asked.port}"
    load = os.getloadavg()[0]
    began = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-m", "monosema", "serve", str(run), "--port", str(asked.port)], stderr=subprocess.DEVNULL
    )
    try:
        first_byte = wait(f"{address}/", began, server)
        process = psutil.Process(server.pid)
        first_cost = processor(process)
        early, *_ = usable(chromium, address + PAGES["features"].format(run.name), process)
        since = time.perf_counter() - began
        wait_for(f"{address}/api/runs/{run.name}", False, began)
        times: dict[str, list[tuple[float, float, float]]] = {page: [] for page in PAGES}
        for _ in range(asked.rounds):
            for page, path in PAGES.items():
                times[page].append(usable(chromium, address + path.format(run.name), process))
    finally:
        server.terminate()
        server.wait()
    print(f"Load {load:.1f} before, {os.getloadavg()[0]:.1f} after.")
    print(f"First byte {first_byte:.1f} s after the start, of the server's processor {first_cost:.1f} s.")
    print(f"The list, visited at once: usable after {early:,.0f} ms, {since:.1f} s after the start.")
    print(
        "\n| page | usable, median ms | slowest ms | processor ms of the page | of the server |\n|---|---|---|---|---|"
    )
    for page, found in times.items():
        waited, *costs = zip(*found, strict=True)
        middle = " | ".join(f"{statistics.median(cost):,.0f}" for cost in costs)
        print(f"| {page} | {statistics.median(waited):,.0f} | {max(waited):,.0f} | {middle} |")


def usable(chromium: Any, address: str, server: psutil.Process) -> tuple[float, float, float]:
    """Visit a page with an empty cache; return milliseconds until it is usable, and the processor's for page and
    server."""
    chromium.get("about:blank")
    chromium.execute_cdp_cmd("Network.clearBrowserCache", {})
    chromium.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    before = processor(server)
    chromium.get(address)
    waited = float(until(chromium, "return window.usable", 60))
    metrics = {one["name"]: one["value"] for one in chromium.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]}
    chromium.execute_cdp_cmd("Performance.disable", {})
    return waited, 1000 * metrics["TaskDuration"], 1000 * (processor(server) - before)


def processor(process: psutil.Process) -> float:
    """Return the processor time that a process has taken, in seconds."""
    return sum(process.cpu_times()[:2])


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
