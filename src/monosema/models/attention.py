"""Causal self-attention with its sites; fused unless scores or pattern are asked for."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from monosema.models.config import TransformerConfig
from monosema.models.norms import Norm
from monosema.models.reading import Reading
from monosema.models.rotary import rotate
from monosema.models.taps import Tap


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
        reading: Reading,
        tap: Tap | None = None,
    ) -> Float[Tensor, "batch pos d_model"]:
        """Attend. `x` is the normalised residual stream, or one for each head of queries, keys and values, each
        [batch, pos, head, d_model]."""
        q, k, v = self._project(x)
        if tap is not None:
            q, k, v = tap("q", q), tap("k", k), tap("v", v)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self._normalise(self.q_norm, q), self._normalise(self.k_norm, k)
        if self.settings.rotary is not None:
            turn = reading.rotation(self.settings.rotary, q.dtype)
            q, k = rotate(q, turn), rotate(k, turn)
            if tap is not None:
                q, k = tap("rot_q", q), tap("rot_k", k)
        if reading.cache is not None:
            k, v = reading.cache.extend(self.layer, k, v)
        by_head = (q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        if self.softcap is not None or (tap is not None and tap.wants("attn_scores", "pattern")):
            z = self._explicit(*by_head, reading, tap)
        else:
            z = self._fused(*by_head, reading)
        return self._output(z.transpose(1, 2), tap)

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

    def _fused(self, q: Tensor, k: Tensor, v: Tensor, reading: Reading) -> Float[Tensor, "batch head pos d_head"]:
        window = self.settings.window
        causal = reading.is_plainly_causal(window)
        return nn.functional.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=None if causal else reading.mask(window),
            is_causal=causal,
            scale=self.settings.scale,
            enable_gqa=self.n_kv_heads != self.n_heads,
        )

    def _explicit(
        self, q: Tensor, k: Tensor, v: Tensor, reading: Reading, tap: Tap | None
    ) -> Float[Tensor, "batch head pos d_head"]:
        shared = self.n_heads // self.n_kv_heads
        k, v = k.repeat_interleave(shared, dim=1), v.repeat_interleave(shared, dim=1)
        scores = q @ k.mT * self.settings.scale
        if self.softcap is not None:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        mask = reading.mask(self.settings.window)
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        if tap is not None:
            scores = tap("attn_scores", scores)
        pattern = scores.softmax(dim=-1, dtype=torch.float32).to(q.dtype)
        if tap is not None:
            pattern = tap("pattern", pattern)
        return pattern @ v

    def _output(self, z: Float[Tensor, "batch pos head d_head"], tap: Tap | None) -> Float[Tensor, "batch pos d_model"]:
        if tap is None:
            return self.o(z.flatten(-2))
        z = tap("z", z)
        if not tap.wants("result"):
            return self.o(z.flatten(-2))
        heads = self.o.weight.unflatten(1, (self.n_heads, self.d_head))
        result = tap("result", torch.einsum("bphk,dhk->bphd", z, heads))
        out = result.sum(dim=2)
        return out if self.o.bias is None else out + self.o.bias
