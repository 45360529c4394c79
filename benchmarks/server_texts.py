"""How quickly the app writes steered texts: the first token, the rate of one reader, and of several at once.

    python benchmarks/server_texts.py RUN [--threads 2] [--tokens 64] [--users 8] [--repeats 5]

The server is `monosema serve` in a process of its own, the clients are in this one. The rate of the library is that of
`model.generate` under `steered`, with the same prompt and steering, in a process of its own while no server runs.
Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

PROMPT = "The day after the long meeting, the committee went to"
LIBRARY = """
import json, sys, time
from pathlib import Path
from monosema.runs import Run, open_model
from monosema.steering import Resolver, Steering, steered
folder, spec, prompt, tokens, repeats = Path(sys.argv[1]), *map(json.loads, sys.argv[2:6])
model = open_model(Run.open(folder).recipe)
steering = Steering.from_dict(spec, Resolver.of(folder))
rates, costs = [], []
for number in range(repeats + 1):
    began, spent = time.perf_counter(), time.process_time()
    with steered(model, steering):
        text = model.generate(prompt, max_new_tokens=tokens, temperature=1.0, seed=number, stop_at_eos=False)
    rates.append(len(text.tokens) / (time.perf_counter() - began))
    costs.append(1000 * (time.process_time() - spent) / len(text.tokens))
print(sorted(rates[1:])[repeats // 2], sorted(costs[1:])[repeats // 2])
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--port", type=int, default=8194)
    asked = parser.parse_args()
    environment = {**os.environ, "OMP_NUM_THREADS": str(asked.threads), "MKL_NUM_THREADS": str(asked.threads)}
    address = f"http://127.0.0.1:{asked.port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "monosema", "serve", str(asked.run), "--port", str(asked.port)], env=environment
    )
    try:
        spec = _steering(address)
        _one(address, spec, asked.tokens, 0)  # The model is loaded, and its code is warm.
        _settled(server.pid)
        spent = _spent(server.pid)
        first, rates = zip(*(_one(address, spec, asked.tokens, seed) for seed in range(asked.repeats)), strict=True)
        cost = (_spent(server.pid) - spent) / (asked.tokens * asked.repeats)
        spent = _spent(server.pid)
        together = [_together(address, spec, asked.tokens, asked.users) for _ in range(3)]
        shared = (_spent(server.pid) - spent) / (3 * asked.tokens * asked.users)
        cancelled = [_cancelled(address, spec) for _ in range(5)]
    finally:
        server.terminate()
        server.wait()
    words = [str(asked.run), json.dumps(spec), json.dumps(PROMPT), str(asked.tokens), str(asked.repeats)]
    said = subprocess.check_output([sys.executable, "-c", LIBRARY, *words], env=environment, text=True)
    library, own = map(float, said.split())
    alone, users = statistics.median(rates), statistics.median(rate for rate, _ in together)
    waited = statistics.median(wait for _, wait in together)
    rows = [
        ("first steered token, ms (median, largest)", f"{statistics.median(first):.0f}, {max(first):.0f}"),
        ("tokens/s of one reader", f"{alone:.0f}"),
        ("tokens/s of the library, steered alike", f"{library:.0f}"),
        ("reader ÷ library", f"{alone / library:.2f}"),
        (f"tokens/s of {asked.users} readers together", f"{users:.0f}"),
        (f"{asked.users} readers ÷ one", f"{users / alone:.2f}"),
        ("processor ms a token: library, one reader", f"{own:.1f}, {cost:.1f}"),
        (f"processor ms a token: {asked.users} readers, and one ÷ that", f"{shared:.1f}, {cost / shared:.1f}"),
        (f"first token of {asked.users} at once, ms (slowest of them)", f"{waited:.0f}"),
        ("tokens drawn after a cancel was answered (largest)", f"{max(cancelled)}"),
    ]
    busy = os.getloadavg()[0]
    print(f"{asked.run.name}, {asked.threads} threads, {asked.tokens} tokens, medians of {asked.repeats}, ", end="")
    print(f"{os.cpu_count()} cores, load of the machine {busy:.0f}:\n")
    print("| | |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value} |")


def _steering(address: str) -> dict[str, Any]:
    """A push by an alive latent, at once the wait until the server answers."""
    until = time.monotonic() + 120
    while True:
        try:
            run = httpx.get(f"{address}/api/runs", timeout=60).json()["runs"][0]["name"]
            rows = httpx.get(f"{address}/api/runs/{run}/features", params={"limit": 1}, timeout=60).json()["features"]
            return {"edits": [{"latent": rows[0]["latent"], "add": 1.0, "unit": "max"}]}
        except httpx.TransportError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def _spent(pid: int) -> float:
    """Milliseconds of the processor that a process has taken."""
    times = psutil.Process(pid).cpu_times()
    return 1000 * (times.user + times.system)


def _settled(pid: int) -> None:
    """Wait until the server has done what it does when it is started."""
    process = psutil.Process(pid)
    while process.cpu_percent(1.0) > 3:
        pass


def _one(address: str, spec: dict[str, Any], tokens: int, seed: int) -> tuple[float, float]:
    """Milliseconds to the first token, and tokens a second from the request to the last."""
    began, first, last, n = time.perf_counter(), 0.0, 0.0, 0
    asked = {"prompt": PROMPT, "steerings": [spec], "max_new_tokens": tokens, "temperature": 1.0, "seed": seed}
    with httpx.stream("POST", f"{address}/api/generate", json=asked, timeout=120) as answer:
        for line in answer.iter_lines():
            if line.startswith("event: delta"):
                n += 1
                last = time.perf_counter()
                first = first or last
    return 1000 * (first - began), n / (last - began)


def _together(address: str, spec: dict[str, Any], tokens: int, users: int) -> tuple[float, float]:
    """Tokens a second of all readers from the first request to the last token, and the slowest first token."""
    got: list[tuple[float, float]] = []
    began = time.perf_counter()
    threads = [
        threading.Thread(target=lambda seed=seed: got.append(_one(address, spec, tokens, seed)))
        for seed in range(users)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return users * tokens / (time.perf_counter() - began), max(first for first, _ in got)


def _cancelled(address: str, spec: dict[str, Any]) -> int:
    """Tokens that are drawn after a cancel was answered."""
    asked = {"prompt": PROMPT, "steerings": [spec], "max_new_tokens": 400, "temperature": 1.0}
    id, before, after = "", 0, -1
    with httpx.stream("POST", f"{address}/api/generate", json=asked, timeout=120) as answer:
        lines = answer.iter_lines()
        for line in lines:
            if line.startswith("data: ") and not id:
                id = json.loads(line.removeprefix("data: "))["id"]
            before += line.startswith("event: delta")
            if before == 20:
                httpx.delete(f"{address}/api/generate/{id}", timeout=30)
                break
    seen = httpx.get(f"{address}/api/generate/{id}", timeout=30).text
    time.sleep(0.3)
    after = httpx.get(f"{address}/api/generate/{id}", timeout=30).text.count("event: delta")
    return after - seen.count("event: delta")


if __name__ == "__main__":
    main()
