"""Train, measure and export the embedded model, "specimen".

    python -m monosema.recipes.specimen --corpus DIR --out DIR [--tokens N]      train, going on from what is in --out
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m monosema.recipes.specimen", description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="folder with the training corpora")
    parser.add_argument("--out", type=Path, help="folder of the run: tokens, checkpoint, metrics")
    parser.add_argument("--tokens", type=int, default=60_000_000, help="tokens of the whole run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--eager", action="store_true", help="do not compile the training step")
    options = parser.parse_args(arguments)
    from .specimen_text import prepare
    from .specimen_training import Settings, train

    corpus = prepare(options.corpus, options.out, options.seed)
    train(corpus, options.out, Settings(tokens=options.tokens, seed=options.seed), compiled=not options.eager)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
