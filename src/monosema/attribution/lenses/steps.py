"""The way of one prediction in steps: tokens → embedding → blocks → norm → logits = W h → softmax → choice.

Every number is that of the model's own pass; the last steps are computed again by their formulas and compared with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from monosema.attribution.lenses.lens import stream_sites
from monosema.core import Site
from monosema.models import Transformer


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step.

    Attributes:
        name: of the step.
        formula: what is computed, with the shape.
        said: the numbers, in words.
        values: the numbers.
    """

    name: str
    formula: str
    said: str
    values: dict[str, Any]


@torch.no_grad()
def prediction_steps(
    model: Transformer, ids: Sequence[int], position: int = -1, temperature: float = 1.0, k: int = 5
) -> list[Step]:
    """Return the steps from a text's tokens to the choice of the next one after a position.

    Args:
        temperature: that logits are divided by before the softmax.
        k: tokens to list.
    """
    tokens, at = torch.tensor([list(ids)], device=model.device), position % len(ids)
    parts = [Site(layer, name) for layer in range(model.n_layers) for name in ("attn_out", "mlp_out")]
    ends = [Site(None, "ln_final.scale")]
    streams = stream_sites(model)
    kept = model.activations(tokens, ["embed", *streams, *parts, *ends])
    rows = [kept[site][0, at].float() for site in streams]
    logits = model(tokens)[0, at].float()
    steps = [
        _text_step(model, ids, at),
        _step("embedding", f"x = E[token], {model.d_model:,} numbers", {"norm": float(kept["embed"][0, at].norm())}),
    ]
    if model.config.learned_positions:
        steps.append(_step("positions", "x ← x + P[position]", {"norm": float(rows[0].norm())}))
    for layer in range(model.n_layers):
        attention, mlp = (kept[Site(layer, name)][0, at].float() for name in ("attn_out", "mlp_out"))
        steps.append(
            _step(
                f"block {layer}",
                "x ← x + attention(x) + MLP(x)",
                {
                    "attention": float(attention.norm()),
                    "MLP": float(mlp.norm()),
                    "norm": float(rows[layer + 1].norm()),
                    "cosine with x before": float(torch.cosine_similarity(rows[layer], rows[layer + 1], dim=0)),
                },
            )
        )
    return steps + _ends(model, rows[-1], float(kept[ends[0]][0, at]), logits, temperature, k)


def _text_step(model: Transformer, ids: Sequence[int], at: int) -> Step:
    tokens = model.tokenizer.tokens(ids)
    said = f"{tokens[at]!r}, number {ids[at]} of {model.vocab:,}, at position {at} of {len(ids)}"
    return Step(name="token", formula="text → ids", said=said, values={"tokens": tokens, "ids": list(ids), "at": at})


def _ends(model: Transformer, x: Tensor, scale: float, logits: Tensor, temperature: float, k: int) -> list[Step]:
    """Norm, product with the unembedding, softmax and choice, each by its formula."""
    norm = model.ln_final
    centred = x - x.mean() if norm.kind == "layer" else x
    h = centred / scale * norm.gain()
    h = h if norm.bias is None else h + norm.bias.float()
    weight, cap = model.unembed_weight.float(), model.config.logit_softcap
    z = weight @ h
    z = z if cap is None else cap * torch.tanh(z / cap)
    p = (z / temperature - (z / temperature).max()).exp()
    p = p / p.sum()
    best = z.topk(k).indices.tolist()
    names = model.tokenizer.tokens(best)
    mean = "h = (x − mean) / s · gain + bias" if norm.kind == "layer" else "h = x / s · gain"
    capped = "" if cap is None else f", capped at ±{cap:g}"
    listed = {name: float(z[token]) for name, token in zip(names, best, strict=True)}
    shares = {name: float(p[token]) for name, token in zip(names, best, strict=True)}
    cosine = float(torch.cosine_similarity(weight[best[0]], h, dim=0))
    return [
        _step("final norm", f"{mean}, s = {scale:.4g}", {"norm": float(h.norm())}),
        Step(
            name="logits",
            formula=f"z = W h, W: {model.vocab:,} × {model.d_model:,}{capped}",
            said=", ".join(f"{name!r} {value:.2f}" for name, value in listed.items()),
            values={"logits": listed, "largest difference from the model": float((z - logits).abs().max())},
        ),
        _step(
            "the largest",
            "z = ‖w‖ ‖h‖ cos(w, h)",
            {"‖w‖": float(weight[best[0]].norm()), "‖h‖": float(h.norm()), "cos": cosine},
        ),
        Step(
            name="softmax",
            formula=f"p = exp(z / T) / Σ exp(z / T), T = {temperature:g}",
            said=", ".join(f"{name!r} {value:.1%}" for name, value in shares.items()),
            values={"probabilities": shares, "entropy": float(-(p * p.clamp_min(1e-30).log()).sum())},
        ),
        Step(
            name="choice",
            formula="the likeliest, or a draw from p",
            said=f"{names[0]!r}; drawn, it would be that one in {shares[names[0]]:.1%} of all draws",
            values={"token": names[0], "id": best[0]},
        ),
    ]


def _step(name: str, formula: str, values: dict[str, float]) -> Step:
    said = ", ".join(f"{what} {value:.4g}" for what, value in values.items())
    return Step(name=name, formula=formula, said=said, values=values)
