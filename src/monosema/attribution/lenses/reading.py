"""A lens read on a text: likely next tokens at each layer and position, and how far from the model's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.attribution.lenses.lens import Lens, layer_name, stream_sites
from monosema.models import Transformer


@dataclass(frozen=True, eq=False, kw_only=True)
class LensReading:
    """A lens on a text; "layer" counts the stream before each block, and at last what the model itself gives.

    Attributes:
        lens: its kind.
        tokens: the text's tokens.
        positions: where it was read.
        target: the token whose probability and rank are followed, at each position.
        top: ids of the likeliest next tokens.
        probabilities: theirs.
        followed: probability of the target.
        ranks: rank of the target, 1 for the likeliest.
        divergence: KL(model ‖ lens), in nats.
        vocabulary: texts of the tokens named here, by id.
    """

    lens: str
    tokens: tuple[str, ...]
    positions: tuple[int, ...]
    target: Int[Tensor, " positions"]
    top: Int[Tensor, "layers positions k"]
    probabilities: Float[Tensor, "layers positions k"]
    followed: Float[Tensor, "layers positions"]
    ranks: Int[Tensor, "layers positions"]
    divergence: Float[Tensor, "layers positions"]
    vocabulary: dict[int, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rows = [
            {
                "layer": layer_name(layer),
                "position": position,
                "top": [
                    {"token": self.vocabulary[int(token)], "probability": float(p)}
                    for token, p in zip(self.top[layer, at], self.probabilities[layer, at], strict=True)
                ],
                "target": {
                    "token": self.vocabulary[int(self.target[at])],
                    "probability": float(self.followed[layer, at]),
                    "rank": int(self.ranks[layer, at]),
                },
                "kl": float(self.divergence[layer, at]),
            }
            for layer in range(len(self.top))
            for at, position in enumerate(self.positions)
        ]
        return {"lens": self.lens, "tokens": list(self.tokens), "reading": rows}


@torch.no_grad()
def read_lens(
    model: Transformer,
    lens: Lens,
    ids: Sequence[int],
    positions: Sequence[int] = (-1,),
    target: int | None = None,
    k: int = 5,
) -> LensReading:
    """Read a text by a lens.

    Args:
        ids: the text.
        positions: where; negative ones count from the end.
        target: a token to follow; None for the one that the model finds likeliest at each position.
        k: tokens to list.

    Raises:
        InputError: a lens of another model.
    """
    lens.require_fit(model)
    tokens = torch.tensor([list(ids)], device=model.device)
    where = [position % len(ids) for position in positions]
    sites = stream_sites(model)
    streams = model.activations(tokens, sites)
    final = model(tokens)[0, where].float().log_softmax(-1)
    followed = final.argmax(-1) if target is None else torch.full((len(where),), target, device=final.device)
    found: list[tuple[Tensor, ...]] = []
    for layer, site in enumerate(sites):
        logs = lens.logits(model, streams[site][0, where], layer).float().log_softmax(-1)
        logs = final if layer == model.n_layers else logs
        best = logs.topk(k)
        own = logs.gather(1, followed[:, None])
        kl = (final.exp() * (final - logs)).sum(-1)
        found.append((best.indices, best.values.exp(), own[:, 0].exp(), (logs > own).sum(1) + 1, kl.clamp_min(0)))
    top, probabilities, own, ranks, divergence = (torch.stack(part).cpu() for part in zip(*found, strict=True))
    named = sorted({*top.flatten().tolist(), *followed.tolist()})
    return LensReading(
        lens=lens.kind,
        tokens=tuple(model.tokenizer.tokens(ids)),
        positions=tuple(where),
        target=followed.cpu(),
        top=top,
        probabilities=probabilities,
        followed=own,
        ranks=ranks,
        divergence=divergence,
        vocabulary=dict(zip(named, model.tokenizer.tokens(named), strict=True)),
    )
