"""What several dictionaries of one shape cost in one pass, beside one.

    python benchmarks/sweep.py --latents 4096 --members 4

One dictionary and several of the same shape are trained on the same vectors; they take turns, a few steps each, so that
a machine that drifts drifts for all. A step includes loading its batch. Prints JSON: medians by the clock and by the
processor's time (which other programs on the machine disturb less), and how many times one each costs. The bound is the
encoder's matrix product, for each dictionary by itself, and for all encoders stacked into one matrix: what sharing that
product could save at most.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monosema.core import bf16_is_fast, choose_device
from monosema.dictionaries import make_coder
from monosema.training import TrainConfig, Trainer, TrainingRows, TrainingRun


def vectors(path: Path, rows: int, d: int) -> Path:
    """Sums of a few directions, as a file."""
    generator = np.random.default_rng(0)
    few = generator.standard_normal((rows, 32), np.float32) @ generator.standard_normal((32, d), np.float32)
    np.save(path, few + 0.3 * generator.standard_normal((rows, d), np.float32))
    return path


def contestant(path: Path, out: Path, members: int, a: argparse.Namespace) -> Callable[[], None]:
    """A function that makes one step of so many dictionaries, its batch's loading included."""
    rows = TrainingRows.open(path, a.batch, 0)
    stream = rows.stream(rows.source.sites, batch=a.batch, seed=0, passes=10_000)
    made = []
    for number in range(members):
        dictionary = make_coder("topk", d_in=a.width, n_latents=a.latents, k=a.k, seed=number)
        made.append(TrainingRun(dictionary, TrainConfig(seed=number), out / str(number), name=str(number)))
    trainer = Trainer(made, [stream], TrainConfig(), out)
    trainer.begin()
    batches: Iterator[Any] = iter(stream)
    return lambda: _ignored(trainer.step(next(batches)))


def products(members: int, a: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """The encoder's product, for one dictionary, for each of several, and stacked; in blocks, as training makes it."""
    from monosema.kernels.encode import BLOCK_BYTES

    dtype = torch.bfloat16 if bf16_is_fast(choose_device(None)) else torch.float32
    x = torch.randn(a.batch, a.width).to(dtype)
    encoders = [torch.randn(a.latents, a.width).to(dtype) for _ in range(members)]
    stacked = torch.cat(encoders)

    def product(weight: torch.Tensor) -> None:
        step = max(1, BLOCK_BYTES // (len(weight) * weight.element_size()))
        block = torch.empty(min(step, len(x)), len(weight), dtype=dtype)
        for part in x.split(step):
            torch.mm(part, weight.T, out=block[: len(part)])

    return {
        "product of one": lambda: product(encoders[0]),
        "products of each": lambda: _ignored([product(encoder) for encoder in encoders]),
        "product of stacked": lambda: product(stacked),
    }


def _ignored(_: object) -> None:
    return None


def measured(contestants: dict[str, Callable[[], None]], rounds: int, steps: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of a step, by the clock and by the processor; the first round warms up and is left out."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, step in contestants.items():
            for _ in range(steps):
                clock, processor = time.perf_counter(), time.process_time()
                step()
                if number:
                    found[name].append((time.perf_counter() - clock, time.process_time() - processor))
    return {
        name: {
            "clock_ms": 1e3 * statistics.median(clock for clock, _ in times),
            "processor_ms": 1e3 * statistics.median(processor for _, processor in times),
        }
        for name, times in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--latents", type=int, default=4096)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="steps that each makes in a round")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        path = vectors(home / "vectors.npy", 16 * a.batch, a.width)
        several = f"{a.members} dictionaries"
        contestants = {
            "one dictionary": contestant(path, home / "one", 1, a),
            several: contestant(path, home / "several", a.members, a),
            **products(a.members, a),
        }
        medians = measured(contestants, a.rounds, a.steps)
    one, all_of_them = medians["one dictionary"], medians[several]
    apart, stacked = medians["products of each"], medians["product of stacked"]
    result = {
        "shape": {name: getattr(a, name) for name in ("width", "latents", "k", "batch", "members")},
        "threads": torch.get_num_threads(),
        "medians": medians,
        "times_one": {kind.removesuffix("_ms"): all_of_them[kind] / one[kind] for kind in one},
        "stacked_product_over_products": {kind.removesuffix("_ms"): stacked[kind] / apart[kind] for kind in one},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
