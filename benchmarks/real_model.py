"""A real model, stage by stage: seconds against what bounds each of them, and the peak memory of each.

    python benchmarks/real_model.py --model smollm2 [--site 15.resid_post] [--corpus builtin] [--tokens 16384]
        [--latents 9216] [--k 32] [--evaluation-tokens 4096] [--features 128] [--rounds 3] [--only capture evaluate …]

Each stage runs in a process of its own, so that its memory is its own, and takes turns there with its bound:

    capture     over the bare pass to the site, of the same tokens
    evaluate    over the passes it needs: one to the site, and from there on one for each version (clean, zero, mean,
                dictionary, PCA, random directions), each with logits for every token
    atlas       over capturing the same tokens to a store
    explain     features a second, by both kinds of program
    score       features a second, all scorers, without random latents

Medians of the rounds, by the clock and by the time of all processors together, which other work on the machine changes
less; the precision is what the machine does fastest, as on the command line. The dictionary is trained
on the captured tokens in a process before all others. Peak memory is that of the process (VmHWM), libraries included,
and the bounds' own memory with it; `plan` is what `monosema plan` says of the stage.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STAGES = ("capture", "train", "evaluate", "atlas", "explain", "score")
VERSIONS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2", help="what --model of the command line takes")
    parser.add_argument("--site", default="15.resid_post")
    parser.add_argument("--corpus", default="builtin")
    parser.add_argument("--tokens", type=int, default=16_384)
    parser.add_argument("--latents", type=int, default=9_216)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--evaluation-tokens", type=int, default=4_096)
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--run", help="a folder to work in, and to keep")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        print(json.dumps(measure(given)))
        return
    with tempfile.TemporaryDirectory() as folder:
        given.run = given.run or folder
        found = {}
        for stage in dict.fromkeys(("train", *given.only)):
            words = [sys.executable, __file__, *sys.argv[1:], "--run", given.run, "--stage", stage]
            done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
            found[stage] = json.loads(done.stdout.splitlines()[-1])
            print(stage, found[stage], file=sys.stderr, flush=True)
    print(table({stage: found[stage] for stage in STAGES if stage in found}))


def table(found: dict[str, dict[str, Any]]) -> str:
    names = ("stage", "rate, a second", "of its bound", "by processor time", "peak MB", "plan MB", "plan ÷ peak")
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for stage, one in found.items():
        ratio = " | ".join(f"{one[name]:.2f}" if name in one else "–" for name in ("ratio", "ratio_by_processor"))
        figures = f"{one['rate']:,.0f} | {ratio} | {one['peak_mb']:,.0f} | {one['plan_mb']:,.0f}"
        lines.append(f"| {stage} | {figures} | {one['plan_mb'] / one['peak_mb']:.2f} |")
    return "\n".join(lines)


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """One stage, in this process."""
    from monosema.cli.process import settle

    # Before torch is loaded, as on the command line.
    settle()
    import torch

    from monosema.runs.run import run

    recipe, folder = recipe_of(given), Path(given.run)
    begin = time.perf_counter()
    if given.stage in ("train", "explain", "score"):
        run(recipe, folder, until={"train": "train", "explain": "explain", "score": "score"}[given.stage])
        seconds = json.loads((folder / "stages.json").read_text())["stages"][given.stage]["seconds"]
        amount = given.tokens if given.stage == "train" else given.features
        found: dict[str, Any] = {"rate": amount / seconds, "seconds": seconds}
    else:
        with torch.inference_mode():
            tasks = {"capture": capture, "evaluate": evaluate, "atlas": atlas}[given.stage](recipe, folder)
            found = turns(tasks, given.rounds)
        amount = given.evaluation_tokens if given.stage == "evaluate" else given.tokens
        found["rate"] = amount / found["seconds"]
    found["wall"] = time.perf_counter() - begin
    return found | {
        "peak_mb": peak_mb(),
        "plan_mb": planned_mb(recipe, given.stage),
        "threads": torch.get_num_threads(),
    }


def recipe_of(given: argparse.Namespace) -> Any:
    from monosema.recipes import demo
    from monosema.runs import SHORT_KEYS, apply_overrides

    keys = {
        "model": given.model,
        "site": given.site,
        "corpus": given.corpus,
        "tokens": str(given.tokens),
        "latents": str(given.latents),
        "k": str(given.k),
        "batch": "2048",
        "passes": "1",
        "evaluation_tokens": str(given.evaluation_tokens),
        "explain.most": str(given.features),
        "samples.tokens": str(given.tokens),
        "score.random_latents": "0",
    }
    return apply_overrides(demo(), keys, SHORT_KEYS)


def bench_of(recipe: Any, folder: Path) -> Any:
    from monosema.runs.context import RunContext
    from monosema.runs.recipe import Recipe

    return RunContext(Recipe.read(folder / "recipe.toml"), folder)


Tasks = dict[str, Callable[[], object]]


def capture(recipe: Any, folder: Path) -> Tasks:
    from monosema.activations import capture_to_store

    ctx = bench_of(recipe, folder)
    batches = list(ctx.batches(ctx.recipe.text))

    def bare() -> None:
        for batch in batches:
            ctx.model.activations(batch.tokens, ctx.recipe.sites)

    def own() -> None:
        with tempfile.TemporaryDirectory() as out:
            capture_to_store(ctx.model, batches, ctx.recipe.sites, Path(out) / "store", ctx.recipe.capture)

    return {"bound": bare, "own": own}


def evaluate(recipe: Any, folder: Path) -> Tasks:
    import torch

    from monosema.evaluation import evaluate as evaluated
    from monosema.evaluation.losses import Losses
    from monosema.evaluation.passes import pieces
    from monosema.models import Fork
    from monosema.runs.interpretation import opened_dictionary
    from monosema.runs.stages import _controls

    ctx = bench_of(recipe, folder)
    text = ctx.recipe.text.replace(split="heldout", tokens=ctx.recipe.evaluation_tokens)
    batches = list(ctx.batches(text))
    (controls, mean), dictionary = _controls(ctx), opened_dictionary(ctx)
    losses = Losses(ctx.model.vocab, ctx.model.logits)

    def needed() -> None:
        for batch in batches:
            for piece in pieces(batch, ctx.model, ctx.site, VERSIONS, ctx.recipe.evaluation.memory_mb / 2):
                fork = Fork(ctx.model, ctx.site, piece.tokens)
                rows = torch.cat(list(fork.run([None] * VERSIONS))).flatten(0, 1)
                for part in rows.split(losses._step):
                    ctx.model.logits(part, losses._room("bound", len(part), part))

    def own() -> None:
        with tempfile.TemporaryDirectory() as out:
            kept: dict[str, Any] = {"mean": mean, "parts": Path(out)}
            evaluated(ctx.model, dictionary, ctx.site, batches, ctx.recipe.evaluation, controls, **kept)

    return {"bound": needed, "own": own}


def atlas(recipe: Any, folder: Path) -> Tasks:
    from monosema.atlas import build_atlas
    from monosema.runs.interpretation import opened_dictionary

    ctx = bench_of(recipe, folder)
    batches, dictionary = list(ctx.batches(ctx.recipe.text)), opened_dictionary(ctx)

    def own() -> None:
        shutil.rmtree(folder / "again", ignore_errors=True)
        build_atlas(ctx.model, dictionary, ctx.site, batches, folder / "again", ctx.recipe.atlas)

    return {"bound": capture(recipe, folder)["own"], "own": own}


def turns(tasks: Tasks, rounds: int) -> dict[str, Any]:
    """Seconds of each, and bound over own, each the median of the rounds; one round before them warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    busy: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(rounds + 1):
        for name, work in tasks.items():
            begin, spent = time.perf_counter(), time.process_time()
            work()
            if number:
                seconds[name].append(time.perf_counter() - begin)
                busy[name].append(time.process_time() - spent)
    medians = {name: statistics.median(some) for name, some in seconds.items()}
    return {
        "seconds": medians["own"],
        "bound_seconds": medians["bound"],
        "ratio": paired(seconds),
        "ratio_by_processor": paired(busy),
    }


def paired(seconds: dict[str, list[float]]) -> float:
    """Median of the rounds' ratios: two neighbours in a round saw the same machine."""
    return statistics.median(bound / own for bound, own in zip(seconds["bound"], seconds["own"], strict=True))


def peak_mb() -> float:
    """Peak resident memory of this process in 10⁶ bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def planned_mb(recipe: Any, stage: str) -> float | None:
    """What `monosema plan` says; None for a stage that it does not plan."""
    from monosema.runs.plan import Machine, plan

    found = plan(recipe, Machine.measured())
    return next((one.memory_gb * 1e3 for one in found.stages if one.stage == stage), None)


if __name__ == "__main__":
    main()
