"""Train, measure and export the embedded model, "specimen"; with experiments/ on PYTHONPATH.

python -m specimen --corpus DIR --out DIR [--tokens N] [--export DIR]
    train, going on from what is in --out, then measure and write weights and model card to --export
python -m specimen --corpus DIR --out DIR --start WEIGHTS --tokens N [--export DIR]
    begin with exported weights instead of random ones; the tokens they have seen count
python -m specimen --corpus DIR --out DIR --no-train --export DIR
    the same without further training: measure and write what the checkpoint in --out holds
python -m specimen --corpus DIR --evaluate DIR
    measure weights that were exported, and print the figures
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from monosema.core import InputError, MonosemaError, bf16_is_fast, choose_device

if TYPE_CHECKING:
    from specimen.evaluation import Figure
    from specimen.text import Corpus
    from specimen.training import Settings

DEFAULT_TOKENS = 60_000_000
"""Tokens of a whole run."""
REMARKS = "remarks.txt"
"""A file in --out with one remark a line on how the run departed from the recipe; the card repeats it."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m specimen",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--corpus", type=Path, required=True, help="folder with the training corpora")
    parser.add_argument("--out", type=Path, help="folder of the run: tokens, checkpoint, metrics")
    parser.add_argument("--tokens", type=int, default=DEFAULT_TOKENS, help="tokens of the whole run")
    parser.add_argument("--start", type=Path, metavar="WEIGHTS", help="folder of exported weights to begin with")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json to take; without it one is trained")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights and of every batch")
    parser.add_argument("--phases", nargs="+", metavar="NAME", help="names of the phases to go through (default: all)")
    parser.add_argument("--device", help="where to compute: cpu, cuda; without it, the best there is")
    parser.add_argument("--eager", action="store_true", help="do not compile the training step")
    parser.add_argument("--no-train", action="store_true", help="only measure and export the checkpoint in --out")
    parser.add_argument("--export", type=Path, help="where to write weights and card (default: OUT/export)")
    parser.add_argument("--evaluate", type=Path, metavar="WEIGHTS", help="measure this folder of exported weights")
    parser.add_argument("--prompts", type=int, default=1000, help="held-out prompts of each kind")
    parser.add_argument("--windows", type=int, default=400, help="windows of held-out text from each source")
    return parser


def _print(figures: Sequence[Figure]) -> None:
    from specimen.evaluation import as_records

    for record in as_records(list(figures)):
        sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")


def evaluate_weights(options: argparse.Namespace) -> None:
    """Measure exported weights."""
    import torch
    from transformers import LlamaForCausalLM

    from specimen.evaluation import evaluate
    from specimen.text import prepare

    with tempfile.TemporaryDirectory() as scratch:
        corpus = prepare(options.corpus, options.out or Path(scratch), tokenizer=options.evaluate / "tokenizer.json")
        model = LlamaForCausalLM.from_pretrained(
            options.evaluate, dtype="auto" if bf16_is_fast(choose_device(options.device)) else torch.float32
        )
        _print(evaluate(model, corpus, options.corpus, prompts=options.prompts, windows=options.windows))


def _settings(options: argparse.Namespace) -> Settings:
    from specimen.phases import phases_named
    from specimen.training import Settings

    return Settings(tokens=options.tokens, seed=options.seed, phases=phases_named(options.phases))


def train_and_export(options: argparse.Namespace) -> None:
    """Train, unless told not to, then measure the bfloat16 weights and write them with their card."""
    from specimen.text import prepare
    from specimen.training import train

    tokenizer = options.start / "tokenizer.json" if options.start else options.tokenizer
    corpus = prepare(options.corpus, options.out, seed=options.seed, tokenizer=tokenizer)
    settings = _settings(options)
    finished = options.no_train
    if not finished:
        device = choose_device(options.device)
        state = train(corpus, options.out, settings, compiled=not options.eager, device=device, start=options.start)
        finished = state.tokens >= options.tokens
    if not finished:
        sys.stderr.write("Stopped before the end; the same command goes on from here.\n")
        return
    _export(options, corpus)


def _export(options: argparse.Namespace, corpus: Corpus) -> None:
    import torch
    from transformers import LlamaForCausalLM

    from specimen.evaluation import evaluate
    from specimen.export import export, training_record, write_card
    from specimen.training import Run

    settings = _settings(options)
    run = Run(corpus, options.out, settings)
    if run.state.step == 0:
        raise InputError(f"There is no checkpoint in {options.out}; train first, without --no-train.")
    folder = options.export or options.out / "export"
    export(run.model, corpus.tokenizer, folder)
    shipped = LlamaForCausalLM.from_pretrained(folder, dtype="auto" if bf16_is_fast(run.device) else torch.float32)
    figures = evaluate(shipped, corpus, options.corpus, prompts=options.prompts, windows=options.windows)
    remarks = options.out / REMARKS
    lines = remarks.read_text(encoding="utf-8").splitlines() if remarks.exists() else []
    write_card(folder, figures, training_record(run.state, settings, corpus, lines))
    _print(figures)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.evaluate is not None:
            evaluate_weights(options)
        elif options.out is None:
            raise InputError("--out is missing: the folder that holds the run. Only --evaluate works without it.")
        else:
            train_and_export(options)
    except MonosemaError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0
