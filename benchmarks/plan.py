"""What `monosema plan` predicts for training's memory beside what the operating system counted.

    python benchmarks/plan.py [--sizes 256,16384,32,2048 384,12288,32,4096] [--json]

Each size (d, latents, k, batch) is trained for a few steps on random rows, in a process of its own, with a checkpoint
and held-out rows. Measured is TrainResult's peak: all of the process, libraries included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

SIZES = ("128,32768,32,1024", "256,65536,64,1024", "384,12288,32,4096")
STEPS = 8
MEMORY_MB = 32.0
"""What `train_on_vectors` lets waiting rows take."""


def measure(d: int, m: int, k: int, batch: int) -> float:
    """Peak megabytes of a training run in this process."""
    import numpy as np

    from monosema.training import TrainConfig, train_on_vectors

    with tempfile.TemporaryDirectory() as folder:
        rows = np.random.default_rng(0).standard_normal((batch * (STEPS + 1), d), dtype=np.float32)
        np.save(Path(folder) / "rows.npy", rows)
        del rows
        config = TrainConfig(product="float32", checkpoint_steps=STEPS // 2)
        result = train_on_vectors(
            Path(folder) / "rows.npy",
            latents=m,
            k=k,
            batch=batch,
            out=Path(folder) / "out",
            config=config,
            heldout=batch,
        )
    return result.peak_memory_mb


def predict(d: int, m: int, k: int, batch: int) -> float:
    """Megabytes that the plan says."""
    from monosema.training.footprint import Layout, training_footprint

    held_mb = batch * d * 4 / 1e6
    stream_mb = min(MEMORY_MB, STEPS * held_mb)
    return training_footprint(Layout(d, m, k, batch), processor=True, stream_mb=stream_mb + held_mb).total / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), help="d,latents,k,batch")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(*map(int, given.measure.split(",")))))
        return
    rows = []
    for size in given.sizes:
        command = [sys.executable, __file__, "--measure", size]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        measured, predicted = json.loads(done.stdout.splitlines()[-1]), predict(*map(int, size.split(",")))
        rows.append({"size": size, "measured_mb": measured, "predicted_mb": predicted, "ratio": predicted / measured})
    if given.json:
        print(json.dumps({"memory": rows}))
        return
    print(f"{'d,latents,k,batch':24}{'measured MB':>14}{'predicted MB':>14}{'ratio':>8}")
    for row in rows:
        print(f"{row['size']:24}{row['measured_mb']:14,.0f}{row['predicted_mb']:14,.0f}{row['ratio']:8.2f}")


if __name__ == "__main__":
    main()
