"""How large Adam's steps may be: FVU and living latents by learning rate and ε.

    python benchmarks/step_size.py --vectors F.npy --rows 100000 --batch 512 --latents 2048
    python benchmarks/step_size.py --vectors F.npy --trainings topk:16 --rates 0.01 --gains inf 1 0.5 0.333 0.25

Each training (architecture:setting, the setting as in frontier.py) is made at each rate and each gain. The gain bounds
a step by so many times the mean gradient times the number of latents: ε = rate / (gain · latents); inf is ε = 1e-12.
Without --rates and --gains: the rule's rate and half of it, each with the rule's ε and without. Held-out FVU, L0 and
the share of latents that fire on 16,384 other vectors, one seed. Prints a table.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

from frontier import HELD_OUT, own, prepare

TRAININGS = ("topk:16", "topk:64", "batch_topk:32", "jumprelu:0.003", "gated:5", "l1:3")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--vectors", type=Path, required=True, help=".npy of shuffled activations (train_step.py makes one)")
    p.add_argument("--rows", type=int, default=100_000)
    p.add_argument("--batch", type=int, default=512)
    p.add_argument("--latents", type=int, default=2048)
    p.add_argument("--trainings", nargs="+", default=list(TRAININGS), metavar="ARCHITECTURE:SETTING")
    p.add_argument("--rates", type=float, nargs="+", help="peak learning rates; without it, the rule's and half of it")
    p.add_argument("--gains", type=float, nargs="+", help="without it, the rule's and inf")
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()

    from monosema.training import learning_rate
    from monosema.training.schedule import LARGEST_GAIN

    print("| training | rate | gain | ε | FVU | L0 | alive |", "|---" * 7 + "|", sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        scaled = Path(folder) / "vectors.npy"
        _, rows = prepare(a, scaled)
        rule = learning_rate(a.latents, rows // a.batch)
        for training in a.trainings:
            for rate in a.rates or (rule, rule / 2):
                for gain in a.gains or (LARGEST_GAIN, math.inf):
                    epsilon = 1e-12 if gain == math.inf else rate / (gain * a.latents)
                    figures = trained(training, a, rows, rate, epsilon, Path(folder))
                    print(f"| {training} | {rate:.2g} | {gain:.2g} | {epsilon:.2g} | {figures} |", flush=True)


def trained(training: str, a: argparse.Namespace, rows: int, rate: float, epsilon: float, folder: Path) -> str:
    """Train and measure: FVU, L0 and living latents."""
    import numpy as np
    import torch

    from monosema.activations import Preprocessing, StoreStream, open_rows
    from monosema.dictionaries import load_dictionary
    from monosema.training import TrainConfig, held_out_figures, train

    architecture, setting = training.split(":")
    source = open_rows(folder / "vectors.npy")
    width = source.width(source.sites[0])
    stream = StoreStream(
        source, batch=a.batch, seed=a.seed, rows=slice(0, rows), preprocessing=Preprocessing.identity(width)
    )
    dictionary = own(architecture, width, a.latents, float(setting), a.seed)
    out = folder / f"{architecture}-{setting}-{rate}-{epsilon}"
    train(dictionary, stream, TrainConfig(seed=a.seed, lr=rate, epsilon=epsilon), out)
    held = torch.from_numpy(np.load(folder / "vectors.npy", mmap_mode="c")[-HELD_OUT:].copy())
    figures = held_out_figures(load_dictionary(out), held)
    return f"{figures.fvu:.4f} | {figures.l0:.1f} | {figures.alive:.0%}"


if __name__ == "__main__":
    main()
