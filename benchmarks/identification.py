"""Feature identification: latents dropped one by one, by a run of all prompts for each, beside how it is done now.

    python benchmarks/identification.py [--folder runs/identification]
    python benchmarks/identification.py --model smollm2 --layer 15 --prompts 6 --skip-first 2 --alpha 1e-3
        --finest 1e-3 --thresholds 7 --later 0

Processor time of one thread at the first threshold, which tries every latent that differs, and at those after it. Both
must leave the same latents, but for such as one arithmetic or the other puts on this side of a threshold: how many
differ is printed. The dictionary (tied weights, ReLU, L1) is trained on the built-in text, and kept in the folder.
"""

from __future__ import annotations

import argparse
import random
import resource
import time
from pathlib import Path

import numpy as np
import torch

from monosema.circuits import contrasts
from monosema.circuits.identification import Patching, Selection, identify
from monosema.core import Site, torch_generator
from monosema.data.tasks import ioi
from monosema.models import load_model
from monosema.runs.experiments.trained import TrainingChoice, captured, trained


def one_by_one(patching: Patching, selection: Selection, threshold: float, number: int) -> Selection:
    """Drop latents of a selection as the paper does: each tried alone, on all prompts, at all positions."""
    rows = torch.arange(len(patching.clean))

    def cost(kept: torch.Tensor) -> float:
        return float(patching.divergence(rows, patching.run(kept)[0]).double().mean())

    kept = patching.mask(selection)
    places, generator = kept.nonzero().flatten(), torch_generator(0, "feature identification", number)
    before = cost(kept)
    for place in places[torch.randperm(len(places), generator=generator)].tolist():
        kept[place] = False
        after = cost(kept)
        if after - before < threshold:
            before = after
        else:
            kept[place] = True
    return patching.selection(kept)


def main() -> None:
    """Train, drop both ways in turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="specimen")
    parser.add_argument("--layer", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--skip-first", type=int, default=0)
    parser.add_argument("--alpha", type=float, default=3e-3)
    parser.add_argument("--finest", type=float, default=1e-5, help="the first threshold; the last is 1")
    parser.add_argument("--thresholds", type=int, default=50)
    parser.add_argument("--later", type=int, default=5, help="thresholds after the first that are timed")
    parser.add_argument("--folder", type=Path, default=Path("runs/identification"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, site = load_model(args.model, dtype="float32"), Site(args.layer, "resid_post")
    choice = TrainingChoice(tokens=args.tokens, skip_first=args.skip_first, alphas=(args.alpha,), seeds=1)
    home = args.folder / f"{args.model}-{args.layer}-{args.tokens}-{args.alpha:g}"
    store = captured(load_model(args.model), [site], choice, home / "activations")
    (member,) = trained(store, choice, home / "dictionaries")
    dictionary = member.open()
    prompts = contrasts(ioi.prompts(random.Random(0), args.prompts, "test", corruption="io"), model)
    thresholds = np.geomspace(args.finest, 1, args.thresholds).tolist()[: 1 + args.later]
    patching = Patching(model, site, prompts, dictionary)
    print(
        f"{args.model}, layer {args.layer}: {len(prompts)} prompts, {dictionary.n_latents:,} latents, "
        f"L0 {member.l0:.0f}, FVU {member.fvu:.2f}; {len(patching.latents)} latents differ",
        flush=True,
    )
    spent = {"one by one": list[float](), "now": list[float]()}
    found = identify(patching, thresholds)
    selection = next(found)
    tried = list[int]()
    for number, threshold in enumerate(thresholds):
        tried.append(len(selection))
        begun = time.process_time()
        slow = one_by_one(patching, selection, threshold, number)
        spent["one by one"].append(time.process_time() - begun)
        begun = time.process_time()
        selection = next(found)
        spent["now"].append(time.process_time() - begun)
        print(f"  threshold {threshold:.2g}: {tried[-1]} tried, {len(selection)} stay, ", end="")
        print(f"{len({*slow} ^ {*selection})} otherwise one by one", flush=True)
    for name, seconds in spent.items():
        later = f"; the {args.later} after it {sum(seconds[1:]):.1f} s" if args.later else ""
        print(f"{name}: the first threshold {seconds[0]:.1f} s{later}")
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
