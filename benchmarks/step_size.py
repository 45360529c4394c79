"""How large Adam's steps may be: FVU and living latents by learning rate and floor.

    python benchmarks/step_size.py --vectors F.npy --rows 100000 --batch 512 --latents 2048
    python benchmarks/step_size.py --vectors F.npy --trainings topk:16 --rates 0.01 --floors 0 0.5 0.7 1

Each training (architecture:setting, the setting as in frontier.py) is made at each rate and each floor of the mean
squared gradients, as a share of what latents have on average (`floored_adam`); 0 is Adam with ε = 1e-12. Without
--rates and --floors: the rule's rate and half of it, each with the rule's floor and without. Held-out FVU, L0 and the
share of latents that fire on 16,384 other vectors, one seed. Prints a table.
"""

from __future__ import annotations

import argparse
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
    p.add_argument("--floors", type=float, nargs="+", help="without it, the rule's and 0")
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()

    from monosema.training import floored_adam

    print("| training | rate | floor | FVU | L0 | alive |", "|---" * 6 + "|", sep="\n")
    floors = a.floors or (floored_adam.SHARE, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        scaled = Path(folder) / "vectors.npy"
        _, rows = prepare(a, scaled)
        for training in a.trainings:
            rule = rate_of(training, a, rows, scaled)
            for rate in a.rates or (rule, rule / 2):
                for floor in floors:
                    floored_adam.SHARE = floor
                    figures = trained(training, a, rows, rate, None if floor else 1e-12, Path(folder))
                    print(f"| {training} | {rate:.2g} | {floor:.2g} | {figures} |", flush=True)


def rate_of(training: str, a: argparse.Namespace, rows: int, scaled: Path) -> float:
    """The rule's rate."""
    import numpy as np

    from monosema.training import learning_rate

    architecture, setting = training.split(":")
    width = np.load(scaled, mmap_mode="r").shape[1]
    active = own(architecture, width, a.latents, float(setting), a.seed).expected_l0
    return learning_rate(a.latents, rows // a.batch, width=width, active=active)


def trained(training: str, a: argparse.Namespace, rows: int, rate: float, epsilon: float | None, folder: Path) -> str:
    """Train and measure: FVU, L0 and living latents."""
    import numpy as np
    import torch

    from monosema.activations import Preprocessing, StoreStream, open_rows
    from monosema.dictionaries import load_dictionary
    from monosema.training import TrainConfig, held_out_metrics, train

    architecture, setting = training.split(":")
    source = open_rows(folder / "vectors.npy")
    width = source.width(source.sites[0])
    stream = StoreStream(
        source, batch=a.batch, seed=a.seed, rows=slice(0, rows), preprocessing=Preprocessing.identity(width)
    )
    dictionary = own(architecture, width, a.latents, float(setting), a.seed)
    out = Path(tempfile.mkdtemp(dir=folder))
    train(dictionary, stream, TrainConfig(seed=a.seed, lr=rate, epsilon=epsilon), out)
    held = torch.from_numpy(np.load(folder / "vectors.npy", mmap_mode="c")[-HELD_OUT:].copy())
    figures = held_out_metrics(load_dictionary(out), held)
    return f"{figures.fvu:.4f} | {figures.l0:.1f} | {figures.alive:.0%}"


if __name__ == "__main__":
    main()
