"""The sparsity–reconstruction frontier of every architecture, here and in the peers, on the same vectors.

    python benchmarks/frontier.py --vectors build/minilm-layer3.npy --peer-python .venv-peers/bin/python

Each architecture is trained at several sparsities and seeds, on equal rows, by monosema's trainer and by those of
SAELens and dictionary_learning; every dictionary is then loaded by monosema and measured by the same code on the same
held-out rows: FVU, L0, share of latents that fire. Peers are tried at several learning rates and keep the points that
no other point of theirs betters in both FVU and L0. Prints a line of JSON for each dictionary, then a table: for every
point of a peer, monosema's FVU on the same architecture at that L0 (interpolated between its own points, both on
logarithmic scales) over the peer's. Below 1 is better. Results are kept in --out, and what is there is not trained
again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HELD_OUT = 16_384
K = (16, 32, 64)
"""Sparsities of architectures that are told theirs."""
COEFFICIENTS = {
    ("saelens", "l1"): (2.0, 5.0, 12.0),
    ("saelens", "gated"): (2.0, 5.0, 12.0),
    ("saelens", "jumprelu"): (0.5, 2.0, 6.0),
    ("dictionary_learning", "l1"): (2.0, 5.0, 12.0),
    ("dictionary_learning", "gated"): (2.0, 5.0, 12.0),
    ("dictionary_learning", "p_anneal"): (2.0, 5.0, 12.0),
    ("dictionary_learning", "jumprelu"): K,
    ("monosema", "l1"): (1.0, 2.0, 3.0, 5.0),
    ("monosema", "gated"): (2.0, 5.0, 8.0, 12.0),
    ("monosema", "p_anneal"): (1.0, 2.0, 3.0, 5.0),
    ("monosema", "jumprelu"): (5e-4, 1e-3, 3e-3, 1e-2),
}
"""Sparsity coefficients (or target L0) of the others; found by trying which give an L0 near those of K."""
ARCHITECTURES = ("l1", "gated", "jumprelu", "p_anneal", "topk", "batch_topk", "matryoshka")
LIBRARIES = ("monosema", "saelens", "dictionary_learning")


def settings(library: str, architecture: str) -> tuple[float, ...]:
    """Sparsities that a library's architecture is trained at; none where the library lacks it."""
    if library == "saelens" and architecture == "p_anneal":
        return ()
    return COEFFICIENTS.get((library, architecture), K)


def orders(a: argparse.Namespace, vectors: Path, rows: int) -> Iterator[dict[str, Any]]:
    """All trainings, the peers at each of their learning rates."""
    for architecture in a.architectures:
        for library in a.libraries:
            rates = [None] if library == "monosema" else a.peer_rates
            for setting in settings(library, architecture):
                for rate in rates:
                    for seed in range(a.seeds):
                        yield {
                            "library": library, "architecture": architecture, "setting": setting, "rate": rate,
                            "seed": seed, "vectors": str(vectors), "rows": rows, "batch": a.batch,
                            "latents": a.latents,
                        }  # fmt: skip


def train_peer(order: dict[str, Any], python: str, out: Path) -> float:
    script = Path(__file__).with_name("frontier_peers.py")
    done = subprocess.run(
        [python, str(script), json.dumps(order | {"out": str(out)})],
        capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"},
    )  # fmt: skip
    if done.returncode:
        raise RunError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])["seconds"]


class RunError(Exception):
    """A peer could not train this."""


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--vectors", type=Path, required=True, help=".npy of shuffled activations (train_step.py makes one)")
    p.add_argument("--rows", type=int, default=400_000, help="rows to train on")
    p.add_argument("--latents", type=int, default=3072)
    p.add_argument("--batch", type=int, default=2048)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--peer-rates", type=float, nargs="+", default=[1e-3, 3e-3, 1e-2])
    p.add_argument("--architectures", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    p.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    p.add_argument("--peer-python", default=sys.executable, help="Python of an environment with the peers")
    p.add_argument("--out", type=Path, default=Path("build/frontier.jsonl"))
    a = p.parse_args()
    import numpy as np

    rows = np.load(a.vectors, mmap_mode="r")
    count = min(a.rows, len(rows) - HELD_OUT) // a.batch * a.batch
    a.out.parent.mkdir(parents=True, exist_ok=True)
    lines = a.out.read_text().splitlines() if a.out.exists() else []
    points = [json.loads(line) for line in lines]
    known = {key_of(point) for point in points}
    with tempfile.TemporaryDirectory() as folder:
        scaled = Path(folder) / "vectors.npy"
        sample = np.asarray(rows[:65_536], dtype=np.float64)
        scale = math.sqrt(rows.shape[1] / np.square(sample).sum(axis=1).mean())
        np.save(scaled, np.asarray(rows, dtype=np.float32) * np.float32(scale))
        for number, order in enumerate(orders(a, scaled, count)):
            if key_of(order) in known:
                continue
            point = measured(order, a, scaled, Path(folder) / f"dictionary-{number}")
            points.append(point)
            with open(a.out, "a") as file:
                file.write(json.dumps(point) + "\n")
            print(json.dumps(point), flush=True)
    print(table(points))


def key_of(order: dict[str, Any]) -> str:
    names = ("library", "architecture", "setting", "rate", "seed", "rows", "batch", "latents")
    return json.dumps([order[name] for name in names])


def measured(order: dict[str, Any], a: argparse.Namespace, vectors: Path, out: Path) -> dict[str, Any]:
    """Train as ordered and measure; the error in place of figures where a peer could not."""
    import numpy as np
    import torch

    from monosema.dictionaries import load_dictionary
    from monosema.training import held_out_figures

    kept = {name: value for name, value in order.items() if name != "vectors"}
    try:
        seconds = train_own(order, out) if order["library"] == "monosema" else train_peer(order, a.peer_python, out)
    except RunError as error:
        return kept | {"error": str(error)}
    held = torch.from_numpy(np.load(vectors, mmap_mode="c")[-HELD_OUT:].copy())
    figures = held_out_figures(load_dictionary(out), held)
    return kept | {
        "fvu": round(figures.fvu or 0.0, 5), "l0": round(figures.l0, 2), "alive": round(figures.alive, 4),
        "seconds": seconds,
    }  # fmt: skip


def train_own(order: dict[str, Any], out: Path) -> float:
    import time

    from monosema.activations import Preprocessing, StoreStream, open_rows
    from monosema.training import TrainConfig, train

    source = open_rows(order["vectors"])
    width = source.width(source.sites[0])
    stream = StoreStream(
        source, batch=order["batch"], seed=order["seed"], rows=slice(0, order["rows"]),
        preprocessing=Preprocessing.identity(width),
    )  # fmt: skip
    dictionary = own(order["architecture"], width, order["latents"], order["setting"], order["seed"])
    begin = time.perf_counter()
    train(dictionary, stream, TrainConfig(seed=order["seed"]), out)
    return round(time.perf_counter() - begin, 1)


def own(architecture: str, width: int, latents: int, setting: float, seed: int) -> Any:
    """A dictionary of monosema's."""
    from monosema import dictionaries as d

    shape: dict[str, Any] = {"d_in": width, "n_latents": latents}
    match architecture:
        case "l1":
            return d.L1(d.L1Config(**shape, l1_coefficient=setting), seed=seed)
        case "gated":
            return d.Gated(d.GatedConfig(**shape, l1_coefficient=setting), seed=seed)
        case "jumprelu":
            return d.JumpReLU(d.JumpReLUConfig(**shape, l0_coefficient=setting), seed=seed)
        case "p_anneal":
            return d.PAnneal(d.PAnnealConfig(**shape, l1_coefficient=setting), seed=seed)
        case "topk":
            return d.TopK(d.TopKConfig(**shape, k=int(setting)), seed=seed)
        case "batch_topk":
            return d.BatchTopK(d.BatchTopKConfig(**shape, k=int(setting)), seed=seed)
        case _:
            return d.MatryoshkaBatchTopK(d.MatryoshkaConfig(**shape, k=int(setting)), seed=seed)


# ---------------------------------------------------------------------------------------------------- the table


def curve(points: list[dict[str, Any]], library: str, architecture: str) -> list[dict[str, Any]]:
    """Means over seeds by setting and learning rate, by rising L0; points that another betters in both are left out."""
    cells: dict[tuple[float, Any], list[dict[str, Any]]] = defaultdict(list)
    for point in points:
        if (point["library"], point["architecture"]) == (library, architecture) and "fvu" in point:
            cells[point["setting"], point["rate"]].append(point)
    means = []
    for (setting, rate), cell in cells.items():
        mean = {name: statistics.fmean(point[name] for point in cell) for name in ("fvu", "l0", "alive", "seconds")}
        mean |= {"setting": setting, "rate": rate, "seeds": len(cell)}
        mean["spread"] = statistics.stdev(point["fvu"] for point in cell) if len(cell) > 1 else math.nan
        means.append(mean)
    means.sort(key=lambda mean: (mean["l0"], mean["fvu"]))
    return [m for number, m in enumerate(means) if all(m["fvu"] < earlier["fvu"] for earlier in means[:number])]


def at(line: list[dict[str, Any]], l0: float) -> float | None:
    """FVU of a curve at an L0, between its points on logarithmic scales; None beyond its ends."""
    for left, right in itertools.pairwise(line):
        if left["l0"] <= l0 <= right["l0"]:
            share = math.log(l0 / left["l0"]) / max(math.log(right["l0"] / left["l0"]), 1e-9)
            return math.exp((1 - share) * math.log(left["fvu"]) + share * math.log(right["fvu"]))
    near = [point for point in line if abs(point["l0"] / l0 - 1) < 0.03]
    return near[0]["fvu"] if near else None


def table(points: list[dict[str, Any]]) -> str:
    lines = [
        "| architecture | library | setting | rate | L0 | FVU ± sd | alive | seconds | monosema at this L0 ÷ FVU |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for architecture in ARCHITECTURES:
        ours = curve(points, "monosema", architecture)
        for library in LIBRARIES:
            for point in curve(points, library, architecture):
                there = None if library == "monosema" else at(ours, point["l0"])
                ratio = "" if library == "monosema" else "–" if there is None else f"{there / point['fvu']:.2f}"
                rate = "rule" if point["rate"] is None else f"{point['rate']:g}"
                lines.append(
                    f"| {architecture} | {library} | {point['setting']:g} | {rate} | {point['l0']:.1f} | "
                    f"{point['fvu']:.4f} ± {point['spread']:.4f} | {point['alive']:.0%} | {point['seconds']:.0f} | "
                    f"{ratio} |"
                )
    failed = [point for point in points if "error" in point]
    lines += [f"\n{p['library']} {p['architecture']} at {p['setting']:g} failed: {p['error']}" for p in failed]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
