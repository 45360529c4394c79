"""Edge attribution patching: speed, memory, and agreement with TransformerLens, on the same model and prompts.

    python benchmarks/circuits.py [--model specimen] [--pairs 32] [--peer-python .venv-transformer-lens/bin/python]

`--model gemma3-270m` is of that size and kind (norms after attention, sliding windows) with random weights: its speed
is a real one's, its scores mean nothing. The peer's environment is made by `make .venv-transformer-lens/.installed`.

TransformerLens takes gradients at the corrupted prompt and goes towards the clean one, so both texts change places,
and its sign is turned. It refuses heads that share keys and values, and norms after attention.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from monosema.models import Transformer


def own(folder: Path, name: str, pairs: int, repeats: int) -> bool:
    """Score all edges, and write what the peer needs; return whether it can read the model."""
    from monosema.circuits import METHODS, Problem, ablation_named, contrasts, metric_of
    from monosema.data.tasks import ALL_TASKS
    from monosema.models import load_model, save_model

    model = _gemma() if name == "gemma3-270m" else load_model(name, dtype=torch.float32)
    prompts = contrasts(ALL_TASKS["ioi"].prompts(random.Random(0), pairs, "test"), model)
    turned = tuple(dataclasses.replace(one, clean=one.corrupt, corrupt=one.clean) for one in prompts.groups)
    subject = dataclasses.replace(prompts, groups=turned)
    given = (model, subject, ablation_named("resample"), metric_of(subject, model))
    begun = time.process_time()
    runs = [METHODS["eap"](Problem(*given)) for _ in range(repeats)]
    processor = (time.process_time() - begun) / repeats
    scores, graph = runs[-1], runs[-1].graph
    names = {graph.edge_name(w, r): -float(scores.values[w, r]) for w, r in graph.allowed.nonzero().tolist()}
    seconds = min(run.about.seconds for run in runs)
    said = f"own: {len(subject)} pairs, {graph.n_edges:,} edges, {seconds:.2f} s (processor: {processor:.2f} s)"
    print(f"{said}, peak {_peak()} MB", flush=True)
    readable = model.config.n_heads == model.config.n_kv_heads
    if readable:
        save_model(model, folder / "model")
    groups = [(one.clean, one.corrupt, one.correct[:, 0], one.wrong[:, 0]) for one in prompts.groups]
    torch.save({"scores": names, "seconds": seconds, "groups": groups}, folder / "own.pt")
    return readable


def peer(folder: Path) -> None:
    """Score the same edges with TransformerLens."""
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.tools.analysis.attribution_patching import EdgeAttributionConfig, attribution_patch

    model = TransformerBridge.boot_transformers(str(folder / "model"), device="cpu", dtype=torch.float32)
    model.eval()
    groups = torch.load(folder / "own.pt")["groups"]
    totals, n, begun = dict[str, float](), 0, time.perf_counter()
    for clean, corrupt, right, wrong in groups:
        for row in range(len(clean)):

            def metric(logits: torch.Tensor, a: int = int(right[row]), b: int = int(wrong[row])) -> torch.Tensor:
                return logits[0, -1, a] - logits[0, -1, b]

            config = EdgeAttributionConfig(granularity="edge")
            found = attribution_patch(model, clean[row : row + 1], corrupt[row : row + 1], metric, config)
            n += 1
            for (source, target), score in found.edge_scores.items():
                name = f"{_name(source)}->{_name(target)}"
                totals[name] = totals.get(name, 0.0) + score
            if time.perf_counter() - begun > 150:
                print(f"peer: stopped after {n} pairs", flush=True)
                break
    seconds = time.perf_counter() - begun
    print(f"peer: {n} pairs, {len(totals):,} edges, {seconds:.2f} s = {seconds / n:.3f} s a pair, peak {_peak()} MB")
    scores = {name: total / n for name, total in totals.items()}
    torch.save({"scores": scores, "seconds": seconds, "n": n}, folder / "peer.pt")


def compare(folder: Path) -> None:
    """Print the agreement and the ratio of times."""
    from monosema.circuits import agreement

    ours, theirs = torch.load(folder / "own.pt"), torch.load(folder / "peer.pt")
    shared = [name for name in ours["scores"] if name in theirs["scores"]]
    a, b = (torch.tensor([one["scores"][name] for name in shared], dtype=torch.float64) for one in (ours, theirs))
    worst = float((a - b).abs().max() / b.abs().max())
    pairs = sum(len(group[0]) for group in ours["groups"])
    ratio = theirs["seconds"] / theirs["n"] / (ours["seconds"] / pairs)
    print(f"{agreement(a, b)}; largest difference {worst:.1e} of the largest score; {ratio:.1f} × faster")


def _name(node: Any) -> str:
    if node.kind in ("embed", "logits"):
        return str(node.kind)
    if node.kind.startswith("mlp"):
        return f"m{node.layer}"
    port = f"<{node.kind[0]}>" if node.kind.endswith("_input") else ""
    return f"a{node.layer}.h{node.head}{port}"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _gemma() -> Transformer:
    """Return a model of Gemma 3's kind, of the size of its smallest, with the embedded model's tokenizer."""
    from monosema.models import Transformer, load_model
    from monosema.models.gemma import config

    sizes = {"hidden_size": 640, "num_hidden_layers": 18, "num_attention_heads": 4, "num_key_value_heads": 1}
    widths = {"head_dim": 256, "intermediate_size": 2048, "vocab_size": 262_144, "sliding_window": 512}
    torch.manual_seed(0)
    made = config({"model_type": "gemma3_text", **sizes, **widths})
    return Transformer(made, tokenizer=load_model("specimen").tokenizer, name="gemma3-270m").requires_grad_(False)


def main() -> None:
    """Print our figures and, where its Python is given, the peer's beside them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="specimen")
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3, help="runs, of which the fastest counts")
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--peer-in", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.peer_in is not None:
        peer(asked.peer_in)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        readable = own(folder, asked.model, asked.pairs, asked.repeats)
        if asked.peer_python is not None and readable:
            subprocess.run([asked.peer_python, __file__, "--peer-in", folder], check=True)
            compare(folder)


if __name__ == "__main__":
    main()
