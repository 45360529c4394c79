"""What encoding among candidates by 8-bit integers misses, and what bf16 products miss, beside float32.

    python benchmarks/screening.py --dictionary DIR --vectors F.npy

The k largest pre-activations of the last rows of F.npy, by a trained TopK dictionary (`monosema train --activations
F.npy --out DIR`). Prints the share of the active codes of float32 that are missing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from monosema.dictionaries import load_dictionary


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--dictionary", type=Path, required=True)
    p.add_argument("--vectors", type=Path, required=True)
    p.add_argument("--rows", type=int, default=4096)
    a = p.parse_args()
    dictionary = load_dictionary(a.dictionary)
    x = torch.from_numpy(np.load(a.vectors, mmap_mode="r")[-a.rows :].copy())
    exact = dictionary.encode(x).dense() > 0
    for product in (torch.int8, torch.bfloat16):
        missed = int((exact & ~(dictionary.encode(x, product).dense() > 0)).sum())
        print(f"{product}: {missed} of {int(exact.sum())} codes missed, {missed / int(exact.sum()):.3%}")


if __name__ == "__main__":
    main()
