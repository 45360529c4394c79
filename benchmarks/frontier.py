"""The sparsity–reconstruction frontier of every architecture, here and in the peers, on the same vectors.

    python benchmarks/frontier.py --vectors build/minilm-layer3.npy --peer-python .venv-peers/bin/python
    python benchmarks/frontier.py --run runs/demo --peer-python .venv-peers/bin/python

Each architecture is trained at several sparsities and seeds, on equal rows, by monosema's trainer and by those of
SAELens and dictionary_learning; every dictionary is then loaded by monosema and measured by the same code on the same
held-out rows: FVU, L0, share of latents that fire; with --run, which takes a run's activations, also by the loss that
its model recovers on held-out text. Peers are tried at several learning rates with the first seed; the settings of
theirs that no other betters in both FVU and L0 go on with the others. Prints a line of JSON for each dictionary, then a
table: for every point of a peer, monosema's FVU on the same architecture at that L0 (interpolated between its own
points, both on logarithmic scales) over the peer's; below 1 is better. Last a summary of these. Results are kept in
--out, and what is there is not trained again; drawings go beside it.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from frontier_tables import ARCHITECTURES, LIBRARIES, Point, curve, draw, summary, table
from training_rows import run_rows

HELD_OUT = 16_384
LOSS_TOKENS = 8_192
"""Tokens of held-out text on which the loss recovered is measured."""
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
    ("monosema", "l1"): (0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 16.0),
    ("monosema", "gated"): (1.0, 2.0, 5.0, 8.0, 12.0, 20.0),
    ("monosema", "p_anneal"): (1.0, 2.0, 3.0, 5.0, 8.0, 20.0),
    ("monosema", "jumprelu"): (1e-5, 5e-5, 2e-4, 5e-4, 1e-3, 3e-3, 1e-2, 1.5e-2),
}
"""Sparsity coefficients (or target L0) of the others; found by trying which give an L0 near those of K, and of monosema
which reach as far as the peers' own."""


def settings(library: str, architecture: str) -> tuple[float, ...]:
    """Sparsities that a library's architecture is trained at; none where the library lacks it."""
    if library == "saelens" and architecture == "p_anneal":
        return ()
    return COEFFICIENTS.get((library, architecture), K)


def orders(a: argparse.Namespace, vectors: Path, rows: int, points: list[Point]) -> Iterator[dict[str, Any]]:
    """All trainings, seed by seed; the peers' settings of later seeds depend on the points that the first seed gave."""
    for seed in range(a.seeds):
        for architecture in a.architectures:
            for library in a.libraries:
                known = points if seed else None
                for setting, rate in settings_and_rates(library, architecture, a.peer_rates, known):
                    yield {
                        "library": library, "architecture": architecture, "setting": setting, "rate": rate,
                        "seed": seed, "vectors": str(vectors), "rows": rows, "batch": a.batch,
                        "latents": a.latents,
                    }  # fmt: skip


def settings_and_rates(
    library: str, architecture: str, rates: list[float], points: list[Point] | None
) -> list[tuple[float, float | None]]:
    """What is trained: all a peer's rates where nothing is known yet, else its settings that no other betters."""
    if library == "monosema":
        return [(setting, None) for setting in settings(library, architecture)]
    if points is None:
        return [(setting, rate) for setting in settings(library, architecture) for rate in rates]
    first = [point for point in points if point["seed"] == 0]
    return [(mean["setting"], mean["rate"]) for mean in curve(first, library, architecture)]


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
    source = p.add_mutually_exclusive_group(required=True)
    source.add_argument("--vectors", type=Path, help=".npy of shuffled activations (train_step.py makes one)")
    source.add_argument("--run", type=Path, help="run folder of a language model: its activations, and its loss")
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
    a.out.parent.mkdir(parents=True, exist_ok=True)
    lines = a.out.read_text().splitlines() if a.out.exists() else []
    points = [json.loads(line) for line in lines]
    known = {key_of(point) for point in points}
    with tempfile.TemporaryDirectory() as folder:
        scaled = Path(folder) / "vectors.npy"
        scale, count = prepare(a, scaled)
        for number, order in enumerate(orders(a, scaled, count, points)):
            if key_of(order) in known:
                continue
            point = measured(order, a, scale, Path(folder) / f"dictionary-{number}")
            points.append(point)
            with open(a.out, "a") as file:
                file.write(json.dumps(point) + "\n")
            print(json.dumps(point), flush=True)
    print(table(points), summary(points), sep="\n\n")
    draw(points, a.out.with_suffix(""))


def prepare(a: argparse.Namespace, scaled: Path) -> tuple[float, int]:
    """Write the rows, scaled to a mean square of 1 a component; returns the scale and the rows to train on."""
    import numpy as np

    rows = np.load(a.vectors, mmap_mode="r") if a.vectors else run_rows(a.run, a.rows + HELD_OUT)
    sample = np.asarray(rows[:65_536], dtype=np.float64)
    scale = math.sqrt(rows.shape[1] / np.square(sample).sum(axis=1).mean())
    np.save(scaled, np.asarray(rows, dtype=np.float32) * np.float32(scale))
    return scale, min(a.rows, len(rows) - HELD_OUT) // a.batch * a.batch


def key_of(order: dict[str, Any]) -> str:
    names = ("library", "architecture", "setting", "rate", "seed", "rows", "batch", "latents")
    return json.dumps([order[name] for name in names])


def measured(order: dict[str, Any], a: argparse.Namespace, scale: float, out: Path) -> Point:
    """Train as ordered and measure; the error in place of figures where a peer could not."""
    import numpy as np
    import torch

    from monosema.dictionaries import load_dictionary
    from monosema.training import held_out_metrics

    kept = {name: value for name, value in order.items() if name != "vectors"}
    try:
        seconds = train_own(order, out) if order["library"] == "monosema" else train_peer(order, a.peer_python, out)
    except RunError as error:
        return kept | {"error": str(error)}
    held = torch.from_numpy(np.load(order["vectors"], mmap_mode="c")[-HELD_OUT:].copy())
    dictionary = load_dictionary(out)
    figures = held_out_metrics(dictionary, held)
    return kept | {
        "fvu": round(figures.fvu or 0.0, 5), "l0": round(figures.l0, 2), "alive": round(figures.alive, 4),
        "loss_recovered": loss_recovered(dictionary, scale, a.run) if a.run else None, "seconds": seconds,
    }  # fmt: skip


def loss_recovered(dictionary: Any, scale: float, run: Path) -> float:
    """Of the run's model on its held-out text; the dictionary was trained on activations times `scale`."""
    import torch

    from monosema.evaluation import evaluate

    model, site, text = held_out_text(run)
    folded = dictionary.folded(torch.zeros(dictionary.d_in), scale)
    return round(evaluate(model, folded, site, text).rows[0].metrics["loss_recovered"].value, 5)


@functools.cache
def held_out_text(run: Path) -> tuple[Any, Any, list[Any]]:
    from monosema.runs.context import RunContext
    from monosema.runs.recipe import Recipe

    ctx = RunContext(Recipe.read(run / "recipe.toml"), run)
    text = ctx.recipe.text.replace(split="heldout", tokens=LOSS_TOKENS)
    return ctx.model, ctx.site, list(ctx.batches(text))


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
            return d.make_coder("l1", **shape, l1_coefficient=setting, seed=seed)
        case "gated":
            return d.make_coder("gated", **shape, l1_coefficient=setting, seed=seed)
        case "jumprelu":
            return d.make_coder("jumprelu", **shape, l0_coefficient=setting, seed=seed)
        case "p_anneal":
            return d.make_coder("p_anneal", **shape, l1_coefficient=setting, seed=seed)
        case "topk":
            return d.make_coder("topk", **shape, k=int(setting), seed=seed)
        case "batch_topk":
            return d.make_coder("batch_topk", **shape, k=int(setting), seed=seed)
        case _:
            return d.make_coder("matryoshka", **shape, k=int(setting), seed=seed)


if __name__ == "__main__":
    main()
