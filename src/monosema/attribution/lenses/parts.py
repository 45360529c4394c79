"""Direct logit attribution: a logit, or a difference of two, as a sum over what each part adds to the stream.

    logit_t − logit_f = Σ_parts ⟨part, u⟩ / s + bias,     u = gain ⊙ (w_t − w_f), centred for LayerNorm

s is the final norm's scale as it is in this pass, so the sum is exact (Elhage et al. 2021, "A Mathematical Framework
for Transformer Circuits"); it says what a part adds straight to the logit, and nothing of its effect by way of others.
A cap on the logits is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.attribution.lenses.lens import reads_logit
from monosema.core import InputError, Site
from monosema.dictionaries import Dictionary, sites_read, written_at
from monosema.models import Captured, Transformer, each_contribution
from monosema.models.decoder import Block

By = Literal["layer", "head", "neuron", "latent"]
"""Parts that the logit is split into."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LogitParts:
    """A logit in parts.

    Attributes:
        by: the kind of part.
        target, foil: texts of the tokens; no foil for the logit itself.
        names: of the parts.
        scores: what each adds.
        value: the logit, or the difference, by the model's own forward pass.
    """

    by: By
    target: str
    foil: str | None
    names: tuple[str, ...]
    scores: Float[Tensor, " parts"]
    value: float

    @property
    def gap(self) -> float:
        """Value less the sum of the parts: rounding."""
        return self.value - float(self.scores.double().sum())

    def largest(self, n: int) -> list[tuple[str, float]]:
        """Return the largest parts of either sign."""
        order = self.scores.abs().argsort(descending=True, stable=True)[:n].tolist()
        return [(self.names[index], float(self.scores[index])) for index in order]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        parts = [{"part": name, "score": score} for name, score in zip(self.names, self.scores.tolist(), strict=True)]
        known = {"by": self.by, "target": self.target, "foil": self.foil, "value": self.value, "gap": self.gap}
        return {**known, "parts": parts}


@torch.no_grad()
def logit_parts(
    model: Transformer,
    ids: Sequence[int],
    target: int,
    foil: int | None = None,
    *,
    by: By = "layer",
    position: int = -1,
    dictionary: Dictionary | None = None,
    site: Site | None = None,
) -> LogitParts:
    """Split a logit.

    Args:
        ids: the text.
        target, foil: tokens; without a foil the logit itself.
        by: layer (each attention and each MLP), head, neuron, or latent of a dictionary.
        position: after which token; negative ones count from the end.
        dictionary: for latents.
        site: that it reads; None is that of its metadata.

    Raises:
        InputError: a foil that is the target; latents without a dictionary, or of one that doesn't write into the
            residual stream.
    """
    if foil == target:
        raise InputError("Token and foil are the same: ask why one rather than another.")
    tokens, at = torch.tensor([list(ids)], device=model.device), position % len(ids)
    pass_ = _Pass(model, tokens, at)
    if by == "latent":
        if dictionary is None:
            raise InputError("Latents need a dictionary: name a run or a dictionary with --run.")
        parts = _latents(pass_, dictionary, site)
    else:
        parts = _components(pass_, by)
    read = reads_logit(model, target, foil) / pass_.scale
    scores = torch.cat([rows.float() @ read for _, rows in parts])
    names = [name for given, _ in parts for name in given]
    if model.ln_final.bias is not None:
        weight = model.unembed_weight[target] - (0 if foil is None else model.unembed_weight[foil])
        scores = torch.cat((scores, (weight.float() @ model.ln_final.bias.float())[None]))
        names.append("bias of the final norm")
    whole = pass_.normalised @ model.unembed_weight.float().T
    texts = model.tokenizer.tokens([target] if foil is None else [target, foil])
    return LogitParts(
        by=by,
        target=texts[0],
        foil=None if foil is None else texts[1],
        names=tuple(names),
        scores=scores.cpu(),
        value=float(whole[target] - (0 if foil is None else whole[foil])),
    )


Named = tuple[list[str], Tensor]
"""Names of parts, and what each adds to the stream, [parts, d_model]."""


class _Pass:
    """One forward pass at one position."""

    def __init__(self, model: Transformer, tokens: Tensor, at: int) -> None:
        self.model, self.tokens, self.at = model, tokens, at
        self.added: list[tuple[int, str, Tensor]] = []
        with (
            each_contribution(model, lambda layer, kind, x: self.added.append((layer, kind, x[:, 0, at]))),
            model.capture("ln_final.scale") as kept,
        ):
            self.normalised = model.final_residual(tokens)[0, at].float()
        self.scale = kept["ln_final.scale"][0, at].float()

    def activations(self, sites: Sequence[Site]) -> Captured:
        return self.model.activations(self.tokens, sites)

    def block(self, layer: int) -> Block:
        block = self.model.blocks[layer]
        assert isinstance(block, Block)
        return block


def _components(pass_: _Pass, by: By) -> list[Named]:
    parts: list[Named] = []
    for layer, kind, x in pass_.added:
        if kind == "embed":
            parts.append((["embedding"], x))
        elif kind == "head":
            heads = [f"a{layer}.h{head}" for head in range(len(x))]
            parts.append((heads, x) if by == "head" else ([f"attention {layer}"], x.sum(0, keepdim=True)))
            if (bias := pass_.block(layer).attn.o.bias) is not None:
                parts.append(([f"bias of attention {layer}"], bias[None]))
        else:
            parts += _neurons(pass_, layer) if by == "neuron" else [([f"MLP {layer}"], x)]
    return parts


def _neurons(pass_: _Pass, layer: int) -> list[Named]:
    """Return post_j W_out,j of each neuron, through the norm behind the MLP where there is one, and the bias."""
    block, post = pass_.block(layer), Site(layer, "mlp.post")
    norm, scale = block.ln2_post, Site(layer, "ln2_post.scale")
    values = pass_.activations([post] if norm is None else [post, scale])
    factor = 1 if norm is None else norm.gain() / values[scale][0, pass_.at].float()
    rows = values[post][0, pass_.at].float()[:, None] * block.mlp.out.weight.float().T * factor
    parts: list[Named] = [([f"m{layer}.n{neuron}" for neuron in range(len(rows))], rows)]
    if block.mlp.out.bias is not None:
        parts.append(([f"bias of MLP {layer}"], (block.mlp.out.bias.float() * factor)[None]))
    return parts


def _latents(pass_: _Pass, dictionary: Dictionary, site: Site | None) -> list[Named]:
    """Return a_j d_j of each active latent, the dictionary's bias and error, and what the rest of the model adds."""
    read = site or dictionary.metadata.site
    if read is None:
        raise InputError("The dictionary does not say which site it reads: name the site.")
    reads = sites_read(dictionary, read)
    writer, written = written_at(dictionary, reads[-1])
    if not written.component.startswith(("resid", "mlp_out", "attn_out")):
        raise InputError(f"{written.short} is not added to the residual stream, so its latents have no direct effect.")
    values = pass_.activations(list(dict.fromkeys([*reads, written])))
    x = torch.cat([values[one][0, pass_.at].flatten() for one in reads])[None].float()
    codes = dictionary.encode(x)
    active = codes.values[0] != 0
    latents = codes.indices[0][active]
    rows = codes.values[0][active, None].float() * writer.directions[latents].float()
    rebuilt, there = writer.decode(codes)[0].float(), values[written][0, pass_.at].float()
    stream = torch.cat([x for _, _, x in pass_.added]).float().sum(0)
    biases = [pass_.block(layer).attn.o.bias for layer in range(pass_.model.n_layers)]
    stream = stream + sum((bias.float() for bias in biases if bias is not None), torch.zeros_like(stream))
    rest = torch.stack([rebuilt - rows.sum(0), there - rebuilt, stream - there])
    names = ["bias of the dictionary", "error of the dictionary", "all other parts of the model"]
    return [([f"latent {latent}" for latent in latents.tolist()], rows), (names, rest)]
