"""DeepLIFT: differences from a baseline, handed back by multipliers (Shrikumar et al. 2017, arXiv:1704.02685).

    φ_i = (e_i − e⁰_i) · m_i,      Δy = m Δx for every step y = f(x), between the clean prompt and its absence

    one input    m = Δy / Δx                            the rescale rule, for activations and norms' scales
    a product    Δ(a b) = Δa (b + b⁰)/2 + Δb (a + a⁰)/2
    a softmax    Δp_i = Λ_i (Δs_i − Σ_j Λ_j Δs_j / Σ_j Λ_j),  Λ the logarithmic mean of p and p⁰

All are exact, so that the scores of a contrast of two tokens sum to F(all) − F(none) but for rounding. Departure: the
original has no rule for products, where half to each factor is the one that is symmetric, nor for the softmax, whose
rule follows from Δp = Λ Δ log p and from Σ Δp = 0.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.attribution.game import Game
from monosema.attribution.methods.gradients import baseline, embeddings
from monosema.attribution.methods.method import GRADIENT, Scores, register_method
from monosema.attribution.players import Pass, need_tokens
from monosema.attribution.rules import passed_back
from monosema.core import Site, UnsupportedModelError
from monosema.models import Transformer
from monosema.models.decoder import Block, Norm


@dataclass(frozen=True)
class DeepLift:
    """DeepLIFT."""

    name: str = "deep_lift"
    about: str = "difference from absence, handed back by exact multipliers"
    family: str = GRADIENT
    default: bool = True

    def __call__(self, game: Game, seed: int = 0) -> Scores:
        """Score players that are tokens; nothing is drawn.

        Raises UnsupportedModelError for models with steps that have no multipliers here.
        """
        players, x = need_tokens(game.players, self.name), embeddings(game)
        model = game.model
        assert isinstance(model, Transformer)
        _require(model, self.name)
        absent = baseline(game, players, self.name)
        played = torch.zeros(len(x), 1, device=x.device)
        played[[at for group in players.groups for at in group]] = 1
        absent = torch.lerp(x, absent, played)
        e = torch.stack([x, absent]).requires_grad_()

        def put(own: Tensor, _: object) -> Tensor:
            return torch.cat([e.to(own.dtype), own[:, len(x) :]], dim=1)

        with torch.enable_grad(), multipliers(model), game.within_memory():
            value = game.value(Pass(players.ids.expand(2, -1), None, [(Site(None, "embed"), put)]))
            (slopes,) = torch.autograd.grad(value[0], e)
        game.rows += 4
        return Scores(players.by_player(((x - absent) * slopes[0]).sum(-1)), complete=True)


@contextlib.contextmanager
def multipliers(model: Transformer) -> Iterator[None]:
    """Let gradients of the first of two rows go back by multipliers between both, in the block; values stay."""
    kept = _Kept()
    with contextlib.ExitStack() as stack:

        def at(layer: int | None, component: str, action: Callable[[Tensor], Tensor]) -> None:
            stack.enter_context(model.attach(Site(layer, component), lambda x, _: action(x)))

        for layer, block in enumerate(model.blocks):
            own = cast(Block, block)
            at(layer, "resid_pre", kept.keep("stream"))
            if own.ln1 is not None:
                at(layer, "ln1.normalized", _normed(kept, own.ln1))
            turned = own.attn.settings.rotary is not None
            at(layer, "rot_q" if turned else "q", kept.keep("q"))
            at(layer, "rot_k" if turned else "k", kept.keep("k"))
            at(layer, "v", kept.keep("v"))
            at(layer, "attn_scores", _scored(kept, own))
            at(layer, "pattern", _softmax(kept))
            at(layer, "z", _mixed(kept, own))
            at(layer, "mlp_in", kept.keep("stream"))
            if own.ln2 is not None:
                at(layer, "ln2.normalized", _normed(kept, own.ln2))
            at(layer, "mlp.pre", kept.keep("pre"))
            if model.config.gated:
                at(layer, "mlp.pre_linear", kept.keep("linear"))
            at(layer, "mlp.post", _activated(kept, own))
            at(layer, "resid_post", kept.keep("stream"))
        at(None, "ln_final.normalized", _normed(kept, model.ln_final))
        yield


class _Kept:
    """The latest values by name, as nodes of the graph."""

    def __init__(self) -> None:
        self._values = dict[str, Tensor]()

    def keep(self, name: str) -> Callable[[Tensor], Tensor]:
        def action(x: Tensor) -> Tensor:
            self._values[name] = x
            return x

        return action

    def __getitem__(self, name: str) -> Tensor:
        return self._values[name]


def _mean(x: Float[Tensor, "2 *rest"]) -> Float[Tensor, "1 *rest"]:
    return x.detach().mean(0, keepdim=True)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a b, each factor held at its mean over both rows where the other goes back."""
    return a * _mean(b) + _mean(a) * b


def _rescaled(x: Tensor, y: Tensor, slope: Tensor) -> Tensor:
    """Return x times the slope between both rows; `slope` is the derivative, for rows that are equal."""
    with torch.no_grad():
        dx, dy = x[:1] - x[1:], y[:1] - y[1:]
        m = torch.where(dx.abs() < 1e-6, slope[:1], dy / torch.where(dx.abs() < 1e-6, 1.0, dx))
    return x * m


def _normed(kept: _Kept, norm: Norm) -> Callable[[Tensor], Tensor]:
    def action(y: Tensor) -> Tensor:
        h = kept["stream"].float()[:, -y.shape[1] :]
        if norm.kind == "layer":
            h = h - h.mean(-1, keepdim=True)
        power = h.detach().square().mean(-1, keepdim=True) + norm.eps
        size = (2 * h * _mean(h)).mean(-1, keepdim=True)  # the multiplier of a square is the sum of both
        inverse = power.rsqrt()
        carried = _product(h, passed_back(inverse, _secant(size, power, inverse)))
        return passed_back(y, carried * norm.gain() if norm.bias is not None else carried)

    return action


def _secant(x: Tensor, at: Tensor, y: Tensor) -> Tensor:
    """Return x times the slope of y = at^(−½) between both rows."""
    with torch.no_grad():
        dx = at[:1] - at[1:]
        same = dx.abs() < 1e-6 * at[:1].abs()
        m = torch.where(same, -0.5 * y[:1] / at[:1], (y[:1] - y[1:]) / torch.where(same, 1.0, dx))
    return x * m


def _scored(kept: _Kept, block: Block) -> Callable[[Tensor], Tensor]:
    shared, scale = block.n_heads // block.n_kv_heads, block.attn.settings.scale

    def action(scores: Tensor) -> Tensor:
        q, k = kept["q"].transpose(1, 2), kept["k"].transpose(1, 2).repeat_interleave(shared, dim=1)
        carried = (q @ _mean(k).mT + _mean(q) @ k.mT) * scale
        hidden = scores == float("-inf")
        out = passed_back(scores.masked_fill(hidden, 0.0), carried.masked_fill(hidden, 0.0))
        return kept.keep("scores")(out.masked_fill(hidden, float("-inf")))

    return action


def _softmax(kept: _Kept) -> Callable[[Tensor], Tensor]:
    def action(pattern: Tensor) -> Tensor:
        scores = kept["scores"].float()
        hidden = scores == float("-inf")
        with torch.no_grad():
            logs = scores.log_softmax(-1).masked_fill(hidden, 0.0)
            p = logs.exp().masked_fill(hidden, 0.0)
            difference = logs[:1] - logs[1:]
            same = difference.abs() < 1e-6
            # The logarithmic mean of both rows: Δp = mean · Δ log p.
            mean = torch.where(same, p[:1], (p[:1] - p[1:]) / torch.where(same, 1.0, difference))
            shares = mean / mean.sum(-1, keepdim=True)  # Σ Δp = 0 says that Δ log Σ exp(s) is the mean of Δs by them
        scores = scores.masked_fill(hidden, 0.0)
        carried = mean * (scores - (shares * scores).sum(-1, keepdim=True))
        return kept.keep("pattern")(passed_back(pattern, carried.to(pattern.dtype)))

    return action


def _mixed(kept: _Kept, block: Block) -> Callable[[Tensor], Tensor]:
    shared = block.n_heads // block.n_kv_heads

    def action(z: Tensor) -> Tensor:
        pattern, v = kept["pattern"], kept["v"].transpose(1, 2).repeat_interleave(shared, dim=1)
        carried = pattern @ _mean(v) + _mean(pattern) @ v
        return passed_back(z, carried.transpose(1, 2))

    return action


def _activated(kept: _Kept, block: Block) -> Callable[[Tensor], Tensor]:
    act = block.mlp.activation

    def action(post: Tensor) -> Tensor:
        pre = kept["pre"]
        with torch.enable_grad():
            leaf = pre.detach().requires_grad_()
            value = act(leaf)
            (slope,) = torch.autograd.grad(value.sum(), leaf)
        acted = passed_back(value.detach(), _rescaled(pre, value.detach(), slope))
        return passed_back(post, _product(acted, kept["linear"]) if block.mlp.gated else acted)

    return action


def _require(model: Transformer, method: str) -> None:
    config = model.config
    unmet = {
        "softcapped attention": config.score_softcap is not None,
        "softcapped logits": config.logit_softcap is not None,
        "normalised queries and keys": config.norm_queries_and_keys,
        "norms behind attention and MLP": config.norm_outputs,
    }
    for what, there in unmet.items():
        if there:
            raise UnsupportedModelError(f"{method} has no multipliers for {what}, which {config.family} models have.")


register_method(DeepLift())
