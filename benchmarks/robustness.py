"""Defaults on vectors that they were not made on: monosema's, beside its own and its peers' tuned ones.

    python benchmarks/vector_sets.py build/sets --corpus movie_reviews.parquet --books books_train.parquet
    python benchmarks/robustness.py build/sets --peer-python .venv-peers/bin/python

A cell is a set of vectors, a size (latents, k, batch) and a length. In each, a TopK dictionary is trained by monosema
on its defaults; at other learning rates, and with Adam's usual ε of 1e-8 in place of the floor; and by peers, on their
own default rate and on others. All get the same rows, centred and scaled to a mean square of 1 a component; peers
besides a short warm-up and a falling rate (`frontier_peers`). Every dictionary is measured by monosema on rows that
were held out: FVU, and the share of latents that fire on at least one of them (of all rows, where there are few). With
--architectures, each of monosema's is trained on its defaults in these cells. Results are kept in --out, a line each,
and what is there is not trained again. Prints tables.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from frontier import own

HELD_OUT = 8_192
SIZES = {
    "a": {"latents": 1536, "k": 64, "batch": 1024, "steps": 68},
    "b": {"latents": 2048, "k": 16, "batch": 512, "steps": 195},
    "c": {"latents": 3072, "k": 32, "batch": 1024, "steps": 100},
    "d": {"latents": 1536, "k": 64, "batch": 256, "steps": 272},
    "s": {"latents": 256, "k": 8, "batch": 256, "steps": 120},
    "e": {"latents": 1024, "k": 16, "batch": 256, "steps": 120},
    "l": {"latents": 6144, "k": 64, "batch": 4096, "steps": 68},
}
OWN = {
    "default": {},
    "lr × 0.5": {"times": 0.5},
    "lr × 2": {"times": 2.0},
    "ε": {"epsilon": 1e-8},
    "ε, lr × 0.5": {"epsilon": 1e-8, "times": 0.5},
}
"""Monosema's settings: the rule's, and what it could be tuned to."""
PEERS: dict[str, tuple[float | None, ...]] = {
    "sparsify": (None,),
    "saelens": (None, 3e-3),
    "dictionary_learning": (None, 3e-3),
}
"""Learning rates of the peers; None is their default."""
SETTINGS = {"l1": 3.0, "gated": 5.0, "p_anneal": 3.0, "jumprelu": 3e-3, "batch_topk": 32, "matryoshka": 32}
"""Sparsities of the architectures."""


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("sets", type=Path, help="folder of .npy files")
    p.add_argument("--cells", nargs="+", metavar="SET:SIZE", help=f"sizes are {', '.join(SIZES)}; default: all sets")
    p.add_argument("--architectures", nargs="+", metavar="SET:SIZE", default=[], help="cells for every architecture")
    p.add_argument("--own", nargs="+", choices=OWN, default=list(OWN))
    p.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    p.add_argument("--peer-python", default=sys.executable, help="Python of an environment with the peers")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--out", type=Path, default=Path("build/robustness.jsonl"))
    p.add_argument("--table", action="store_true", help="only print what is there")
    a = p.parse_args()
    a.out.parent.mkdir(parents=True, exist_ok=True)
    if not a.table:
        for cell in a.cells or usual_cells(a.sets):
            compete(cell, [*own_orders(a.own), *peer_orders(a.peers)], a)
        for cell in a.architectures:
            compete(cell, [o for kind in ("topk", *SETTINGS) for o in own_orders(["default"], kind)], a)
    points = known(a.out)
    print(table(points), summary(points), architectures(points), sep="\n\n")


def usual_cells(sets: Path) -> list[str]:
    """Every set at one size, sizes in turn; the small sets at the small one."""
    names = sorted(path.stem for path in sets.glob("*.npy"))
    large = [name for name in names if np.load(sets / f"{name}.npy", mmap_mode="r").shape[1] > 64]
    return [f"{name}:{'s' if name not in large else 'abcd'[large.index(name) % 4]}" for name in names]


def own_orders(settings: list[str], architecture: str = "topk") -> Iterator[dict[str, Any]]:
    for setting in settings:
        yield {"library": "monosema", "architecture": architecture, "tuning": setting}


def peer_orders(peers: list[str]) -> Iterator[dict[str, Any]]:
    for library in peers:
        for rate in PEERS[library]:
            yield {"library": library, "architecture": "topk", "tuning": "default" if rate is None else f"{rate:g}"}


def known(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def key(point: dict[str, Any]) -> str:
    return json.dumps([point[n] for n in ("cell", "library", "architecture", "tuning", "seed")])


def compete(cell: str, orders: list[dict[str, Any]], a: argparse.Namespace) -> None:
    """Train whatever is missing of a cell, and append it to the results."""
    done = {key(point) for point in known(a.out)}
    orders = [{"cell": cell, "seed": a.seed, **order} for order in orders]
    missing = [order for order in orders if key(order) not in done]
    if not missing:
        return
    name, size = cell.rsplit(":", 1)
    with tempfile.TemporaryDirectory() as folder:
        prepare(a.sets / f"{name}.npy", SIZES[size], Path(folder), a.seed)
        for order in missing:
            point = order | measured(order, SIZES[size], Path(folder), a.peer_python)
            with open(a.out, "a") as file:
                file.write(json.dumps(point) + "\n")
            print(json.dumps(point), flush=True)


def prepare(path: Path, size: dict[str, int], folder: Path, seed: int) -> None:
    """Rows to train on in their order, pass after pass where there are few, and rows to measure on."""
    rows = np.load(path, mmap_mode="r")
    held_out = min(HELD_OUT, len(rows) // 5)
    wanted = size["steps"] * size["batch"]
    x = np.asarray(rows[: min(wanted, len(rows) - held_out)], dtype=np.float32)
    mean = x.mean(axis=0, dtype=np.float64).astype(np.float32)
    scale = np.float32(1 / np.sqrt(np.square(x[:65_536] - mean).mean(dtype=np.float64)))
    random, order = np.random.default_rng(seed), np.arange(len(x))
    while len(order) < wanted:
        order = np.concatenate([order, random.permutation(len(x))])
    np.save(folder / "vectors.npy", ((x - mean) * scale)[order[:wanted]])
    few = len(rows) < HELD_OUT
    np.save(folder / "held.npy", (np.asarray(rows[-held_out:], dtype=np.float32) - mean) * scale)
    np.save(folder / "alive.npy", (np.asarray(rows if few else rows[-held_out:], dtype=np.float32) - mean) * scale)


def measured(order: dict[str, Any], size: dict[str, int], folder: Path, python: str) -> dict[str, Any]:
    """Train as ordered, and measure; the error in place of figures where it could not be trained."""
    import torch

    from monosema.core import MonosemaError
    from monosema.dictionaries import load_dictionary
    from monosema.training import held_out_metrics

    out = Path(tempfile.mkdtemp(dir=folder))
    begin = time.perf_counter()
    try:
        train_own(order, size, folder, out) if order["library"] == "monosema" else train_peer(
            order, size, folder, out, python
        )
    except (MonosemaError, subprocess.CalledProcessError) as error:
        return {"error": str(getattr(error, "stderr", None) or error).strip().splitlines()[-1]}
    seconds = time.perf_counter() - begin
    dictionary = load_dictionary(out)
    figures, of_all = (
        held_out_metrics(dictionary, torch.from_numpy(np.load(folder / name))) for name in ("held.npy", "alive.npy")
    )
    return {
        "fvu": round(figures.fvu or 0.0, 5), "l0": round(figures.l0, 1), "alive": round(of_all.alive, 4),
        "seconds": round(seconds, 1),
    }  # fmt: skip


def train_own(order: dict[str, Any], size: dict[str, int], folder: Path, out: Path) -> None:
    from monosema.activations import Preprocessing, StoreStream, open_rows
    from monosema.training import TrainConfig, TrainingRun, train

    source = open_rows(folder / "vectors.npy")
    width = source.width(source.sites[0])
    stream = StoreStream(source, batch=size["batch"], seed=order["seed"], preprocessing=Preprocessing.identity(width))
    setting = size["k"] if order["architecture"] == "topk" else SETTINGS[order["architecture"]]
    dictionary = own(order["architecture"], width, size["latents"], setting, order["seed"])
    tuning = dict(OWN[order["tuning"]])
    times = tuning.pop("times", None)
    config = TrainConfig(seed=order["seed"], **tuning)
    if times is not None:
        member = TrainingRun(dictionary, config, out)
        member.prepare(size["steps"], size["batch"])
        config = config.replace(lr=times * member.peak_lr)
    train(dictionary, stream, config, out)


def train_peer(order: dict[str, Any], size: dict[str, int], folder: Path, out: Path, python: str) -> None:
    rate = None if order["tuning"] == "default" else float(order["tuning"])
    told = {
        "library": order["library"], "architecture": "topk", "setting": size["k"], "rate": rate,
        "seed": order["seed"], "vectors": str(folder / "vectors.npy"), "rows": size["steps"] * size["batch"],
        "batch": size["batch"], "latents": size["latents"], "out": str(out),
    }  # fmt: skip
    script = Path(__file__).with_name("frontier_peers.py")
    subprocess.run(
        [python, str(script), json.dumps(told)], check=True, capture_output=True, text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "SPARSIFY_DISABLE_TRITON": "1"},
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------------- tables


def cells_of(points: list[dict[str, Any]]) -> dict[str, dict[tuple[str, str], dict[str, Any]]]:
    """TopK's figures of each cell in which monosema's default was measured, by library and tuning."""
    found: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    for point in points:
        if point["architecture"] == "topk" and "fvu" in point:
            found.setdefault(point["cell"], {})[point["library"], point["tuning"]] = point
    return {cell: of for cell, of in sorted(found.items()) if ("monosema", "default") in of}


def best(of: dict[tuple[str, str], dict[str, Any]], library: str | None = None) -> tuple[float, str]:
    """Lowest FVU of a library, or of all, and what it was tuned to."""
    return min((point["fvu"], " ".join(k)) for k, point in of.items() if library in (None, k[0]))


def table(points: list[dict[str, Any]]) -> str:
    libraries = [library for library in PEERS if any(point["library"] == library for point in points)]
    heads = ["set", "latents, k, batch, steps", "FVU", "alive", "own best", "÷ best of all"]
    heads += [f"{library}: default, best" for library in libraries]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for cell, of in cells_of(points).items():
        name, size = cell.rsplit(":", 1)
        default, (own_best, how) = of["monosema", "default"], best(of, "monosema")
        shape = ", ".join(f"{value:,}" for value in SIZES[size].values())
        row = [name, shape, f"{default['fvu']:.4f}", f"{default['alive']:.0%}"]
        row += [f"{own_best:.4f} ({how.partition(' ')[2]})", f"{default['fvu'] / best(of)[0]:.3f}"]
        for library in libraries:
            theirs = of.get((library, "default"))
            row.append("–" if theirs is None else f"{theirs['fvu']:.4f}, {best(of, library)[0]:.4f}")
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def summary(points: list[dict[str, Any]]) -> str:
    cells = cells_of(points)
    if not cells:
        return ""
    defaults = {cell: of["monosema", "default"] for cell, of in cells.items()}
    tuned = [cell for cell, of in cells.items() if any(k[0] == "monosema" and k[1] != "default" for k in of)]
    near = [cell for cell in tuned if defaults[cell]["fvu"] <= 1.03 * best(cells[cell])[0]]
    alive = [cell for cell in cells if defaults[cell]["alive"] >= 0.9]
    peers = [(cell, k[0]) for cell, of in cells.items() for k in of if k[0] != "monosema" and k[1] == "default"]
    lost = [f"{cell} to {name}" for cell, name in peers if cells[cell][name, "default"]["fvu"] < defaults[cell]["fvu"]]
    far, silent = (
        ", ".join(sorted(set(all_of) - set(held))) or "none" for all_of, held in ((tuned, near), (cells, alive))
    )
    return (
        f"{len(cells)} cells. In {len(tuned)} monosema was tuned too: the default is within 3 % of the best of all in "
        f"{len(near)} ({len(near) / max(1, len(tuned)):.0%}); not: {far}. At least 90 % alive: {len(alive)} of "
        f"{len(cells)}; not: {silent}. Against a peer's default: {len(peers)}; worse: {', '.join(lost) or 'never'}."
    )


def architectures(points: list[dict[str, Any]]) -> str:
    """Every architecture on its defaults, in cells where others than TopK were trained."""
    own = {(p["cell"], p["architecture"]): p for p in points if (p["library"], p["tuning"]) == ("monosema", "default")}
    lines = ["| set | latents, k, batch, steps | architecture | FVU | L0 | alive |", "|---" * 6 + "|"]
    for cell in sorted({cell for cell, architecture in own if architecture != "topk"}):
        name, size = cell.rsplit(":", 1)
        shape = ", ".join(f"{value:,}" for value in SIZES[size].values())
        for (_, architecture), point in ((k, p) for k, p in own.items() if k[0] == cell):
            metrics = f"{point['fvu']:.4f} | {point['l0']} | {point['alive']:.0%}" if "fvu" in point else point["error"]
            lines.append(f"| {name} | {shape} | {architecture} | {metrics} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
