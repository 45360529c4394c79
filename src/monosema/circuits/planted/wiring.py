"""Wiring: decoders whose weights are written by hand, head by head, in named directions of the residual stream.

Nothing is normalised on the way in, and the last norm is held constant by an ε that outweighs what it measures, so that
what heads and MLPs do is what is written here. Heads and MLPs that nothing is written for are decoys: they compute
random things from the prompt, and from each other, in directions that the logits don't read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import torch_generator
from monosema.models import Transformer
from monosema.models.config import AttentionConfig, TransformerConfig
from monosema.models.decoder import Block
from monosema.models.random_model import byte_tokenizer

LETTERS = "abcdefghijkl"
"""Symbols of prompts, beside `MARK`."""
MARK = ">"
"""The symbol after which the answer comes."""
SYMBOLS = (*LETTERS, MARK, "<bos>")
_POSITIONS = 10
_HEADS, _D_HEAD, _D_MLP = 3, 24, 32
_FLAT = 1e8
_BLOCKS: Mapping[str, int] = {
    "token": len(SYMBOLS),
    "position": _POSITIONS,
    "carried": len(SYMBOLS),
    "out": len(SYMBOLS),
    "flag": 2,
    "decoy": 8,
}
"""Dimensions by what they stand for; symbols are one-hot in `token`, `carried` and `out`. The logits read `out`."""
_STARTS = {name: sum(list(_BLOCKS.values())[:index]) for index, name in enumerate(_BLOCKS)}
Pair = tuple[int, int]


def at(block: str, index: int = 0) -> int:
    """Return the dimension of the residual stream that stands for the index-th of a block."""
    return _STARTS[block] + index


def same(block: str, other: str, symbols: Iterable[str] = LETTERS) -> list[Pair]:
    """Return pairs of dimensions that stand for the same symbol in two blocks."""
    return [(at(block, SYMBOLS.index(one)), at(other, SYMBOLS.index(one))) for one in symbols]


class Wiring:
    """A decoder under construction: three heads and an MLP in each layer, decoys until they are written."""

    def __init__(self, name: str, n_layers: int, seed: int = 0) -> None:
        width = sum(_BLOCKS.values())
        tokenizer = byte_tokenizer()
        self.model = Transformer(
            TransformerConfig(
                family="planted",
                d_model=width,
                n_layers=n_layers,
                n_heads=_HEADS,
                n_kv_heads=_HEADS,
                d_head=_D_HEAD,
                d_mlp=_D_MLP,
                vocab=tokenizer.vocab_size,
                context=_POSITIONS,
                attention=(AttentionConfig(scale=1.0),) * n_layers,
                learned_positions=True,
                activation="relu",
                norm="rms",
                norm_eps=_FLAT,
                norm_inputs=False,
                qkv_bias=True,
                mlp_bias=True,
            ),
            tokenizer=tokenizer,
            name=name,
        )
        model, generator = self.model.eval().requires_grad_(False), torch_generator(seed, "decoys")
        for parameter in model.parameters():
            parameter.zero_()
        model.ln_final.weight.fill_(_FLAT**0.5)
        assert model.pos_embed is not None
        assert model.unembedding is not None
        model.pos_embed.weight[:, at("position") : at("position") + _POSITIONS] = torch.eye(_POSITIONS)
        ids = [tokenizer.bos_id if one == "<bos>" else tokenizer.encode(one, bos=False)[0] for one in SYMBOLS]
        for index, token in enumerate(ids):
            model.embed.weight[token, at("token", index)] = 1
            model.unembedding.weight[token, at("out", index)] = 1
        for layer in range(n_layers):
            for head in range(_HEADS):
                self._decoy_head(layer, head, generator)
            self._decoy_mlp(layer, generator)

    def head(
        self,
        layer: int,
        head: int,
        *,
        attend: Sequence[tuple[Pair, float]],
        copy: Sequence[Pair],
        rest: Mapping[int, float] | None = None,
        gain: float = 1.0,
    ) -> None:
        """Write a head.

        Args:
            layer, head: which.
            attend: ((dimension of the query's side, dimension of the key's side), score where both are 1).
            copy: (dimension that is read, dimension that is written).
            rest: score that every query gives to a dimension of the key's side.
            gain: factor on what is written.
        """
        q, k, v, o = self._parts(layer, head)
        for part in (q, k, v, o):
            part.zero_()
        for row, ((query, key), score) in enumerate(attend):
            q[row, query], k[row, key] = score, 1
        bias = self._block(layer).attn.qkv.bias
        assert bias is not None
        for row, (key, score) in enumerate((rest or {}).items(), start=len(attend)):
            bias[head * _D_HEAD + row], k[row, key] = score, 1
        for row, (source, target) in enumerate(copy):
            v[row, source], o[target, row] = 1, gain

    def mlp(self, layer: int, neurons: Sequence[tuple[Mapping[int, float], float, Mapping[int, float]]]) -> None:
        """Write an MLP: of each neuron what it reads, its bias, and what it writes, by dimension."""
        mlp = self._block(layer).mlp
        inner, bias, out = mlp.inner.weight, mlp.inner.bias, mlp.out.weight
        for part in (inner, bias, out):
            part.zero_()
        for row, (reads, offset, writes) in enumerate(neurons):
            bias[row] = offset
            for dimension, weight in reads.items():
                inner[row, dimension] = weight
            for dimension, weight in writes.items():
                out[dimension, row] = weight

    def _block(self, layer: int) -> Block:
        block = self.model.blocks[layer]
        assert isinstance(block, Block)
        return block

    def _parts(self, layer: int, head: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        attention = self._block(layer).attn
        q, k, v = attention.qkv.weight.unflatten(0, (3, _HEADS, _D_HEAD))[:, head]
        return q, k, v, attention.o.weight.unflatten(1, (_HEADS, _D_HEAD))[:, head]

    def _decoy_head(self, layer: int, head: int, generator: torch.Generator) -> None:
        q, k, v, o = self._parts(layer, head)
        for part in (q, k, v):
            part.copy_(_random(part, generator))
        decoys = slice(at("decoy"), at("decoy") + _BLOCKS["decoy"])
        o[decoys] = _random(o[decoys], generator)

    def _decoy_mlp(self, layer: int, generator: torch.Generator) -> None:
        mlp = self._block(layer).mlp
        mlp.inner.weight.copy_(_random(mlp.inner.weight, generator))
        decoys = slice(at("decoy"), at("decoy") + _BLOCKS["decoy"])
        mlp.out.weight[decoys] = _random(mlp.out.weight[decoys], generator)


def _random(like: Float[Tensor, "_ inputs"], generator: torch.Generator) -> Float[Tensor, "_ inputs"]:
    return torch.randn(like.shape, generator=generator) * like.shape[1] ** -0.5
