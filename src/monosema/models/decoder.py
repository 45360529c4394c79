"""The parts of a decoder, each with its sites: norms, attention, MLPs, and the blocks made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from monosema.models.config import TransformerConfig
from monosema.models.context import DecoderContext, rotate
from monosema.models.hooks import LayerHooks

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": nn.functional.gelu,
    "gelu_tanh": lambda x: nn.functional.gelu(x, approximate="tanh"),
    "relu": nn.functional.relu,
    "silu": nn.functional.silu,
}


class Norm(nn.Module):
    """LayerNorm (Ba et al. 2016, arXiv 1607.06450) or RMSNorm (Zhang & Sennrich 2019, arXiv 1910.07467).

        LayerNorm   y = (x - mean(x)) / √(var(x) + ε) · w + b
        RMSNorm     y = x / √(mean(x²) + ε) · w            (rms_offset: w is stored as its distance from 1)

    Computed in float32 whatever the precision of x. Sites as in TransformerLens: ``scale`` is the root, with a last
    dimension of 1; ``normalized`` is the result after w and b for LayerNorm, the quotient before w for RMSNorm.
    """

    def __init__(self, width: int, kind: Literal["layer", "rms", "rms_offset"], eps: float) -> None:
        super().__init__()
        self.kind = kind
        self.eps = eps
        self.weight = nn.Parameter(torch.zeros(width) if kind == "rms_offset" else torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if kind == "layer" else None

    def gain(self) -> Float[Tensor, " width"]:
        """Factor of the quotient, in float32."""
        weight = self.weight.float()
        return 1 + weight if self.kind == "rms_offset" else weight

    def forward(
        self, x: Float[Tensor, "*batch width"], hooks: LayerHooks | None = None, name: str = ""
    ) -> Float[Tensor, "*batch width"]:
        """Normalise over the last dimension; `name` is the norm's in the sites (``ln1``)."""
        if hooks is not None and hooks.wants(f"{name}.scale", f"{name}.normalized"):
            return self._step_by_step(x, hooks, name)
        if self.kind == "layer":
            return nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)
        if self.kind == "rms":
            return nn.functional.rms_norm(x, self.weight.shape, self.weight, self.eps)
        return nn.functional.rms_norm(x.float(), self.weight.shape, self.gain(), self.eps).to(x.dtype)

    def _step_by_step(self, x: Tensor, hooks: LayerHooks, name: str) -> Tensor:
        h = x.float()
        if self.kind == "layer":
            h = h - h.mean(-1, keepdim=True)
        scale = hooks(f"{name}.scale", (h.square().mean(-1, keepdim=True) + self.eps).sqrt())
        h = h / scale
        if self.bias is not None:
            return hooks(f"{name}.normalized", h * self.gain() + self.bias.float()).to(x.dtype)
        return (hooks(f"{name}.normalized", h) * self.gain()).to(x.dtype)


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017), with grouped keys and values (Ainslie et al. 2023).

        q, k, v = x W_qkv + b_qkv ;   s = scale · q kᵀ (cap · tanh(s / cap) where there is a cap), masked
        z = softmax(s) v ;            out = Σ_heads z_h W_O,h + b_O

    Head h shares the key and value h // (n_heads / n_kv_heads). Rows of ``qkv`` are the queries of all heads, then the
    keys, then the values. Masked scores are -inf, as in TransformerLens.
    """

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.settings = config.attention[layer]
        self.n_heads, self.n_kv_heads, self.d_head = config.n_heads, config.n_kv_heads, config.d_head
        self.softcap = config.score_softcap
        self.sizes = [n * self.d_head for n in (self.n_heads, self.n_kv_heads, self.n_kv_heads)]
        self.qkv = nn.Linear(config.d_model, sum(self.sizes), bias=config.qkv_bias)
        self.o = nn.Linear(self.sizes[0], config.d_model, bias=config.attention_out_bias)
        normed, self.across = config.norm_queries_and_keys, config.norm_across_heads
        widths = self.sizes[:2] if self.across else [self.d_head] * 2
        self.q_norm = Norm(widths[0], config.norm, config.norm_eps) if normed else None
        self.k_norm = Norm(widths[1], config.norm, config.norm_eps) if normed else None

    def forward(
        self,
        x: Float[Tensor, "batch pos d_model"] | tuple[Tensor, Tensor, Tensor],
        context: DecoderContext,
        hooks: LayerHooks | None = None,
        *,
        last: bool = False,
    ) -> Float[Tensor, "batch out d_model"]:
        """Attend. `x` is the normalised residual stream, or one for each head of queries, keys and values, each
        [batch, pos, head, d_model]; `last`: give what the last position reads only."""
        q, k, v = self._project(x)
        return self.attend(q[:, -1:] if last else q, k, v, context, hooks)

    def attend(
        self,
        q: Float[Tensor, "batch out head d_head"],
        k: Float[Tensor, "batch pos kv_head d_head"],
        v: Float[Tensor, "batch pos kv_head d_head"],
        context: DecoderContext,
        hooks: LayerHooks | None = None,
    ) -> Float[Tensor, "batch out d_model"]:
        """Go on from queries, keys and values as they are projected; queries may be those of the last positions."""
        return self._output(self.mixed(q, k, v, context, hooks), hooks)

    def mixed(
        self,
        q: Float[Tensor, "batch out head d_head"],
        k: Float[Tensor, "batch pos kv_head d_head"],
        v: Float[Tensor, "batch pos kv_head d_head"],
        context: DecoderContext,
        hooks: LayerHooks | None = None,
    ) -> Float[Tensor, "batch out head d_head"]:
        """Return what each head takes from where it looks, before W_O: of all heads, or, where queries and keys aren't
        normalised across heads, of some that come with the keys and values that they share."""
        if hooks is not None:
            q, k, v = hooks("q", q), hooks("k", k), hooks("v", v)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self._normalise(self.q_norm, q), self._normalise(self.k_norm, k)
        if self.settings.rotary is not None:
            cos, sin = context.rotation(self.settings.rotary, q.dtype)
            q, k = rotate(q, (cos[:, -q.shape[1] :], sin[:, -q.shape[1] :])), rotate(k, (cos, sin))
            if hooks is not None:
                q, k = hooks("rot_q", q), hooks("rot_k", k)
        if context.cache is not None:
            k, v = context.cache.extend(self.layer, k, v)
        by_head = (q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        if self.softcap is not None or (hooks is not None and hooks.wants("attn_scores", "pattern")):
            z = self._explicit(*by_head, context, hooks)
        else:
            z = self._fused(*by_head, context)
        return z.transpose(1, 2)

    def _normalise(self, norm: Norm, x: Float[Tensor, "batch pos head d_head"]) -> Tensor:
        return norm(x.flatten(-2)).unflatten(-1, (-1, self.d_head)) if self.across else norm(x)

    def _project(self, x: Tensor | tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        if isinstance(x, Tensor):
            parts = self.qkv(x).split(self.sizes, dim=-1)
        else:
            weights = self.qkv.weight.split(self.sizes)
            biases = [None] * 3 if self.qkv.bias is None else self.qkv.bias.split(self.sizes)
            parts = tuple(map(self._project_heads, x, weights, biases))
        q, k, v = (part.unflatten(-1, (-1, self.d_head)) for part in parts)
        return q, k, v

    def _project_heads(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        out = torch.einsum("bphd,hkd->bphk", x, weight.unflatten(0, (-1, self.d_head))).flatten(-2)
        return out if bias is None else out + bias

    def _fused(
        self, q: Tensor, k: Tensor, v: Tensor, context: DecoderContext
    ) -> Float[Tensor, "batch head pos d_head"]:
        window = self.settings.window
        causal = context.is_plainly_causal(window) and q.shape[2] == k.shape[2]
        return nn.functional.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=None if causal else _last_rows(context.mask(window), q.shape[2]),
            is_causal=causal,
            scale=self.settings.scale,
            enable_gqa=self.n_kv_heads != self.n_heads,
        )

    def _explicit(
        self, q: Tensor, k: Tensor, v: Tensor, context: DecoderContext, hooks: LayerHooks | None
    ) -> Float[Tensor, "batch head pos d_head"]:
        shared = self.n_heads // self.n_kv_heads
        k, v = k.repeat_interleave(shared, dim=1), v.repeat_interleave(shared, dim=1)
        scores = q @ k.mT * self.settings.scale
        if self.softcap is not None:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        mask = _last_rows(context.mask(self.settings.window), q.shape[2])
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        if hooks is not None:
            scores = hooks("attn_scores", scores)
        pattern = scores.softmax(dim=-1, dtype=torch.float32).to(q.dtype)
        if hooks is not None:
            pattern = hooks("pattern", pattern)
        return pattern @ v

    def _output(
        self, z: Float[Tensor, "batch pos head d_head"], hooks: LayerHooks | None
    ) -> Float[Tensor, "batch pos d_model"]:
        if hooks is None:
            return self.o(z.flatten(-2))
        z = hooks("z", z)
        if not hooks.wants("result"):
            return self.o(z.flatten(-2))
        heads = self.o.weight.unflatten(1, (self.n_heads, self.d_head))
        result = hooks("result", torch.einsum("bphk,dhk->bphd", z, heads))
        out = result.sum(dim=2)
        return out if self.o.bias is None else out + self.o.bias


def _last_rows(mask: Tensor | None, n: int) -> Tensor | None:
    return None if mask is None else mask[:, :, -n:]


class Mlp(nn.Module):
    """``out = W_out act(W_in x + b_in) + b_out``, or ``W_out (act(W_gate x) × (W_in x))`` where it is gated.

    Of a gated one, rows of ``inner`` are those of the gate, then those of W_in; the site ``mlp.pre`` is the gate's,
    ``mlp.pre_linear`` that of W_in.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.gated = config.gated
        self.activation = _ACTIVATIONS[config.activation]
        self.inner = nn.Linear(config.d_model, config.d_mlp * (1 + config.gated), bias=config.mlp_bias)
        self.out = nn.Linear(config.d_mlp, config.d_model, bias=config.mlp_bias)

    def forward(self, x: Float[Tensor, "batch pos d_model"], hooks: LayerHooks | None = None) -> Tensor:
        """From the normalised residual stream to what is added to it."""
        pre = self.inner(x)
        linear = None
        if self.gated:
            pre, linear = pre.chunk(2, dim=-1)
        if hooks is not None:
            pre = hooks("mlp.pre", pre)
            linear = linear if linear is None else hooks("mlp.pre_linear", linear)
        post = self.activation(pre)
        if linear is not None:
            post = post * linear
        return self.out(post if hooks is None else hooks("mlp.post", post))


class Block(nn.Module):
    """Attention and MLP, each reading the residual stream and adding to it."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.parallel = config.parallel
        self.n_heads, self.n_kv_heads = config.n_heads, config.n_kv_heads
        before, after = config.norm_inputs, config.norm_outputs
        self.ln1 = Norm(config.d_model, config.norm, config.norm_eps) if before else None
        self.attn = Attention(config, layer)
        self.ln2 = Norm(config.d_model, config.norm, config.norm_eps) if before else None
        self.mlp = Mlp(config)
        self.ln1_post = Norm(config.d_model, config.norm, config.norm_eps) if after else None
        self.ln2_post = Norm(config.d_model, config.norm, config.norm_eps) if after else None

    def forward(
        self,
        x: Float[Tensor, "batch pos d_model"],
        context: DecoderContext,
        hooks: LayerHooks | None = None,
        *,
        last: bool = False,
    ) -> Tensor:
        """Return the residual stream after this block; `last`: that of the last position, where nothing is hooked."""
        if last and hooks is None:
            attended = self.attn(self._attention_input(x, None), context, last=True)
            return self.after_attention(x[:, -1:], attended, None)
        return self.from_pre(x if hooks is None else hooks("resid_pre", x), context, hooks)

    def from_pre(
        self, x: Float[Tensor, "batch pos d_model"], context: DecoderContext, hooks: LayerHooks | None
    ) -> Tensor:
        """Go on from the value at the site ``resid_pre``."""
        return self.after_attention(x, self.attn(self._attention_input(x, hooks), context, hooks), hooks)

    def after_attention(
        self,
        x: Float[Tensor, "batch pos d_model"],
        attended: Float[Tensor, "batch pos d_model"],
        hooks: LayerHooks | None,
    ) -> Tensor:
        """Go on from the value at the site ``resid_pre`` and what the heads make of it."""
        if self.ln1_post is not None:
            attended = self.ln1_post(attended, hooks, "ln1_post")
        if hooks is not None:
            attended = hooks("attn_out", attended)
        if self.parallel:
            return self.from_mid(x, hooks, attended)
        x = x + attended
        return self.from_mid(x if hooks is None else hooks("resid_mid", x), hooks)

    def from_mid(
        self, x: Float[Tensor, "batch pos d_model"], hooks: LayerHooks | None, attended: Tensor | None = None
    ) -> Tensor:
        """Go on from the value at the site ``resid_mid``; `attended` is yet to be added where blocks are parallel."""
        read = x if hooks is None else hooks("mlp_in", x)
        out = self.mlp(read if self.ln2 is None else self.ln2(read, hooks, "ln2"), hooks)
        if self.ln2_post is not None:
            out = self.ln2_post(out, hooks, "ln2_post")
        if hooks is not None:
            out = hooks("mlp_out", out)
        x = (x if attended is None else x + attended) + out
        return x if hooks is None else hooks("resid_post", x)

    def _attention_input(self, x: Tensor, hooks: LayerHooks | None) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """The normalised stream; a copy for each head where a site asks for it, so that each can be edited alone."""
        if hooks is None or not hooks.wants("attn_in", "q_input", "k_input", "v_input"):
            return x if self.ln1 is None else self.ln1(x, hooks, "ln1")
        queries, keys = (x[:, :, None].expand(-1, -1, n, -1) for n in (self.n_heads, self.n_kv_heads))
        if hooks.wants("attn_in"):
            queries = keys = hooks("attn_in", queries)
        parts = (hooks("q_input", queries), hooks("k_input", keys), hooks("v_input", keys))
        if self.ln1 is None:
            return parts
        q, k, v = (self.ln1(part, hooks, "ln1") for part in parts)
        return q, k, v
