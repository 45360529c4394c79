"""Speed of steered and spliced generation, beside the untouched model, sweeps, and another library.

    python benchmarks/steering.py [--model specimen] [--dtype bfloat16] [--threads 2] [--tokens 64]
    python benchmarks/steering.py --model DIRECTORY --dtype float32 --only peers

All ways take turns in one process, and medians are given: of the seconds of a generation, and of the ratios to the
untouched one beside it. Texts are greedy and don't end early. Latents are those of a TopK coder with random weights, at
the middle of the model; speed doesn't depend on what they mean. `--only peers` needs an environment that has repeng,
and a model in a Hugging Face directory: each library adds one vector at one layer. On a machine that is not idle, take
the processor's clock, with one thread.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

import monosema as ms
from monosema.dictionaries import SparseCoder, TopK
from monosema.steering import Add, Clamp, Direction, Edit, Latent, Steering, steered

PROMPT = "The day after Monday is Tuesday, and the day after that"
Way = Callable[[], object]


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def taking_turns(ways: dict[str, Way], rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of each way; every round runs all of them, after one that isn't counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            start = clock()
            way()
            if number:
                seconds[name].append(clock() - start)
    return seconds


def show(seconds: dict[str, list[float]], tokens: int, title: str) -> None:
    """Print tokens a second, and the speed as a share of the first way's in the same round."""
    base = next(iter(seconds.values()))
    print(f"\n{title}\n\n| | tokens / s | speed ÷ first |\n|---|---|---|")
    for name, values in seconds.items():
        ratio = statistics.median(one / other for one, other in zip(base, values, strict=True))
        print(f"| {name} | {tokens / statistics.median(values):.1f} | {ratio:.3f} |")


def within(block: Callable[[], contextlib.AbstractContextManager[object]], way: Way) -> Way:
    def run() -> None:
        with block():
            way()

    return run


def generation(model: Any, batch: int, tokens: int) -> Way:
    return lambda: model.generate([PROMPT] * batch, max_new_tokens=tokens, stop_at_eos=False)


def steerings(model: Any, coder: SparseCoder, site: str) -> dict[str, Steering]:
    """Eight latents added, and eight that are read and clamped."""
    latents = [Latent(coder, 100 * number, site) for number in range(8)]
    return {
        "8 latents added": Steering(Edit(latent, Add(0.01)) for latent in latents),
        "8 latents clamped": Steering(Edit(latent, Clamp(0.01, 0.01)) for latent in latents),
    }


def speeds(model: Any, coder: SparseCoder, site: str, options: argparse.Namespace) -> None:
    """Untouched, steered and spliced generation of one text and of sixteen."""
    clock = CLOCKS[options.clock]
    for batch in (1, 16):
        plain = generation(model, batch, options.tokens)
        ways = {"untouched": plain}
        for name, steering in steerings(model, coder, site).items():
            ways[name] = within(lambda steering=steering: steered(model, steering), plain)
        ways["spliced"] = within(lambda: ms.splice(model, {site: coder}), plain)
        show(
            taking_turns(ways, options.rounds, clock),
            batch * options.tokens,
            f"{model.name}, batch {batch}",
        )


def sweeps(model: Any, coder: SparseCoder, site: str, options: argparse.Namespace) -> None:
    """Sixteen strengths × four seeds: 64 generations one by one, and as rows of one batch."""
    edits, clock = steerings(model, coder, site)["8 latents added"], CLOCKS[options.clock]
    settings = {"max_new_tokens": options.tokens, "stop_at_eos": False, "temperature": 0.8}
    cells = [(edits.at(strength / 8), seed) for strength in range(16) for seed in range(4)]

    def alone() -> None:
        for steering, seed in cells:
            with steered(model, steering):
                model.generate(PROMPT, seed=seed, **settings)

    def together() -> None:
        with steered(model, [steering for steering, _ in cells]):
            model.generate([PROMPT] * len(cells), seed=tuple(seed for _, seed in cells), **settings)

    seconds = taking_turns({"64 alone": alone, "one batch": together}, max(1, options.rounds // 3), clock)
    show(seconds, 64 * options.tokens, f"{model.name}, 16 strengths × 4 seeds")
    share = statistics.median(b / a for a, b in zip(*seconds.values(), strict=True))
    print(f"\nthe batch takes {share:.3f} of the time of the single generations")


def peers(model: Any, options: argparse.Namespace) -> None:
    """One vector at one layer: monosema and repeng on the same weights."""
    from repeng import ControlModel, ControlVector
    from transformers import AutoModelForCausalLM, AutoTokenizer

    dtype, clock, tokens = getattr(torch, options.dtype), CLOCKS[options.clock], options.tokens
    layer = model.n_layers // 2
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0)) * 0.1
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    original = AutoModelForCausalLM.from_pretrained(options.model, dtype=dtype).eval()
    ids = tokenizer(PROMPT, return_tensors="pt")
    settings = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False, "pad_token_id": 0}
    with torch.inference_mode():
        before = {"transformers, untouched": lambda: original.generate(**ids, **settings)}
        unsteered = taking_turns(before, 1, clock)
        controlled = ControlModel(original, [layer])
        controlled.set_control(ControlVector(original.config.model_type, {layer: vector.numpy()}), 1.0)
        steering = Steering(Edit(Direction(f"{layer}.resid_post", vector), Add(1.0)))
        own = generation(model, 1, tokens)
        ways = {
            "repeng, one vector": lambda: controlled.generate(**ids, **settings),
            "monosema, one vector": within(lambda: steered(model, steering), own),
            "monosema, untouched": own,
        }
        show(taking_turns(ways, options.rounds, clock), tokens, f"{model.name}, batch 1")
        print(
            f"\ntransformers, untouched: {128 / unsteered['transformers, untouched'][0]:.1f} tokens / s, once, before"
        )
        theirs = controlled.generate(**ids, **settings)[0, ids["input_ids"].shape[1] :].tolist()
        with steered(model, steering):
            ours = model.generate(PROMPT, max_new_tokens=tokens, stop_at_eos=False).tokens
    same = sum(a == b for a, b in zip(ours, theirs, strict=False))
    print(f"equal tokens in both steered texts: {same} of {tokens}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="specimen")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--latents", type=int, default=4096)
    parser.add_argument("--clock", default="wall", choices=CLOCKS)
    parser.add_argument("--only", choices=("speeds", "sweeps", "peers"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = ms.load_model(options.model, dtype=options.dtype)
    coder = SparseCoder(model.d_model, options.latents, TopK(k=32)).eval()
    site = f"{model.n_layers // 2}.resid_post"
    if options.only in (None, "speeds"):
        speeds(model, coder, site, options)
    if options.only in (None, "sweeps"):
        sweeps(model, coder, site, options)
    if options.only == "peers":
        peers(model, options)


if __name__ == "__main__":
    main()
