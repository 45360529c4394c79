"""What sites cost: a forward pass of the decoder beside the same layers without any of the sites' machinery.

    python benchmarks/hooks.py [--dtype bfloat16] [--threads 2] [--clock cpu]

Both run in one process, interleaved, on a model of the embedded model's size. Printed are medians in milliseconds and
their ratios to the bare pass: nothing attached (should be 1), one and all residual streams captured, and a pass that
stops in the middle (should be about half). On a machine that is not idle, take the processor's clock, with one thread.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from monosema.models import AttentionConfig, RotaryConfig, Transformer, TransformerConfig, random_model
from monosema.models.context import rotate, rotation


def model_like_the_specimen() -> Transformer:
    attention = AttentionConfig(scale=32**-0.5, rotary=RotaryConfig(dims=32))
    shape = {"d_model": 256, "n_layers": 6, "n_heads": 8, "n_kv_heads": 8, "d_head": 32, "d_mlp": 768}
    kind = {"family": "llama", "activation": "silu", "gated": True, "norm": "rms", "tied": True}
    return random_model(TransformerConfig(**shape, **kind, vocab=4096, context=512, attention=(attention,) * 6))


def bare(model: Transformer, tokens: Tensor) -> Tensor:
    """The forward pass written out with the same layers, with nothing that a site could be attached to."""
    config = model.config
    x = model.embed(tokens)
    rotary = config.attention[0].rotary
    assert rotary is not None
    turn = rotation(rotary, torch.arange(tokens.shape[1])[None], x.dtype)
    for block in model.blocks:
        qkv = block.attn.qkv(block.ln1(x)).unflatten(-1, (3, config.n_heads, config.d_head))
        q, k, v = rotate(qkv[:, :, 0], turn), rotate(qkv[:, :, 1], turn), qkv[:, :, 2]
        z = functional.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True, scale=config.attention[0].scale
        )
        x = x + block.attn.o(z.transpose(1, 2).flatten(-2))
        gate, linear = block.mlp.inner(block.ln2(x)).chunk(2, dim=-1)
        x = x + block.mlp.out(functional.silu(gate) * linear)
    return functional.linear(model.ln_final(x), model.embed.weight)


def interleaved(ways: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Median seconds of each way; every round runs all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 2):
        for name, way in ways.items():
            start = clock()
            way()
            if number >= 2:
                seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clock", default="wall", choices=("wall", "cpu"))
    arguments = parser.parse_args()
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time
    torch.set_num_threads(arguments.threads)
    model = model_like_the_specimen().to(getattr(torch, arguments.dtype))
    streams = [site for site in model.sites() if site.component == "resid_post"]

    def capturing(sites: list) -> Callable[[Tensor], Tensor]:  # type: ignore[type-arg]
        def run(tokens: Tensor) -> Tensor:
            with model.capture(*sites):
                return model(tokens)

        return run

    for rows, length in ((32, 128), (1, 16)):
        tokens = torch.randint(0, 256, (rows, length), generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(model(tokens), bare(model, tokens), atol=5e-2, rtol=5e-2)
        ways: dict[str, Callable[[], object]] = {
            "bare": lambda t=tokens: bare(model, t),
            "nothing attached": lambda t=tokens: model(t),
            "one stream captured": lambda t=tokens: capturing(streams[3:4])(t),
            "all streams captured": lambda t=tokens: capturing(streams)(t),
            "all edited": lambda t=tokens: edited(model, t),
            "patterns captured": lambda t=tokens: capturing([f"{i}.pattern" for i in range(6)])(t),
            "stopped after 2.resid_post": lambda t=tokens: model.activations(t, ["2.resid_post"]),
        }
        seconds = interleaved(ways, arguments.rounds, clock)
        print(f"{arguments.dtype}, {rows} x {length} tokens, {arguments.threads} threads")
        for name, value in seconds.items():
            print(f"  {name:28} {1e3 * value:9.2f} ms   {value / seconds['bare']:.3f} x bare")


def edited(model: Transformer, tokens: Tensor) -> Tensor:
    """A pass with an edit that changes nothing at every residual stream."""
    with contextlib.ExitStack() as stack:
        for layer in range(model.n_layers):
            stack.enter_context(model.edit(f"{layer}.resid_post", lambda x: x))
        return model(tokens)


if __name__ == "__main__":
    main()
