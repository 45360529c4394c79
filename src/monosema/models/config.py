"""Configuration of the decoder, one for all families."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from monosema.core import Config


class RotaryConfig(Config):
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864): pairs of dimensions turn with the position."""

    base: float = Field(10_000.0, gt=0)
    """Base of the geometric series of wavelengths."""
    dims: int = Field(gt=0, multiple_of=2)
    """Dimensions of a head that turn; the rest carry no position."""
    scaling: Literal["none", "linear", "dynamic", "llama3", "yarn", "longrope", "by_pair"] = "none"
    """Stretching of frequencies for contexts longer than those trained on; dynamic and longrope change with the
    length of the text, and are computed within the trained context only."""
    factor: float = Field(1.0, gt=0)
    """By how much the (low) frequencies are divided."""
    factors: tuple[float, ...] = ()
    """longrope, by_pair: by how much each frequency is divided."""
    magnitude: float = Field(1.0, gt=0)
    """yarn, longrope: factor on what is turned."""
    low_frequency_factor: float = Field(1.0, gt=0)
    """llama3, yarn: wavelengths above original_context / this are stretched by the whole factor."""
    high_frequency_factor: float = Field(4.0, gt=0)
    """llama3, yarn: wavelengths below original_context / this are left as they are."""
    original_context: int = Field(8192, gt=0)
    """llama3, yarn: context of the training before the stretch."""

    @model_validator(mode="after")
    def _one_factor_each(self) -> RotaryConfig:
        if self.factors and len(self.factors) != self.dims // 2:
            raise ValueError(f"there are {len(self.factors)} factors for {self.dims // 2} frequencies")
        return self


class AttentionConfig(Config):
    """Facts that differ between the attention layers of one model."""

    scale: float = Field(gt=0)
    """Factor on the scores, usually 1/√d_head."""
    window: int | None = Field(None, gt=0)
    """A token sees itself and the `window` - 1 tokens before it; None: all before it."""
    rotary: RotaryConfig | None = None
    """Rotary position embedding of queries and keys; None where positions are learned vectors."""


class TransformerConfig(Config):
    """A decoder-only transformer; `monosema.models.transformer` says how the fields act."""

    family: str
    """Name of the family that the weights come from, as in config.json's model_type."""
    d_model: int = Field(gt=0)
    """Width of the residual stream."""
    n_layers: int = Field(gt=0)
    """Number of blocks."""
    n_heads: int = Field(gt=0)
    """Number of attention heads, each with a query of its own."""
    n_kv_heads: int = Field(gt=0)
    """Number of keys and values; n_heads / n_kv_heads queries share one (Ainslie et al. 2023, arXiv 2305.13245)."""
    d_head: int = Field(gt=0)
    """Width of a query, key and value."""
    d_mlp: int = Field(gt=0)
    """Neurons of each MLP."""
    vocab: int = Field(gt=0)
    """Rows of the embedding."""
    context: int = Field(gt=0)
    """Longest sequence that the model is made for, in tokens."""
    attention: tuple[AttentionConfig, ...]
    """One for each layer."""
    learned_positions: bool = False
    """True if a learned vector for each position is added to the embedding."""
    activation: Literal["gelu", "gelu_tanh", "relu", "silu"] = "gelu"
    """Nonlinearity of the MLP; gelu is the exact one, gelu_tanh its usual approximation."""
    gated: bool = False
    """True if neurons are act(gate · x) × (in · x), as in SwiGLU (Shazeer 2020, arXiv 2002.05202)."""
    parallel: bool = False
    """True if attention and MLP both read the block's input, so that there is no residual between them."""
    norm: Literal["layer", "rms", "rms_offset"] = "layer"
    """LayerNorm; RMSNorm; or RMSNorm whose stored weight is its distance from 1 (Gemma)."""
    norm_eps: float = Field(1e-5, gt=0)
    """Added to the variance or mean square."""
    norm_inputs: bool = True
    """True if attention and MLP read the residual stream normalised (all but OLMo 2)."""
    norm_outputs: bool = False
    """True if attention and MLP outputs are normalised before they are added (Gemma 2 and 3, OLMo 2)."""
    norm_queries_and_keys: bool = False
    """True if each query and key is normalised before it turns (Qwen 3, Gemma 3)."""
    norm_across_heads: bool = False
    """True if queries, and keys, are normalised over all heads together before they turn (OLMo 2)."""
    qkv_bias: bool = False
    """Biases of queries, keys and values."""
    attention_out_bias: bool = False
    """Bias of the attention's output."""
    mlp_bias: bool = False
    """Biases of the MLP."""
    tied: bool = False
    """True if the unembedding is the embedding's transpose."""
    embed_scale: float = Field(1.0, gt=0)
    """Factor on the embedding."""
    score_softcap: float | None = Field(None, gt=0)
    """Attention scores s become cap · tanh(s / cap)."""
    logit_softcap: float | None = Field(None, gt=0)
    """Logits l become cap · tanh(l / cap)."""

    @model_validator(mode="after")
    def _consistent(self) -> TransformerConfig:
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_heads ({self.n_heads}) must be a multiple of n_kv_heads ({self.n_kv_heads})")
        if len(self.attention) != self.n_layers:
            raise ValueError(f"there are {len(self.attention)} attention layers for n_layers = {self.n_layers}")
        for layer in self.attention:
            if layer.rotary is not None and layer.rotary.dims > self.d_head:
                raise ValueError(f"rotary dims ({layer.rotary.dims}) exceed d_head ({self.d_head})")
        return self
