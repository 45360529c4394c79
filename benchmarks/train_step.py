"""The training step beside its bound and beside today's libraries, on the same vectors, interleaved in one run.

    python benchmarks/train_step.py --peer-python .venv-peers/bin/python

Contestants run in processes of their own and take turns, a few steps each, so that a machine that drifts drifts for
all. The bound is the encoder's matrix product alone (``x @ W``), in fp32 or in bf16, whichever is faster. With --full
the named contestants go on to one pass over all vectors, and the share of held-out variance that they leave unexplained
is measured; of monosema also on the way, and at the end of passes over --shares of the vectors, whose learning rate
falls sooner: the quickest of these says how soon it is where each peer ends. Prints JSON, then a table.
Names with a colon are other architectures, here and in dictionary_learning:

    python benchmarks/train_step.py --full --only gemm-bf16 monosema:l1 dictionary_learning:l1

Vectors: activations of all-MiniLM-L6-v2 after layer 3 on the texts of a Parquet file with a column ``text``, or those
of a run (--run); the last 20,480 are held out. Peers take them scaled to a mean norm of √d; settings of the peers are
their own defaults, with learning rates as in their trainers' examples.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from train_step_breakdown import breakdown
from train_step_contestants import NAMES, TOPK, is_peer, make
from training_rows import minilm_rows, run_rows

HELD_OUT = 20_480


def work(name: str, a: argparse.Namespace) -> None:
    """Take orders, one JSON line each: ``{"steps": n}``, then ``{"score": true}``."""
    warnings.filterwarnings("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr
    import torch

    torch.manual_seed(0)
    x = torch.from_numpy(np.load(a.vectors, mmap_mode="c"))
    train, held = x[: round((len(x) - HELD_OUT) * a.share)], x[-HELD_OUT:].clone()
    scale = 1.0 / (train[:65_536].norm(dim=1).mean() / train.shape[1] ** 0.5)

    class Scaled:
        """Rows scaled when asked for, so that no process holds all of them."""

        shape = train.shape

        def __len__(self) -> int:
            return len(train)

        def split(self, size: int) -> Iterator[Any]:
            return ((train[i : i + size] * scale) for i in range(0, len(train) - size + 1, size))

    step, reconstruct = make(name, a, Scaled())
    batches, number = Scaled().split(a.batch), 0
    for line in sys.stdin:
        order = json.loads(line)
        if order.get("score"):
            assert reconstruct is not None
            with torch.no_grad():
                error = sum((v - reconstruct(v)).pow(2).sum() for v in (held * scale).split(2048))
            result = float(error / (held * scale - (held * scale).mean(0)).pow(2).sum())
            print(json.dumps({"held_out_fvu": round(result, 4), "steps": number}), file=answers, flush=True)
            continue
        seconds = []
        for _ in range(order["steps"]):
            batch = next(batches)
            begin = time.perf_counter()
            step(number, batch)
            seconds.append(getattr(step, "seconds", time.perf_counter() - begin))
            number += 1
        print(json.dumps({"seconds": seconds, "l0": getattr(step, "l0", None)}), file=answers, flush=True)


# ---------------------------------------------------------------------------------------------------- the match


class Contestant:
    """A process that makes steps when told to."""

    def __init__(self, name: str, python: str, a: argparse.Namespace, share: float = 1.0) -> None:
        self.name = name
        self.total = round((vector_count(a.vectors) - HELD_OUT) * share) // a.batch
        self.seconds: list[float] = []
        self.whole = 0.0
        self.done = 0
        self.l0: float | None = None
        arguments = ["--vectors", str(a.vectors), *(f"--{n}={getattr(a, n)}" for n in ("latents", "k", "batch"))]
        arguments.append(f"--share={share}")
        self._process = subprocess.Popen(
            [python, "-W", "ignore", __file__, "--worker", name, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=None if a.debug else subprocess.DEVNULL,
            env=os.environ | {"SPARSIFY_DISABLE_TRITON": "1", "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip

    def order(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.name} ended with status {self._process.wait()}; --debug shows why")
        return dict(json.loads(answer))

    def steps(self, n: int, *, timed: bool) -> None:
        answer = self.order(steps=n)
        self.l0 = answer["l0"]
        self.whole += sum(answer["seconds"])
        self.done += n
        if timed:
            self.seconds += answer["seconds"]

    def finish(self, every: int | None = None) -> dict[str, Any]:
        """Go on to the end of the pass, measured `every` so many steps where this is said."""
        path = []
        while self.done < self.total:
            self.steps(min(every or self.total, self.total - self.done), timed=False)
            if every:
                path.append((round(self.whole, 2), self.order(score=True)["held_out_fvu"]))
        return self.order(score=True) | {"pass_seconds": round(self.whole, 1)} | ({"path": path} if every else {})

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def match(a: argparse.Namespace, names: list[str]) -> dict[str, dict[str, Any]]:
    """Rounds of a few steps each; then the full pass of those that go on."""
    contestants = [Contestant(n, a.peer_python if is_peer(n) else sys.executable, a) for n in names]
    try:
        for contestant in contestants:
            contestant.steps(a.untimed, timed=False)
        for _ in range(a.rounds):
            for contestant in contestants:
                contestant.steps(a.steps, timed=True)
        results: dict[str, dict[str, Any]] = {}
        for contestant in contestants:
            seconds = contestant.seconds
            results[contestant.name] = {
                "step_ms": round(1e3 * statistics.median(seconds), 1),
                "fastest_ms": round(1e3 * min(seconds), 1),
                "steps_timed": len(seconds),
                **({} if contestant.l0 is None else {"l0": round(contestant.l0, 1)}),
            }
            if contestant.name in a.full and not contestant.name.startswith("gemm"):
                every = a.measure_every if contestant.name.startswith("monosema") else None
                results[contestant.name] |= contestant.finish(every)
    finally:
        for contestant in contestants:
            contestant.end()
    for name in results:
        if name in a.full and name.startswith("monosema"):
            results[name]["path"] += shorter_passes(a, name)
    return results


def shorter_passes(a: argparse.Namespace, name: str) -> list[tuple[float, float]]:
    """Seconds and held-out FVU of whole passes over shares of the vectors."""
    ends = []
    for share in a.shares:
        contestant = Contestant(name, sys.executable, a, share)
        try:
            result = contestant.finish()
        finally:
            contestant.end()
        ends.append((result["pass_seconds"], result["held_out_fvu"]))
    return ends


def vector_count(path: Path) -> int:
    return len(np.load(path, mmap_mode="r"))


def table(results: dict[str, dict[str, Any]]) -> str:
    products = [r["step_ms"] for name, r in results.items() if name.startswith("gemm")]
    lines = [
        "| | ms a step | ÷ fastest product | ÷ monosema | held-out FVU | pass, s | monosema there in, s | sooner |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, r in results.items():
        _, colon, architecture = name.partition(":")
        ours = results.get("monosema" + colon + architecture, {})
        bounds = f"{r['step_ms'] / min(products):.2f}" if products else "–"
        ratio = f"{r['step_ms'] / ours['step_ms']:.1f}" if ours else "–"
        there = reached(ours.get("path", []), r["held_out_fvu"]) if is_peer(name) and "held_out_fvu" in r else None
        sooner = ("–", "–") if there is None else (f"{there:.1f}", f"{r['pass_seconds'] / there:.1f} ×")
        cells = (r.get("held_out_fvu", "–"), r.get("pass_seconds", "–"), *sooner)
        lines.append(f"| {name} | {r['step_ms']:.0f} | {bounds} | {ratio} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def reached(path: list[tuple[float, float]], fvu: float) -> float | None:
    """Seconds of training after which a held-out FVU was reached; None if it never was."""
    return min((seconds for seconds, measured in path if measured <= fvu), default=None)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--vectors", type=Path, default=Path("build/minilm-layer3.npy"), help="made if it isn't there")
    p.add_argument("--corpus", type=Path, help="Parquet file with a column text, to make the vectors from")
    p.add_argument("--run", type=Path, help="run folder whose activations to take instead")
    p.add_argument("--tokens", type=int, default=600_000)
    p.add_argument("--layer", type=int, default=3)
    p.add_argument("--latents", type=int, default=12_288)
    p.add_argument("--k", type=int, default=32)
    p.add_argument("--batch", type=int, default=4096)
    p.add_argument("--rounds", type=int, default=4)
    p.add_argument("--steps", type=int, default=3, help="steps in a turn")
    p.add_argument("--untimed", type=int, default=2, help="steps that each makes before time is taken")
    p.add_argument("--only", nargs="+", choices=NAMES, default=list(TOPK))
    p.add_argument("--full", nargs="*", choices=NAMES, default=["monosema"], help="who goes on to one whole pass")
    p.add_argument("--peer-python", help="Python of an environment with sae-lens, dictionary-learning, eai-sparsify")
    p.add_argument("--measure-every", type=int, default=5, help="steps between measurements of monosema's full pass")
    p.add_argument("--shares", type=float, nargs="*", default=[], help="shares of the vectors, for shorter passes")
    p.add_argument("--share", type=float, default=1.0, help=argparse.SUPPRESS)
    p.add_argument("--breakdown", action="store_true", help="only monosema: where the time of a step goes")
    p.add_argument("--debug", action="store_true")
    p.add_argument("--worker", choices=NAMES, help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.worker:
        return work(a.worker, a)
    if not a.vectors.exists():
        if (a.corpus is None) == (a.run is None):
            p.error(f"{a.vectors} isn't there: say with --corpus or with --run what to make it from")
        a.vectors.parent.mkdir(parents=True, exist_ok=True)
        np.save(a.vectors, minilm_rows(a.corpus, a.tokens, a.layer) if a.corpus else run_rows(a.run, a.tokens))
    if a.breakdown:
        return print(breakdown(a))
    names = list(a.only)
    if a.peer_python is None and any(is_peer(name) for name in names):
        print("No --peer-python: the peers are left out.", file=sys.stderr)
        names = [name for name in names if not is_peer(name)]
    results = match(a, names)
    print(json.dumps({"latents": a.latents, "k": a.k, "batch": a.batch, "results": results}))
    print(table(results))
    return None


if __name__ == "__main__":
    main()
