"""From text to the codes of every latent on disk: monosema's atlas beside delphi's latent cache.

    python benchmarks/latent_caching.py --peer-python PATH [--tokens 262144] [--latents 4096] [--k 32] [--rounds 3]

Both read the same windows with the same model in float32 and encode them with the same TopK dictionary, which goes to
delphi in sparsify's layout; windows of 256 tokens in batches of 32 and five splits are delphi's defaults. They take
turns, since machines drift; figures are medians of the rounds. `caching` is the codes on disk, sorted by latent, and
nothing else. `atlas` is all that a feature's page needs besides: statistics, passages, neighbours, labels and scores,
which in delphi come later, from the cache. Memory is the peak of a process beyond what it held with model and text in
place. Prints JSON, then a table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WINDOW, BATCH, SPLITS = 256, 32, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="python of an environment that has delphi")
    parser.add_argument("--model", default="specimen")
    parser.add_argument("--layer", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=262_144)
    parser.add_argument("--latents", type=int, default=4096)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", metavar="FOLDER", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--arm", choices=("monosema", "delphi"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked)
        return
    if not asked.peer_python:
        sys.exit("Give --peer-python, the python of an environment that has delphi (make .venv-peers/.installed).")
    with tempfile.TemporaryDirectory() as folder:
        result = measure(asked, Path(folder))
    print(json.dumps(result, indent=2))
    print(table(result))


def measure(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    tokens = prepare(asked, folder)
    arms = {"monosema": start(sys.executable, asked, folder), "delphi": start(asked.peer_python, asked, folder)}
    tasks = (("monosema", "caching"), ("monosema", "atlas"), ("delphi", "caching"))
    answers: dict[str, list[dict[str, float]]] = {f"{arm}, {what}": [] for arm, what in tasks}
    for number in range(asked.rounds + 1):
        for arm, what in tasks:
            answer = ask(arms[arm], what)
            if number:
                answers[f"{arm}, {what}"].append(answer)
    for process in arms.values():
        process.kill()
    seconds = {name: [one["seconds"] for one in given] for name, given in answers.items()}
    peer = seconds["delphi, caching"]
    return {
        "model": asked.model,
        "layer": asked.layer,
        "tokens": tokens,
        "latents": asked.latents,
        "k": asked.k,
        "rounds": asked.rounds,
        "tokens_per_second": {name: round(tokens / statistics.median(times)) for name, times in seconds.items()},
        "delphi_over": {
            name: round(statistics.median(theirs / ours for theirs, ours in zip(peer, times, strict=True)), 2)
            for name, times in seconds.items()
        },
        "memory_mb": {name: round(given[-1]["memory_mb"]) for name, given in answers.items()},
        "disk_mb": {name: round(given[-1]["disk_mb"], 1) for name, given in answers.items()},
        "activations": {name: int(given[-1]["activations"]) for name, given in answers.items()},
        "all_seconds": {name: [round(one, 2) for one in times] for name, times in seconds.items()},
    }


def table(result: dict[str, Any]) -> str:
    lines = ["", "| | tokens/s | delphi's time over it | memory, MB | on disk, MB |", "|---|---|---|---|---|"]
    for name, rate in result["tokens_per_second"].items():
        columns = (f"{rate:,}", result["delphi_over"][name], result["memory_mb"][name], result["disk_mb"][name])
        lines.append(f"| {name} | {' | '.join(map(str, columns))} |")
    return "\n".join(lines)


def prepare(asked: argparse.Namespace, folder: Path) -> int:
    """Write the windows and the dictionary, in both layouts; returns the number of tokens."""
    import numpy as np
    import torch

    from monosema.core import Site
    from monosema.data import TextConfig, open_corpus, token_batches
    from monosema.dictionaries import Metadata, make_coder, save_dictionary
    from monosema.models import load_model

    model = load_model(asked.model, dtype="float32")
    text = TextConfig(window=WINDOW, batch=BATCH, tokens=asked.tokens)
    batches = token_batches(open_corpus("builtin"), model.tokenizer, text)
    whole = [batch for batch in batches if bool(batch.attention_mask.all()) and len(batch.tokens) == BATCH]
    site = Site.parse(f"{asked.layer}.resid_post")
    sample = torch.cat([model.activations(batch.tokens, [site])[site].flatten(0, 1) for batch in whole[:4]]).detach()
    about = Metadata(model=model.name)
    dictionary = make_coder("topk", sample.shape[1], asked.latents, metadata=about, k=asked.k)
    dictionary.start(sample, seed=0)
    save_dictionary(dictionary, folder / "dictionary")
    save_dictionary(dictionary, folder / "sparsify" / f"layers.{asked.layer}", "sparsify")
    tokens = torch.cat([batch.tokens for batch in whole])
    np.save(folder / "tokens.npy", tokens.numpy())
    return tokens.numel()


# -- both arms, each in its own process -------------------------------------------------------------------------------


def start(python: str, asked: argparse.Namespace, folder: Path) -> subprocess.Popen[str]:
    arm = "monosema" if python == sys.executable else "delphi"
    command = [python, __file__, "--serve", str(folder), "--arm", arm, "--model", asked.model]
    if arm == "delphi":
        from monosema.models import model_folder

        command[-1] = str(model_folder(asked.model))
    process = subprocess.Popen(
        [*command, "--layer", str(asked.layer)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    if wait(process, "ready") is None:
        sys.exit(f"The process of {arm} ended with code {process.wait()}.")
    return process


def wait(process: subprocess.Popen[str], word: str) -> str | None:
    """The next line that begins with a word; None where the process ended first."""
    assert process.stdout is not None
    return next((line for line in process.stdout if line.startswith(word)), None)


def ask(process: subprocess.Popen[str], what: str) -> dict[str, float]:
    assert process.stdin is not None
    process.stdin.write(what + "\n")
    process.stdin.flush()
    line = wait(process, "done ")
    if line is None:
        sys.exit(f"A process ended with code {process.wait()}.")
    answer: dict[str, float] = json.loads(line.removeprefix("done "))
    return answer


def serve(asked: argparse.Namespace) -> None:
    """Answer every line of stdin by doing what it says, and printing how long it took."""
    tasks = (serve_monosema if asked.arm == "monosema" else serve_delphi)(asked)
    print("ready", flush=True)
    before = resident_mb("VmRSS")
    for line in sys.stdin:
        forget_peak()
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            activations = tasks[line.strip()](Path(folder))
            seconds = time.perf_counter() - begin
            disk = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()) / 1e6
        figures = {
            "seconds": seconds,
            "memory_mb": resident_mb("VmHWM") - before,
            "disk_mb": disk,
            "activations": activations,
        }
        print("done " + json.dumps(figures), flush=True)


def serve_monosema(asked: argparse.Namespace) -> dict[str, Callable[[Path], int]]:
    import numpy as np
    import torch

    from monosema.atlas import AtlasConfig, build_atlas
    from monosema.atlas.code_shards import CodeShards
    from monosema.atlas.encode import encode_text
    from monosema.core import SilentProgress, Site
    from monosema.data import TokenBatch
    from monosema.dictionaries import load_dictionary
    from monosema.models import load_model

    model = load_model(asked.model, dtype="float32")
    dictionary = load_dictionary(asked.serve / "dictionary")
    site, config = Site.parse(f"{asked.layer}.resid_post"), AtlasConfig(passage=WINDOW)
    tokens = torch.from_numpy(np.load(asked.serve / "tokens.npy"))
    batches = [whole_batch(TokenBatch, rows, index) for index, rows in enumerate(tokens.split(BATCH))]

    def caching(folder: Path) -> int:
        spill = CodeShards(folder, {})
        encode_text(model, dictionary, site, batches, spill, WINDOW, config.memory_mb, SilentProgress())
        return sum(shard.activations for shard in spill)

    def atlas(folder: Path) -> int:
        made = build_atlas(model, dictionary, site, batches, folder, config)
        return int(made.sql("select sum(n_active) as n from features")[0]["n"])

    return {"caching": caching, "atlas": atlas}


def whole_batch(kind: Any, rows: Any, index: int) -> Any:
    """A batch that keeps every token, as delphi does."""
    import torch

    everything = torch.ones_like(rows, dtype=torch.bool)
    document = torch.arange(len(rows))[:, None].expand_as(rows) + index * BATCH
    position = torch.arange(rows.shape[1]).expand_as(rows)
    return kind(tokens=rows, attention_mask=everything, document=document, position=position, keep=everything)


def serve_delphi(asked: argparse.Namespace) -> dict[str, Callable[[Path], int]]:
    from functools import partial

    import numpy as np
    import torch
    from delphi.latents.cache import LatentCache
    from delphi.sparse_coders.load_sparsify import sae_dense_latents
    from sparsify import SparseCoder
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(asked.model, dtype=torch.float32).model
    hook = f"layers.{asked.layer}"
    coder = SparseCoder.load_from_disk(asked.serve / "sparsify" / hook, device="cpu")
    tokens = torch.from_numpy(np.load(asked.serve / "tokens.npy"))

    def caching(folder: Path) -> int:
        cache = LatentCache(model, {hook: partial(sae_dense_latents, sae=coder)}, batch_size=BATCH)
        cache.run(tokens.numel(), tokens)
        cache.save_splits(n_splits=SPLITS, save_dir=folder)
        return len(cache.cache.latent_activations[hook])

    return {"caching": caching}


def resident_mb(kind: str) -> float:
    """Resident memory of this process now (VmRSS), or its peak since it was forgotten (VmHWM); Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
