"""Train one dictionary with a peer's own trainer and save it in the peer's own layout; `frontier.py` and
`robustness.py` call this.

    python benchmarks/frontier_peers.py '{"library": "saelens", "architecture": "topk", "setting": 32, ...}'

It runs in the peers' environment. The order is a JSON object: library, architecture, setting (k, coefficient or target
L0), vectors (.npy, already scaled), rows, batch, latents, rate (null is the peer's own), seed, out. Peers get what
helps them in a short run: a short warm-up, a falling rate at the end, and sparsity warm-ups of a twentieth of the run.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GROUPS = (0.125, 0.125, 0.25, 0.5)
"""Shares of the latents in the nested prefixes of Matryoshka dictionaries."""
OWN_RATE = 3e-4
"""SAELens' own learning rate (`LanguageModelSAERunnerConfig.lr`)."""


def batches(order: dict[str, Any]) -> Iterator[Any]:
    import numpy as np
    import torch

    rows = torch.from_numpy(np.load(order["vectors"], mmap_mode="c"))[: order["rows"]]
    for start in range(0, len(rows) - order["batch"] + 1, order["batch"]):
        yield rows[start : start + order["batch"]].clone()


def saelens(order: dict[str, Any], width: int, steps: int) -> None:
    import sae_lens
    from sae_lens.config import SAETrainerConfig

    name = {
        "l1": "Standard",
        "gated": "Gated",
        "topk": "TopK",
        "batch_topk": "BatchTopK",
        "jumprelu": "JumpReLU",
        "matryoshka": "MatryoshkaBatchTopK",
    }[order["architecture"]]
    own: dict[str, Any] = {"d_in": width, "d_sae": order["latents"]}
    if order["architecture"] in ("l1", "gated"):
        own |= {"l1_coefficient": order["setting"], "l1_warm_up_steps": steps // 20}
    elif order["architecture"] == "jumprelu":
        own |= {"l0_coefficient": order["setting"], "l0_warm_up_steps": steps // 20}
    else:
        own |= {"k": order["setting"]}
    if order["architecture"] == "matryoshka":
        own |= {"matryoshka_widths": widths(order["latents"])}
    sae = getattr(sae_lens, f"{name}TrainingSAE")(getattr(sae_lens, f"{name}TrainingSAEConfig")(**own))
    rate = order["rate"] or OWN_RATE
    config = SAETrainerConfig(
        total_training_samples=steps * order["batch"],
        train_batch_size_samples=order["batch"],
        lr=rate,
        lr_warm_up_steps=min(10, steps // 10),
        lr_decay_steps=steps // 5,
        lr_end=rate / 10,
        dead_feature_window=max(1, steps // 10),
    )
    trainer = sae_lens.SAETrainer(config, sae, batches(order))
    for batch in batches(order):
        trainer.step(batch)
        trainer.n_training_steps += 1
    sae.save_inference_model(order["out"])


def widths(latents: int) -> list[int]:
    """Ends of the nested prefixes."""
    ends, done = [], 0.0
    for share in GROUPS:
        done += share
        ends.append(round(latents * done))
    return ends


def dictionary_learning(order: dict[str, Any], width: int, steps: int) -> None:
    import torch
    from dictionary_learning.trainers import (
        batch_top_k,
        gdm,
        jumprelu,
        matryoshka_batch_top_k,
        p_anneal,
        standard,
        top_k,
    )

    kind = order["architecture"]
    common: dict[str, Any] = {
        "steps": steps, "activation_dim": width, "dict_size": order["latents"], "layer": 0, "lm_name": "x",
        "lr": order["rate"], "warmup_steps": min(10, steps // 10), "seed": order["seed"], "device": "cpu",
    }  # fmt: skip
    late = {"decay_start": steps - steps // 5}
    warm = {"sparsity_warmup_steps": steps // 20}
    value = order["setting"]
    threshold = {"threshold_start_step": steps // 2}
    if kind == "l1":
        trainer: Any = standard.StandardTrainerAprilUpdate(**common, **late, **warm, l1_penalty=value)
    elif kind == "gated":
        trainer = gdm.GatedSAETrainer(**common, **late, **warm, l1_penalty=value)
    elif kind == "p_anneal":
        anneal = {"anneal_start": steps // 5, "anneal_end": steps - 1, "initial_sparsity_penalty": value, "p_end": 0.2}
        trainer = p_anneal.PAnnealTrainer(**common, **late, **warm, **anneal)
    elif kind == "jumprelu":
        trainer = jumprelu.JumpReluTrainer(**common, **late, **warm, target_l0=value)
    elif kind == "topk":
        trainer = top_k.TopKTrainer(**common, **late, **threshold, k=value)
    elif kind == "batch_topk":
        trainer = batch_top_k.BatchTopKTrainer(**common, **late, **threshold, k=value)
    else:
        trainer = matryoshka_batch_top_k.MatryoshkaBatchTopKTrainer(
            **common, **late, **threshold, k=value, group_fractions=list(GROUPS)
        )
    for step, batch in enumerate(batches(order)):
        trainer.update(step, batch)
    out = Path(order["out"])
    out.mkdir(parents=True, exist_ok=True)
    torch.save(trainer.ae.state_dict(), out / "ae.pt")
    (out / "config.json").write_text(json.dumps({"trainer": trainer.config, "buffer": {}}, default=str))


def sparsify(order: dict[str, Any], width: int, steps: int) -> None:
    """Its trainer needs a model; these are the steps that it makes with its default optimiser."""
    import torch
    from schedulefree import ScheduleFreeWrapper
    from sparsify.config import SparseCoderConfig
    from sparsify.sign_sgd import SignSGD
    from sparsify.sparse_coder import SparseCoder

    del steps
    sae = SparseCoder(width, SparseCoderConfig(num_latents=order["latents"], k=order["setting"]), dtype=torch.float32)
    rate = order["rate"] or 5e-3 / (order["latents"] / 2**14) ** 0.5
    optimiser = ScheduleFreeWrapper(SignSGD([{"params": sae.parameters(), "lr": rate}]), momentum=0.95)
    optimiser.train()
    for number, batch in enumerate(batches(order)):
        if number == 0:
            sae.b_dec.data = batch.mean(0)
        sae.set_decoder_norm_to_unit_norm()
        sae(batch).fvu.backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        optimiser.step()
        optimiser.zero_grad()
    optimiser.eval()
    sae.save_to_disk(order["out"])


def main() -> None:
    warnings.filterwarnings("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr
    order = json.loads(sys.argv[1])
    import numpy as np
    import torch

    torch.manual_seed(order["seed"])
    width = np.load(order["vectors"], mmap_mode="r").shape[1]
    steps = order["rows"] // order["batch"]
    begin = time.perf_counter()
    libraries = {"saelens": saelens, "dictionary_learning": dictionary_learning, "sparsify": sparsify}
    libraries[order["library"]](order, width, steps)
    print(json.dumps({"seconds": round(time.perf_counter() - begin, 1)}), file=answers, flush=True)


if __name__ == "__main__":
    main()
