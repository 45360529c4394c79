"""Tokens that a feature makes more, or less, likely: its direction, read through the model's unembedding.

logits(direction_j) = unembed(d_j)      (no bias, no layers in between: the direct effect alone)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from monosema.core import Site, UnsupportedModelError
from monosema.dictionaries import Dictionary
from monosema.models import LanguageModel

_WRITES = ("embed", "pos_embed", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
CELLS = 16_777_216


@dataclass(frozen=True)
class Effects:
    """The tokens with the greatest, and with the least, logit; strongest first.

    Attributes:
        promoted, suppressed: ids.
        promoted_logits, suppressed_logits: the logit at activation 1.
    """

    promoted: Int[np.ndarray, "n_latents k"]
    promoted_logits: Float[np.ndarray, "n_latents k"]
    suppressed: Int[np.ndarray, "n_latents k"]
    suppressed_logits: Float[np.ndarray, "n_latents k"]


def why_no_effects(model: LanguageModel, dictionary: Dictionary, site: Site) -> str | None:
    """Why features of this site have no direct effect on tokens; None if they have.

    Of a module of a foreign model nobody knows whether it writes into the residual stream; if it has its width, it is
    taken to.
    """
    if not site.is_module and site.component not in _WRITES:
        return f"{site.short} does not write into the residual stream, so its directions have no logits"
    try:
        if dictionary.d_out != model.d_model:
            return f"the dictionary writes {dictionary.d_out} values and the residual stream has {model.d_model}"
        model.unembed(torch.zeros(1, model.d_model, device=model.device))
    except UnsupportedModelError as error:
        return str(error)
    return None


@torch.inference_mode()
def direct_effects(model: LanguageModel, dictionary: Dictionary, k: int) -> Effects:
    """Promoted and suppressed tokens of all latents, block by block."""
    directions = dictionary.directions
    step = max(1, CELLS // model.vocab)
    k = min(k, model.vocab)
    columns: list[list[np.ndarray]] = [[], [], [], []]
    for low in range(0, len(directions), step):
        logits = model.unembed(directions[low : low + step].to(model.device)).float()
        for sign, place in ((1, 0), (-1, 2)):
            best = (sign * logits).topk(k, dim=1)
            columns[place].append(best.indices.cpu().numpy())
            columns[place + 1].append((sign * best.values).cpu().numpy())
    return Effects(*(np.concatenate(column) for column in columns))
