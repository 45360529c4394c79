"""TCAV: whether a concept's direction moves an answer (Kim et al. 2018, arXiv:1711.11279).

    score = share of texts with ⟨∂(logit_answer − logit_other)/∂x, v⟩ > 0,     v: a concept's direction at a site

x is the activation at the text's last token. v is fitted on half of the texts, drawn anew each time, and the score
stands beside those of as many directions fitted to labels in random order: a concept counts where the two samples of
scores differ, by Mann and Whitney's test: the paper's t-test has no meaning where all scores are 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import Site, numpy_generator
from monosema.models import Transformer
from monosema.models.context import padded
from monosema.probing.examples import Examples
from monosema.probing.features import last_activations
from monosema.probing.probes import Logistic

DRAWS = 20


@dataclass(frozen=True, kw_only=True)
class Tcav:
    """A concept's effect on an answer at one site.

    Attributes:
        site: where.
        scores: of the concept's directions.
        random: of directions fitted to labels in random order.
        p: of Mann and Whitney's test.
    """

    site: Site
    scores: tuple[float, ...]
    random: tuple[float, ...]
    p: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "site": self.site.short,
            "score": float(np.mean(self.scores)),
            "random": float(np.mean(self.random)),
            "p": self.p,
            "draws": len(self.scores),
        }


def tcav(
    model: Transformer, examples: Examples, sites: Sequence[Site], answer: int, other: int, seed: int = 0
) -> list[Tcav]:
    """Measure a concept's effect on the texts of the test.

    Args:
        answer, other: tokens whose logits are compared.
    """
    from scipy.stats import mannwhitneyu

    fit, y = np.flatnonzero(~examples.test), examples.labels
    rows = last_activations(model, sites, examples.texts)
    held = [text for text, aside in zip(examples.texts, examples.test, strict=True) if aside]
    found = []
    for site in sites:
        gradients, x = answer_gradients(model, site, held, answer, other), rows[site].double().numpy()
        scores: tuple[list[float], list[float]] = ([], [])
        for draw in range(DRAWS):
            generator = numpy_generator(seed, f"tcav {draw}")
            half = generator.permutation(fit)[: len(fit) // 2]
            for labels, kept in ((y[half], scores[0]), (generator.permutation(y[half]), scores[1])):
                direction = Logistic().fit(x[half], labels, 0.01).direction
                assert direction is not None
                kept.append(float((gradients @ direction > 0).float().mean()))
        p = float(mannwhitneyu(*scores).pvalue)
        found.append(Tcav(site=site, scores=tuple(scores[0]), random=tuple(scores[1]), p=p))
    return found


def answer_gradients(
    model: Transformer, site: Site, texts: Sequence[str], answer: int, other: int
) -> Float[Tensor, "n width"]:
    """Return the gradient of the logit difference by the activation at each text's last token."""
    found = []
    for first in range(0, len(texts), 32):
        part = model.tokenizer.encode_batch(list(texts[first : first + 32]))
        ids = padded(part, 0).to(model.device)
        at = (torch.arange(len(part), device=ids.device), torch.tensor([len(row) - 1 for row in part]).to(ids.device))
        with torch.enable_grad(), model.edit(site, lambda x: x.detach().requires_grad_()):
            with model.capture(site, gradients=True) as kept:
                final = model.final_residual(ids)[at]
            logits = model.logits(final)
            (gradient,) = torch.autograd.grad((logits[:, answer] - logits[:, other]).sum(), kept[site])
        found.append(gradient.flatten(2)[at].float().cpu())
    return torch.cat(found)
