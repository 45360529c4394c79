"""The GPU kernels beside a dense bf16 product, PyTorch's own operations, and sparsify's Triton path, in one process.

    python benchmarks/gpu_kernels.py [--d 3072 --m 65536 --k 64 --batch 8192] [--json]

The default shape is that of a Llama-3.2-3B residual dictionary. First the kernels must agree with their twins on this
GPU; then contestants take turns, and medians are printed with tokens a second and, for products, the share of the
peak. The peak is measured: a square bf16 product of side 8192. Contestants that aren't installed are left out by name.
Needs a GPU with Triton; without one it says so and exits with code 2.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
from collections.abc import Callable
from typing import Any

import torch

from monosema.dictionaries import StepContext, make_coder
from monosema.kernels import Selection, encode_top_k, encode_top_k_dense, row_sums, sparse_decode, value_products
from monosema.kernels.gpu import on_gpu

SIDE = 8192
"""Side of the square product that the peak is measured with."""
TOLERANCE = 2e-2
"""Relative error allowed against the twins: bf16 rounds its inputs to 2⁻⁸."""

Work = Callable[[], Any]


def seconds(contestants: dict[str, Work], rounds: int) -> dict[str, float]:
    """Median seconds of each contestant, which take turns; the first two rounds warm up."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 2):
        for name, work in contestants.items():
            first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            first.record()
            work()
            last.record()
            torch.cuda.synchronize()
            if number >= 2:
                times[name].append(first.elapsed_time(last) / 1e3)
    return {name: statistics.median(of_one) for name, of_one in times.items()}


def check(x: torch.Tensor, encoder: torch.Tensor, bias: torch.Tensor, k: int) -> float:
    """Largest relative error of the kernels against their twins on a few rows; exits where it is too large."""
    few = x[:256]
    values, indices = encode_top_k(few, encoder, bias, k, torch.bfloat16)
    expected, _ = encode_top_k_dense(few, encoder, bias, k)
    selection = Selection(indices, len(encoder))
    bag = torch.nn.functional.embedding_bag(indices, encoder, per_sample_weights=values, mode="sum")
    order, rows, bounds = selection.by_latent
    sums = torch.nn.functional.embedding_bag(
        rows, few, bounds[:-1], per_sample_weights=values.reshape(-1)[order], mode="sum"
    )
    products = (encoder[indices] * few.unsqueeze(1)).sum(dim=2)
    pairs = [
        (values.sort(dim=1).values, expected.sort(dim=1).values),
        (sparse_decode(values, indices, encoder), bag),
        (value_products(few, indices, encoder), products),
        (row_sums(values, selection, few), sums),
    ]
    error = max(float((found - wanted).abs().max() / wanted.abs().max()) for found, wanted in pairs)
    if not error < TOLERANCE:
        sys.exit(f"The kernels differ from their twins by {error:.3g} of the largest value: nothing was timed.")
    return error


def contestants(x: torch.Tensor, encoder: torch.Tensor, bias: torch.Tensor, k: int) -> dict[str, Work]:
    """What is timed, by name."""
    half_x, half_encoder = x.bfloat16(), encoder.bfloat16()
    values, indices = encode_top_k(x, encoder, bias, k, torch.bfloat16)
    selection = Selection(indices, len(encoder))
    order, rows, bounds = selection.by_latent
    weights = values.reshape(-1)[order]
    out = torch.empty(len(x), len(encoder), dtype=torch.bfloat16, device=x.device)
    bag = torch.nn.functional.embedding_bag
    works: dict[str, Work] = {
        "encode: bf16 product alone": lambda: torch.mm(half_x, half_encoder.T, out=out),
        "encode: bf16 product, then torch.topk": lambda: torch.mm(half_x, half_encoder.T, out=out).topk(k, dim=1),
        "encode: monosema": lambda: encode_top_k(x, encoder, bias, k, torch.bfloat16),
        "decode: embedding_bag": lambda: bag(indices, encoder, per_sample_weights=values, mode="sum"),
        "decode: monosema": lambda: sparse_decode(values, indices, encoder),
        "gradient of values: monosema": lambda: value_products(x, indices, encoder),
        "gradient of a matrix: embedding_bag": lambda: bag(
            rows, x, bounds[:-1], per_sample_weights=weights, mode="sum"
        ),
        "gradient of a matrix: monosema": lambda: row_sums(values, selection, x),
        "sort by latent: monosema": lambda: Selection(indices, len(encoder)).by_latent,
    }
    if importlib.util.find_spec("sparsify"):
        works |= sparsify_contestants(x, encoder, bias, values, indices)
    return works | {"step: monosema": monosema_step(x, len(encoder), k)}


def monosema_step(x: torch.Tensor, m: int, k: int) -> Work:
    """A whole training step with fused Adam; AuxK has nothing to do, as no latent is dead."""
    dictionary = make_coder("topk", d_in=x.shape[1], n_latents=m, k=k).to(x.device)
    optimiser = torch.optim.Adam(dictionary.parameters(), lr=1e-4, fused=True)
    context = StepContext(batch=len(x), steps=10**6, matmul_dtype=torch.bfloat16)

    def step() -> None:
        losses = dictionary.losses(x, context)
        losses.total.backward()
        dictionary.project_gradients()
        optimiser.step()
        dictionary.constrain()
        optimiser.zero_grad(set_to_none=True)
        dictionary.observe(losses.codes, StepContext())

    return step


def sparsify_contestants(
    x: torch.Tensor, encoder: torch.Tensor, bias: torch.Tensor, values: torch.Tensor, indices: torch.Tensor
) -> dict[str, Work]:
    """sparsify's encoder (dense product, top-k) and its Triton decoder, forward and with both gradients."""
    from sparsify.fused_encoder import fused_encoder
    from sparsify.utils import decoder_impl

    k = values.shape[1]
    half_x, half_encoder, half_bias = x.bfloat16(), encoder.bfloat16(), bias.bfloat16()
    given, weight = values.clone().requires_grad_(), encoder.clone().requires_grad_()

    def decode_and_gradients() -> None:
        decoder_impl(indices, given, weight.mT).backward(x)
        given.grad = weight.grad = None

    return {
        "encode: sparsify": lambda: fused_encoder(half_x, half_encoder, half_bias, k, "topk"),
        "decode: sparsify": lambda: decoder_impl(indices, values, encoder.mT),
        "decode and its gradients: sparsify": decode_and_gradients,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("d", 3072), ("m", 65_536), ("k", 64), ("batch", 8192), ("rounds", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("No GPU is here: this benchmark compares GPU kernels, and needs one.", file=sys.stderr)
        sys.exit(2)
    device = torch.device("cuda")
    if not on_gpu(torch.empty(1, device=device)):
        print("Triton is not installed: pip install triton.", file=sys.stderr)
        sys.exit(2)
    torch.manual_seed(0)
    x = torch.randn(given.batch, given.d, device=device)
    encoder = torch.nn.functional.normalize(torch.randn(given.m, given.d, device=device))
    bias = torch.zeros(given.m, device=device)
    error = check(x, encoder, bias, given.k)
    square = torch.randn(SIDE, SIDE, dtype=torch.bfloat16, device=device)
    peak = 2 * SIDE**3 / seconds({"peak": lambda: square @ square}, given.rounds)["peak"]
    flop = 2 * given.batch * given.d * given.m
    figures = {}
    for name, took in seconds(contestants(x, encoder, bias, given.k), given.rounds).items():
        has_product = name.startswith(("encode", "step"))
        share = flop / took / peak if has_product else None
        figures[name] = {"ms": 1e3 * took, "tokens_per_second": given.batch / took, "share_of_peak": share}
    facts = {"gpu": torch.cuda.get_device_name(), "peak_tflops": peak / 1e12, "error_against_twins": error}
    if given.json:
        print(json.dumps({**facts, **vars(given), "figures": figures}))
        return
    print(f"{facts['gpu']}: {peak / 1e12:.0f} TFLOP/s measured; kernels within {error:.1e} of their twins")
    print(f"d = {given.d}, m = {given.m:,}, k = {given.k}, batch = {given.batch:,}\n")
    print(f"{'':40}{'ms':>10}{'tokens/s':>14}{'of peak':>10}")
    for name, row in figures.items():
        share = "" if row["share_of_peak"] is None else f"{row['share_of_peak']:.0%}"
        print(f"{name:40}{row['ms']:10.2f}{row['tokens_per_second']:14,.0f}{share:>10}")
    if not importlib.util.find_spec("sparsify"):
        print("\nsparsify is not installed: left out. pip install --no-deps eai-sparsify natsort schedulefree")


if __name__ == "__main__":
    main()
