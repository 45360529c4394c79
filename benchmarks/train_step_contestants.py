"""Who makes the steps that `train_step.py` times: the bound, monosema, and today's libraries.

Settings of the peers are their own defaults, with learning rates as in their trainers' examples.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["ARCHITECTURES", "NAMES", "PEERS", "TOPK", "Reconstruct", "Step", "is_peer", "make", "monosema"]

PEERS = ("saelens", "saelens-bf16", "dictionary_learning", "sparsify")
TOPK = ("gemm-fp32", "gemm-bf16", "monosema", *PEERS)
ARCHITECTURES = ("l1", "batch_topk", "jumprelu", "gated", "matryoshka")
NAMES = (*TOPK, *(f"{library}:{a}" for library in ("monosema", "dictionary_learning") for a in ARCHITECTURES))

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

    from monosema.training import TrainConfig, Trainer, TrainingRun

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
    trainer = Trainer([TrainingRun(dictionary, TrainConfig(), out)], [Stream()], TrainConfig(), out)
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
            return d.make_coder("topk", **shape, k=a.k)
        case "batch_topk":
            return d.make_coder("batch_topk", **shape, k=a.k)
        case "matryoshka":
            return d.make_coder("matryoshka", **shape, k=a.k)
        case "l1":
            return d.make_coder("l1", **shape, start_l0=a.k)
        case "gated":
            return d.make_coder("gated", **shape, start_l0=a.k)
    return d.make_coder("jumprelu", **shape, start_l0=a.k)


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


def is_peer(name: str) -> bool:
    return name.partition(":")[0] in PEERS
