"""Abilities of this machine, measured, for `monosema doctor`."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from monosema.core import bf16_is_fast, choose_device, choose_product, int8_is_fast, measure_machine
from monosema.kernels.gpu import triton_is_installed
from monosema.runs.ledger import versions


def examine(device: str | None = None) -> dict[str, Any]:
    """Measure the machine; takes a few seconds.

    Args:
        device: where to measure; None for the best there is.

    Returns:
        Plain values: the device and its memory, product rates in GFLOP/s and their ratio, the GPU or None, versions,
        and which kernels will be used.

    Raises:
        ConfigError: no such device.
    """
    chosen = choose_device(device)
    facts = dataclasses.asdict(measure_machine(chosen))
    rates = {name: facts.pop(name) for name in ("fp32_gflops", "bf16_gflops")}
    fast = bf16_is_fast(chosen)
    return {
        "machine": {"kind": chosen.type, **facts, "threads": torch.get_num_threads()},
        "products": {
            **rates,
            "bf16_speedup": rates["bf16_gflops"] / rates["fp32_gflops"],
            "bf16_is_fast": fast,
            "int8_is_fast": int8_is_fast(chosen),
        },
        "gpu": _gpu(),
        "versions": versions(),
        "kernels": {
            "model": "bfloat16 weights and products" if fast else "float32 weights and products",
            "encoder_product": _ENCODER[choose_product(chosen)],
            "top_k": _top_k(chosen),
            "decoder": "sparse sums over the active latents",
            "attention": "fused",
        },
    }


_ENCODER = {
    torch.bfloat16: "bfloat16",
    torch.float32: "float32",
    torch.int8: "candidates by 8-bit integers, their values in float32",
}


def _top_k(device: torch.device) -> str:
    if device.type == "cpu":
        return "exact, in blocks that stay in the cache"
    fused = device.type == "cuda" and triton_is_installed()
    return "exact, fused with the product (Triton)" if fused else "exact, in large blocks"


def _gpu() -> dict[str, Any] | None:
    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "count": torch.cuda.device_count(),
        "memory_gb": properties.total_memory / 2**30,
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
    }
