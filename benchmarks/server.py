"""How quickly the app answers many readers at once, on a run of many features, and how much memory it takes.

    python benchmarks/server.py [--features 65536] [--passages 20] [--clients 50] [--seconds 20] [--pause 0.5]

The run is make-believe in the real tables: every feature fires on a token of its own, in passages drawn like text;
there are 4,096 different labels. The server is `monosema serve` in a process of its own; the clients are in another.
Each client rests for a while (an exponential time of mean --pause), asks, waits for the answer, rests, and asks for
something else. Before that one client asks questions of one kind at a time: what they cost is the processor time of the
server's process, which neighbours on the machine change less than they change waiting. Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
import pyarrow as pa

from monosema.atlas.tables import FORMAT, NAMES, describe, schema, write_table
from monosema.core import write_json
from monosema.models import load_model
from monosema.recipes import demo
from monosema.runs.ledger import Ledger, StageRecord

BEFORE, AFTER = 28, 12
BLOCK = 4096


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--features", type=int, default=65_536)
    parser.add_argument("--passages", type=int, default=20)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--pause", type=float, default=0.5)
    parser.add_argument("--port", type=int, default=8195)
    parser.add_argument("--run", type=Path, help="where the run is, or is to be made")
    parser.add_argument(
        "--meaning", action="store_true", help="wait for the labels' vectors, and search by meaning too"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        run = asked.run or Path(home) / "large"
        if not (run / "recipe.toml").exists():
            began = time.perf_counter()
            words = make_run(run, asked.features, asked.passages)
            print(f"made in {time.perf_counter() - began:.0f} s", file=sys.stderr)
        else:
            words = vocabulary()
        measure(run, [word.strip() for word in words if word.strip().isalpha() and len(word) > 3], asked)


def make_run(folder: Path, features: int, passages: int) -> list[str]:
    """Make a run with an atlas of this size; return the vocabulary."""
    words = vocabulary()
    recipe = demo()
    recipe.write(folder / "recipe.toml")
    write_atlas(folder / "atlas" / recipe.dictionary_name, words, features, passages)
    Ledger(folder).write("atlas", StageRecord("done", {}, 1.0, {"features": features}))
    return words


def vocabulary() -> list[str]:
    """Texts of all tokens of the embedded model."""
    tokenizer = load_model("specimen").tokenizer
    return tokenizer.tokens(list(range(tokenizer.vocab_size)))


def write_atlas(folder: Path, words: list[str], n: int, passages: int) -> None:
    """Write an atlas of `n` features, each of which fires on a token of its own and a few others."""
    draw = np.random.default_rng(0)
    folder.mkdir(parents=True)
    shares = 1 / np.arange(1, len(words) + 1)
    shares /= shares.sum()
    text = draw.choice(len(words), 2**22, p=shares).astype(np.int32)
    plain = [id for id, word in enumerate(words) if word.strip().isalpha() and len(word.strip()) > 2]
    latents = np.arange(n, dtype=np.int32)
    maximum = draw.gamma(4, 2, n).astype(np.float32)
    top = draw.choice(plain, (n, 10)).astype(np.int32)
    logits = np.sort(draw.gamma(2, 0.3, (n, 10)).astype(np.float32))[:, ::-1]
    n_active = draw.integers(10, 40_000, n)
    score = draw.beta(3, 2, n)
    labels = [" ".join(words[id].strip() for id in top[i % BLOCK, :3].tolist()) for i in range(n)]
    who = {"latent": latents, "author": ["monosema"] * n, "method": ["token lookup"] * n}
    who |= {"model": pa.nulls(n, "string"), "prompt_version": pa.nulls(n, "string")}
    tables = {
        "features": {
            "latent": latents,
            "alive": np.ones(n, np.bool_),
            "density": n_active / 1e7,
            "n_active": n_active,
            "mean": maximum / 100,
            "mean_active": maximum / 3,
            "max": maximum,
            "promoted_ids": listed(draw.choice(plain, (n, 10)).astype(np.int32)),
            "promoted_logits": listed(logits),
            "suppressed_ids": listed(draw.choice(plain, (n, 10)).astype(np.int32)),
            "suppressed_logits": listed(-logits),
            "position_profile": listed(np.repeat((n_active / 1e7).astype(np.float32)[:, None], 8, 1)),
            "top_token_ids": listed(top),
            "top_token_shares": listed(np.tile(np.float32([0.4, 0.1, 0.05, *[0.02] * 7]), (n, 1))),
        },
        "vocabulary": {"token": np.arange(len(words)), "text": words},
        "histograms": {
            "latent": latents,
            "low": np.zeros(n, np.float32),
            "high": maximum,
            "counts": listed((n_active[:, None] * np.exp(-np.arange(32) / 6) / 6).astype(np.int64)),
        },
        "neighbours": {
            "latent": np.repeat(latents, 20),
            "kind": (["decoder"] * 10 + ["coactivation"] * 10) * n,
            "rank": np.tile(np.arange(10), 2 * n),
            "other": draw.integers(0, n, 20 * n),
            "value": draw.random(20 * n).astype(np.float32),
        },
        "explanations": {**who, "text": labels, "program": pa.nulls(n, "string")},
        "scores": {
            **who,
            "scorer": ["simulation"] * n,
            "value": score,
            "low": score - 0.06,
            "high": np.minimum(1, score + 0.05),
            "n": np.full(n, 40),
            "interval": ["bootstrap"] * n,
            "control": np.full(n, 0.04),
            "rank": np.zeros(n, np.int16),
            "chance": np.zeros(n),
            **{f"random{part}": np.full(n, value) for part, value in (("", 0.6), ("_low", 0.5), ("_high", 0.7))},
            "random_n": np.full(n, 100),
        },
        "votes": {name: [] for name in schema("votes").names},
        "sites": {name: [] for name in schema("sites").names},
    }
    for name, columns in tables.items():
        with write_table(folder / f"{name}.parquet", name) as writer:
            writer.write(columns)
    with write_table(folder / "examples.parquet", "examples") as writer:
        for first in range(0, n, BLOCK):
            writer.write(examples(draw, text, top[first : first + BLOCK], maximum, first, passages))
    meta = {
        "format": FORMAT,
        "model": {"name": "specimen", "digest": ""},
        "site": "blocks.3.hook_resid_post",
        "dictionary": {"digest": "", "n_latents": n, "d_in": 256},
        "text": {"tokens": 10_000_000},
        "position_buckets": [[2**i, 2 ** (i + 1)] for i in range(8)],
        "absent": {},
        "tables": {name: describe(folder / f"{name}.parquet") for name in NAMES},
    }
    write_json(folder / "meta.json", meta)


def examples(draw: np.random.Generator, text: np.ndarray, top: np.ndarray, maximum: np.ndarray, first: int, many: int):  # type: ignore[no-untyped-def]
    """Rows of the passages of a block of features: text with the feature's token at the peak."""
    rows, length = len(top) * many, BEFORE + AFTER + 1
    start = draw.integers(0, len(text) - length, rows)
    tokens = text[start[:, None] + np.arange(length)]
    tokens[:, BEFORE] = np.repeat(top[:, 0], many)
    also = draw.random((rows, length)) < 0.04
    values = np.where(also, draw.random((rows, length)), 0).astype(np.float32)
    rank = np.tile(np.arange(many), len(top))
    peak = np.repeat(maximum[first : first + len(top)], many) * (1 - rank / (2 * many)).astype(np.float32)
    values *= peak[:, None] / 2
    values[:, BEFORE] = peak
    return {
        "latent": np.repeat(np.arange(first, first + len(top)), many),
        "kind": ["top"] * rows,
        "rank": rank,
        "document": start // 1000,
        "position": start % 1000 + BEFORE,
        "peak": np.full(rows, BEFORE),
        "token_ids": listed(tokens),
        "activations": listed(values),
        "maximum": peak,
        "passage_hash": [f"{one:016x}" for one in start.tolist()],
        "test": rank % 2 == 0,
    }


def listed(rows: np.ndarray) -> pa.Array:
    """Arrow lists of equal length."""
    offsets = np.arange(0, rows.size + 1, rows.shape[1]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(rows).reshape(-1)))


def measure(run: Path, words: list[str], asked: argparse.Namespace) -> None:
    """Start the server, let the clients ask, and print what they saw."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "monosema", "serve", str(run), "--port", str(asked.port)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{asked.port}"
    try:
        first_byte = wait(f"{address}/", began, server)
        ready = wait(f"{address}/api/runs/{run.name}/features?limit=1", began, server)
        deep = wait_for(f"{address}/api/runs/{run.name}", asked.meaning, began)
        costs = processor(f"{address}/api/runs/{run.name}/features", words, asked, server.pid)
        calm, peak = load(address, run.name, words, asked, server.pid, asked.pause, asked.clients)
        stormy, _ = load(address, run.name, words, asked, server.pid, 0.0, asked.clients)
        print(f"First byte {first_byte:.1f} s after the start, the list {ready:.1f} s, all indices {deep:.1f} s.")
        print(f"Memory of the server (RSS), at most: {peak / 2**20:.0f} MiB.")
        print("\n| one after the other | processor ms a question |\n|---|---|")
        for kind, cost in {**costs, "mean": statistics.mean(costs.values())}.items():
            print(f"| {kind} | {cost:.1f} |")
        for pause, times in ((asked.pause, calm), (0.0, stormy)):
            table(times, asked, pause)
    finally:
        server.terminate()
        server.wait()


def wait(address: str, began: float, server: subprocess.Popen[bytes]) -> float:
    """Ask until there is an answer; return seconds since the start."""
    while True:
        if server.poll() is not None:
            raise SystemExit("the server ended")
        try:
            httpx.get(address, timeout=120).raise_for_status()
            return time.perf_counter() - began
        except httpx.TransportError:
            time.sleep(0.02)


def wait_for(address: str, meaning: bool, began: float) -> float:
    """Wait until passages, and where asked labels' vectors, can be searched."""
    while True:
        state = httpx.get(address, timeout=60).json()["searches"]
        if state["passages"] == "ready" and (not meaning or state["meaning"] == "ready"):
            return time.perf_counter() - began
        time.sleep(0.5)


def processor(base: str, words: list[str], asked: argparse.Namespace, pid: int, many: int = 100) -> dict[str, float]:
    """Return by kind the processor time that the server takes for a question, in milliseconds."""
    draw, costs = random.Random(0), {}
    with httpx.Client(timeout=60, headers={"accept-encoding": "gzip"}) as client:
        for kind in questions(base, words, asked.features, asked.meaning, draw):
            for number in range(many + 10):
                if number == 10:  # the first ones open files and fill what is kept
                    before = sum(psutil.Process(pid).cpu_times()[:2])
                client.get(questions(base, words, asked.features, asked.meaning, draw)[kind]).raise_for_status()
            costs[kind] = 1000 * (sum(psutil.Process(pid).cpu_times()[:2]) - before) / many
    return costs


def questions(base: str, words: list[str], features: int, meaning: bool, draw: random.Random) -> dict[str, str]:
    """Draw a question of each kind, as an address."""
    word = draw.choice(words)
    kinds = {
        "list": f"{base}?sort={draw.choice(['density', 'margin', 'max', 'label'])}&offset={draw.randrange(9000)}"
        f"&density=0.0001,{draw.random():.4f}",
        "feature": f"{base}/{draw.randrange(features)}",
        "search by words": f"{base}?q={word}",
        "search by token": f"{base}?q={word}&mode=token",
        "search by effect": f"{base}?q={word}&mode=effect",
    }
    if meaning:
        kinds["search by meaning"] = f"{base}?q={word} {draw.choice(words)}&mode=meaning"
    return kinds


def load(
    address: str, run: str, words: list[str], asked: argparse.Namespace, pid: int, pause: float, clients: int
) -> tuple[dict[str, list[float]], int]:
    """Let clients ask for some seconds in a process of their own; return times in seconds by kind, and peak memory."""
    plan = json.dumps([address, run, words[:2000], asked.features, asked.seconds, pause, clients, asked.meaning])
    code = "import sys, json; sys.path.insert(0, sys.argv[1]); import server; server.clients(json.load(sys.stdin))"
    command, peak = [sys.executable, "-c", code, str(Path(__file__).parent)], 0
    with tempfile.TemporaryFile("w+") as times:  # a pipe that nobody reads meanwhile would fill
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=times, text=True)
        assert child.stdin is not None
        child.stdin.write(plan)
        child.stdin.close()
        while child.poll() is None:
            peak = max(peak, psutil.Process(pid).memory_info().rss)
            time.sleep(0.2)
        times.seek(0)
        return json.load(times), peak


def clients(plan: list) -> None:  # type: ignore[type-arg]
    """Ask as the plan says, and print the times as JSON."""
    print(json.dumps(asyncio.run(_clients(*plan))))


async def _clients(
    address: str, run: str, words: list[str], features: int, seconds: float, pause: float, clients: int, meaning: bool
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {}
    plain = ssl.create_default_context()  # one for all: 50 clients that read certificates would wait for themselves
    base = f"{address}/api/runs/{run}/features"
    end = time.perf_counter() + seconds

    async def one(number: int) -> None:
        draw = random.Random(number)
        async with httpx.AsyncClient(timeout=60, headers={"accept-encoding": "gzip"}, verify=plain) as client:
            # All at the same moment would be a burst that no clients with pauses make, and of ten seconds a twentieth.
            await asyncio.sleep(draw.expovariate(1 / pause) if pause else 0)
            while time.perf_counter() < end:
                kind, url = draw.choice(list(questions(base, words, features, meaning, draw).items()))
                began = time.perf_counter()
                (await client.get(url)).raise_for_status()
                times.setdefault(kind, []).append(time.perf_counter() - began)
                await asyncio.sleep(draw.expovariate(1 / pause) if pause else 0)

    await asyncio.gather(*(one(number) for number in range(clients)))
    return times


def table(times: dict[str, list[float]], asked: argparse.Namespace, pause: float) -> None:
    """Print times as a table."""
    total = sum(map(len, times.values()))
    said = f"a pause of {pause:g} s on average" if pause else "no pause"
    print(f"\n{asked.clients} clients, {said}: {total / asked.seconds:.0f} answers a second\n")
    print("| | answers | median ms | p95 ms | slowest ms |\n|---|---|---|---|---|")
    for kind, found in {**times, "all": [one for part in times.values() for one in part]}.items():
        ms = sorted(1000 * one for one in found)
        print(f"| {kind} | {len(ms):,} | {statistics.median(ms):.1f} | {ms[int(0.95 * len(ms))]:.1f} | {ms[-1]:.0f} |")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
