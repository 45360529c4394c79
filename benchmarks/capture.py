"""Capture: tokens a second of `capture_to_store` over the bare forward pass to the same layer, and of SAELens.

    python benchmarks/capture.py [--model specimen] [--dtype auto] [--peer-python PATH] [--tokens 131072] [--rounds 5]

Everything reads the same token windows, with the model in bfloat16 where this machine's bf16 products are fast, else in
float32, in rounds that take turns, since machines drift; the figures are medians of the rounds. Ratios are given by the
clock, and by the time of all processors together, which other work on the machine changes less. The bare pass stops
after the last captured layer and keeps nothing. SAELens'
activation store (which keeps activations in memory, and writes nothing to the disk) loads the same directory through
transformers; it is left out, with the reason, where there is no environment for it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WINDOW, BATCH, TRAIN_BATCH = 128, 32, 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="specimen", help="specimen, a local directory or a hub id")
    parser.add_argument("--layer", type=int, default=3)
    parser.add_argument(
        "--dtype", choices=("auto", "bfloat16", "float32"), default="auto", help="the model's precision"
    )
    parser.add_argument("--tokens", type=int, default=131_072)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer-python", help="python of an environment that has sae-lens")
    parser.add_argument("--peer", nargs=2, metavar=("MODEL", "TOKENS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        serve_saelens(*arguments.peer, layer=arguments.layer, dtype=arguments.dtype)
        return
    with tempfile.TemporaryDirectory() as folder:
        result = measure(arguments, Path(folder))
    print(json.dumps(result, indent=2))
    print(table(result))


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    import numpy as np
    import torch

    from monosema.activations import StoreStream, capture_to_store
    from monosema.data import TextConfig, open_corpus, token_batches
    from monosema.models import load_model, model_folder

    model = load_model(arguments.model, dtype=arguments.dtype)
    dtype = str(model.dtype).removeprefix("torch.")
    corpus = open_corpus("builtin")
    text = TextConfig(window=WINDOW, batch=BATCH, tokens=arguments.tokens)
    next(corpus.documents())
    start = time.perf_counter()
    batches = list(token_batches(corpus, model.tokenizer, text))
    tokenising = time.perf_counter() - start
    whole = [batch for batch in batches if bool(batch.attention_mask.all())]
    tokens = sum(batch.tokens.numel() for batch in whole)
    one = [f"{arguments.layer}.resid_post"]
    several = [f"{layer}.resid_post" for layer in range(arguments.layer + 1)]
    many = several + [f"{layer}.mlp_out" for layer in range(arguments.layer + 1)]
    runs = 0

    def bare() -> int:
        with torch.inference_mode():
            for batch in whole:
                model.activations(batch.tokens, one)
        return tokens

    def capture(sites: list[str]) -> Callable[[], int]:
        def run() -> int:
            nonlocal runs
            shutil.rmtree(folder / f"store-{runs - 1}", ignore_errors=True)
            capture_to_store(model, whole, sites, folder / f"store-{runs}", corpus_digest=corpus.digest, text=text)
            runs += 1
            return tokens

        return run

    def stream() -> int:
        from monosema.activations import Store

        batches_of = StoreStream(Store.open(folder / f"store-{runs - 1}"), one[0], batch=TRAIN_BATCH)
        batches_of.next_batch()
        begin = time.perf_counter()
        given = sum(len(rows) for rows in batches_of)
        steps.append(1000 * (time.perf_counter() - begin) / (given / TRAIN_BATCH))
        return given

    steps: list[float] = []
    tasks: dict[str, Callable[[], int]] = {
        "bare pass": bare,
        "capture, 1 site": capture(one),
        f"capture, {len(several)} sites": capture(several),
        f"capture, {len(many)} sites": capture(many),
        "stream from the store": stream,
    }
    saelens, reason = None, "no --peer-python was given"
    if arguments.peer_python:
        np.save(folder / "tokens.npy", torch.cat([batch.tokens for batch in whole]).numpy())
        saelens, reason = start_saelens(arguments, dtype, model_folder(arguments.model), folder / "tokens.npy")
    if saelens is not None:
        tasks["SAELens, bare pass"] = lambda: ask(saelens, "bare")
        tasks["SAELens, activation store"] = lambda: ask(saelens, "store")
    rates, spent = take_turns(tasks, arguments.rounds)
    if saelens is not None:
        saelens.kill()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    captures = {"1 site": 1, f"{len(several)} sites": len(several), f"{len(many)} sites": len(many)}
    return {
        "model": arguments.model,
        "dtype": dtype,
        "site": one[0],
        "several_sites": several,
        "many_sites": many,
        "tokens_a_round": tokens,
        "rounds": arguments.rounds,
        "threads": torch.get_num_threads(),
        "tokens_per_second": {name: round(rate) for name, rate in medians.items()},
        "all_rounds": {name: [round(rate) for rate in values] for name, values in rates.items()},
        "over_bare": {name: round(paired(rates, f"capture, {name}", "bare pass"), 3) for name in captures},
        "over_bare_by_processor": {name: round(paired(spent, "bare pass", f"capture, {name}"), 3) for name in captures},
        "over_saelens": round(paired(rates, "capture, 1 site", "SAELens, activation store"), 2) if saelens else None,
        "saelens_left_out": None if saelens else reason,
        "stream_batch_ms": round(statistics.median(steps), 2),
        "tokenising_tokens_per_second": round(arguments.tokens / tokenising),
    }


def take_turns(
    tasks: dict[str, Callable[[], int]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Tokens a second of each task in each round, and seconds of this process's processors a token, after a round that
    only warms up."""
    rates: dict[str, list[float]] = {name: [] for name in tasks}
    spent: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(rounds + 1):
        for name, run in tasks.items():
            begin, busy = time.perf_counter(), time.process_time()
            done = run()
            if number:
                rates[name].append(done / (time.perf_counter() - begin))
                spent[name].append((time.process_time() - busy) / done)
    return rates, spent


def paired(rates: dict[str, list[float]], name: str, base: str) -> float:
    """Median of the rounds' ratios: two neighbours in a round saw the same machine."""
    return statistics.median(a / b for a, b in zip(rates[name], rates[base], strict=True))


def table(result: dict[str, Any]) -> str:
    bare = result["tokens_per_second"]["bare pass"]
    processor = {f"capture, {name}": ratio for name, ratio in result["over_bare_by_processor"].items()}
    lines = [
        f"\n{result['model']} in {result['dtype']}, {result['site']}, {result['tokens_a_round']:,} tokens, "
        f"{result['threads']} threads, medians of {result['rounds']}\n",
        "| | tokens/s | of the bare pass | by processor time |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {rate:,} | {rate / bare:.2f} | {processor.get(name, '')} |"
        for name, rate in result["tokens_per_second"].items()
    ]
    if result["saelens_left_out"]:
        lines.append(f"\nSAELens was left out: {result['saelens_left_out']}.")
    lines.append(f"\nA batch of {TRAIN_BATCH} from the stream takes {result['stream_batch_ms']} ms.")
    return "\n".join(lines)


# -- the peer, in its own process and environment --------------------------------------------------------------------


def start_saelens(
    arguments: argparse.Namespace, dtype: str, model: Path, tokens: Path
) -> tuple[subprocess.Popen[str] | None, str]:
    """A process that measures SAELens when it is asked to, or why there is none."""
    command = [arguments.peer_python, __file__, "--peer", str(model), str(tokens), "--layer", str(arguments.layer)]
    command += ["--dtype", dtype]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        return None, f"{arguments.peer_python} can't be run ({error})"
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("ready"):
            return process, ""
        if line.startswith("can't"):
            return None, line.strip()
    return None, f"its process ended with code {process.wait()}"


def ask(process: subprocess.Popen[str], what: str) -> int:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(what + "\n")
    process.stdin.flush()
    for line in process.stdout:
        if line.startswith("done "):
            return int(line.split()[1])
    sys.exit(f"SAELens' process ended with code {process.wait()}.")


def serve_saelens(model: str, tokens_file: str, layer: int, dtype: str) -> None:
    """Read ``bare`` or ``store`` from stdin, do it over all tokens, write ``done`` and how many the model has read."""
    try:
        import numpy as np
        import torch
        from datasets import Dataset
        from sae_lens.load_model import load_model
        from sae_lens.training.activations_store import ActivationsStore
    except ImportError as error:
        print(f"can't import sae-lens in {sys.executable} ({error})", flush=True)
        return
    hook = f"model.layers.{layer}"
    lm: Any = load_model("AutoModelForCausalLM", model, "cpu", {"dtype": getattr(torch, dtype)}, hook_names=[hook])
    tokens = torch.from_numpy(np.load(tokens_file))
    rows = Dataset.from_dict({"tokens": tokens.tolist()}).with_format("torch")
    width = lm.model.config.hidden_size

    def bare() -> int:
        with torch.inference_mode():
            for batch in tokens.split(BATCH):
                lm.run_with_cache(batch, names_filter=[hook], stop_at_layer=layer + 1, prepend_bos=False)
        return tokens.numel()

    def store() -> int:
        source = ActivationsStore(
            model=lm,
            dataset=rows,
            streaming=False,
            hook_name=hook,
            hook_head_index=None,
            context_size=WINDOW,
            d_in=width,
            n_batches_in_buffer=256,
            total_training_tokens=tokens.numel(),
            store_batch_size_prompts=BATCH,
            train_batch_size_tokens=TRAIN_BATCH,
            prepend_bos=False,
            normalize_activations="none",
            device=torch.device("cpu"),
            dtype=dtype,
        )
        read = 0
        compute = source.get_activations

        def counted(batch_tokens: torch.Tensor) -> torch.Tensor:
            nonlocal read
            read += batch_tokens.numel()
            return compute(batch_tokens)

        source.get_activations = counted
        with torch.inference_mode():
            while read < tokens.numel():
                next(source)
        return read

    print("ready", flush=True)
    for line in sys.stdin:
        print("done", {"bare": bare, "store": store}[line.strip()](), flush=True)


if __name__ == "__main__":
    main()
