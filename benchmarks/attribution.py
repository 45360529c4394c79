"""What attribution costs, beside bare passes, Captum and interpreto, on the same model, prompt and sets of tokens.

    python benchmarks/attribution.py [--model smollm2] [--peer-python .venv-attribution/bin/python]

Times are the process's own processor time on one thread, so that other work on the machine weighs little; each is the
least of three. F of all tokens and of none, which all methods share, is computed before. Captum runs
`LLMAttribution`, whose forward passes hold one set each; interpreto's KernelSHAP runs in the quickest of some batches.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

PROMPT = "Long ago Kevin and Nicholas shared a room near the office, and Nicholas lent a coin to"
SETS = 256


def least(work: Callable[[], object], times: int) -> float:
    """Return the least processor time of some runs, in seconds."""
    found = []
    for _ in range(times):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def own(name: str, folder: Path, times: int) -> None:
    """Measure our methods beside bare passes, and write what the peer needs."""
    from monosema.attribution import Game, ask, attribute, methods_named, tokens_of
    from monosema.attribution.methods import KernelShap, Shapley
    from monosema.models import Transformer, load_model, save_model

    model = load_model(name, dtype=torch.float32)
    assert isinstance(model, Transformer)
    question = ask(model, PROMPT, target="Kevin", foil="Nicholas")

    game = Game(model, question, tokens_of(model, question))
    print(f"with all tokens {game.full:.2f} nats, with none {game.empty:.2f}", flush=True)
    ids, rows = torch.tensor([question.ids]), game.rows_at_once(backward=True)

    def passes(n: int) -> None:
        for chunk in torch.arange(n).split(rows):
            with model.capture("embed", gradients=True) as got:
                value = question.target.value(model(ids.expand(len(chunk), -1), last=True))
                torch.autograd.grad(value.sum(), got["embed"])

    def explicit() -> None:
        with torch.no_grad(), model.capture(*(f"{layer}.pattern" for layer in range(model.n_layers))):
            model(ids)

    n = len(game)
    print(f"{name}: {len(question.ids)} tokens, {n} players", flush=True)
    pairs = (
        ("integrated_gradients", lambda: passes(50), "50 rows forward and backward"),
        ("attn_lrp", lambda: passes(1), "1 row forward and backward"),
        ("rollout", explicit, "1 row forward with explicit attention"),
    )
    for method, bare, said in pairs:
        ours, bound = least(lambda method=method: attribute(game, method), times), least(bare, times)
        print(f"{method}: {ours:.3f} s, {said} {bound:.3f} s, ratio {ours / bound:.2f}", flush=True)
    shapley = Shapley(exact=0, sets=SETS)
    counted = attribute(game, shapley)
    found = {
        "shapley": least(lambda: attribute(game, shapley), 1),
        "shapley_sets": counted.rows,
        "occlusion": least(lambda: attribute(game, "occlusion"), times),
        "kernel_shap": least(lambda: attribute(game, KernelShap(sets=SETS)), times),
        "kernel_shap_sets": attribute(game, KernelShap(sets=SETS)).rows,
        "prompt": PROMPT,
        "players": n,
    }
    began = time.perf_counter()
    for method in methods_named():
        attribute(game, method)
    print(f"all default methods: {time.perf_counter() - began:.2f} s of wall time", flush=True)
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB", flush=True)
    save_model(model, folder / "model")
    (folder / "own.json").write_text(json.dumps(found))


def long(name: str, tokens: int, memory_mb: float) -> None:
    """Print the peak of memory of a long prompt, by methods of each family."""
    from monosema.attribution import Game, ask, attribute, tokens_of
    from monosema.attribution.methods import IntegratedGradients
    from monosema.models import load_model

    model = load_model(name, dtype=torch.float32)
    words = model.tokenizer.encode(PROMPT + ". ", bos=False)
    ids = (words * (tokens // len(words) + 1))[:tokens]
    question = ask(model, ids)
    print(f"{name}, {tokens} tokens, memory_mb {memory_mb:g}", flush=True)
    for method in ("gradient_input", IntegratedGradients(steps=1), "attn_lrp", "rollout"):
        found = attribute(Game(model, question, tokens_of(model, question, removal="mean"), memory_mb), method)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{found.method}: {found.seconds:.1f} s, peak so far {peak} MB", flush=True)


def leaks(name: str, calls: int) -> None:
    """Measure what many calls leave behind: resident memory after each quarter of them, less that after ten."""
    import psutil

    from monosema.attribution import Game, ask, attribute, methods_named, tokens_of
    from monosema.models import load_model

    model = load_model(name, dtype=torch.float32)
    question, process = ask(model, PROMPT, target="Kevin", foil="Nicholas"), psutil.Process()
    methods = [method for method in methods_named() if method.name != "shapley"]

    def call() -> None:
        for method in methods:
            attribute(Game(model, question, tokens_of(model, question)), method)

    def resident() -> float:
        gc.collect()
        return process.memory_info().rss / 2**20

    for _ in range(10):
        call()
    before = resident()
    print(f"{name}: {before:.0f} MB after 10 calls of {', '.join(method.name for method in methods)}", flush=True)
    for done in range(1, calls + 1):
        call()
        if done % (calls // 4) == 0:
            print(f"after {done} more: {resident() - before:+.1f} MB", flush=True)


def peer(folder: Path) -> None:
    """Measure Captum and interpreto on the same model and prompt."""
    from captum.attr import FeatureAblation, LLMAttribution, ShapleyValueSampling, TextTokenInput
    from interpreto import Granularity
    from interpreto import KernelShap as Theirs
    from transformers import AutoModelForCausalLM, AutoTokenizer

    asked: dict[str, Any] = json.loads((folder / "own.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    given = TextTokenInput(asked["prompt"], tokenizer, skip_tokens=[0])
    orders = max(asked["shapley_sets"] // asked["players"], 1)
    ablation, sampling = (LLMAttribution(one(model), tokenizer) for one in (FeatureAblation, ShapleyValueSampling))
    times = {
        "occlusion": (least(lambda: ablation.attribute(given, target=" Kevin"), 1), asked["players"]),
        "shapley": (
            least(lambda: sampling.attribute(given, target=" Kevin", n_samples=orders), 1),
            orders * asked["players"],
        ),
    }
    for name, (seconds, sets) in times.items():
        said(asked, name, asked["shapley_sets"] if name == "shapley" else asked["players"], "Captum", seconds, sets)
    tokenizer.mask_token = tokenizer.unk_token or tokenizer.eos_token
    tried = []
    for rows in (4, 32, 128):
        shap = Theirs(model, tokenizer, batch_size=rows, granularity=Granularity.TOKEN, n_perturbations=SETS)
        tried.append(least(functools.partial(shap, asked["prompt"], " Kevin"), 1))
    seconds = min(tried)
    said(asked, "kernel_shap", asked["kernel_shap_sets"], "interpreto", seconds, SETS)


def said(asked: dict[str, Any], name: str, own_sets: int, other: str, seconds: float, sets: int) -> None:
    """Print both times, and their ratio for a set."""
    ours = asked[name]
    ratio = (seconds / sets) / (ours / own_sets)
    print(
        f"{name}: ours {ours:.3f} s for {own_sets} sets, {other} {seconds:.3f} s for {sets} sets: "
        f"{ratio:.1f} times the processor time a set",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="specimen")
    parser.add_argument("--peer-python")
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--long", type=int, help="tokens of a prompt whose peak of memory is measured instead")
    parser.add_argument("--leaks", type=int, help="calls whose trace in memory is measured instead")
    parser.add_argument("--times", type=int, default=3, help="runs of which the quickest counts")
    parser.add_argument("--memory-mb", type=float, default=1024.0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.peer is not None:
        peer(given.peer)
    elif given.long is not None:
        long(given.model, given.long, given.memory_mb)
    elif given.leaks is not None:
        leaks(given.model, given.leaks)
    else:
        with tempfile.TemporaryDirectory() as folder:
            own(given.model, Path(folder), given.times)
            if given.peer_python is not None:
                subprocess.run([given.peer_python, "-W", "ignore", __file__, "--peer", folder], check=True)


if __name__ == "__main__":
    sys.exit(main())
