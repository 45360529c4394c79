"""Decoders with random weights and a tokenizer of bytes: for tests, and as the control of a trained model."""

from __future__ import annotations

import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers

from monosema.core import torch_generator
from monosema.models.config import AttentionConfig, RotaryConfig, TransformerConfig
from monosema.models.tokenizer import Tokenizer
from monosema.models.transformer import Transformer

_SPECIAL = ("<bos>", "<eos>", "<pad>")


def byte_tokenizer() -> Tokenizer:
    """A tokenizer whose tokens are the 256 bytes and <bos>, <eos>, <pad>."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = tokenizers.Tokenizer(models.BPE({char: id for id, char in enumerate(alphabet)}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(list(_SPECIAL))
    bos, eos, pad = (raw.token_to_id(token) for token in _SPECIAL)
    return Tokenizer(raw, bos_id=bos, eos_id=eos, pad_id=pad)


def random_model(config: TransformerConfig | None = None, seed: int = 0) -> Transformer:
    """A model of random weights, with a tokenizer of bytes: small, of Llama's kind, unless a config says otherwise.

    Matrices are normal with variance 1 / inputs, biases normal with deviation 0.02, gains 1.
    """
    model = Transformer(_small() if config is None else config, tokenizer=byte_tokenizer(), name=f"random-{seed}")
    generator = torch_generator(seed, "random model")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter.shape[1] ** -0.5)
            elif name.endswith("bias"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.02)
    return model.eval().requires_grad_(False)


def _small() -> TransformerConfig:
    return TransformerConfig(
        family="llama",
        d_model=32,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        d_head=8,
        d_mlp=64,
        vocab=256 + len(_SPECIAL),
        context=128,
        attention=(AttentionConfig(scale=8**-0.5, rotary=RotaryConfig(dims=8)),) * 2,
        activation="silu",
        gated=True,
        norm="rms",
        tied=True,
    )
