"""Latents of a crosscoder over two models: those that are shared, and those that belong to one model.

By norms (Lindsey et al. 2024, "Sparse Crosscoders for Cross-Layer Features and Model Diffing", Transformer Circuits):
s_j = ‖d_j²‖ / (‖d_j¹‖ + ‖d_j²‖), where d_jᵐ is what latent j adds to model m in training units; over several sites
norms are summed. Below 0.1 it is the first model's alone, above 0.9 the second's, from 0.4 to 0.6 shared.

Norms can deceive (Minder et al. 2025, "Overcoming Sparsity Artifacts in Crosscoders to Interpret Chat-Tuning",
arXiv:2504.02922): an L1 penalty makes the weaker of two rows 0 although the latent is in both models (complete
shrinkage), or several latents share a concept that is in both (latent decoupling). Their answers are BatchTopK, the
activation ``batch_topk``, and latent scaling (see `latent_scaling`): here a latent of one model is confirmed where both
of its ratios are small, ν_ε < 0.2 and ν_r < 0.5.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import CorpusError
from monosema.dictionaries import SparseCoder, share_of_other
from monosema.evaluation.latent_scaling import latent_scaling

EXCLUSIVE, SHARED = 0.1, 0.1
"""Largest distance of an exclusive latent's share from 0 or 1, and of a shared latent's from ½."""
ERROR_RATIO, RECONSTRUCTION_RATIO = 0.2, 0.5
"""Both ratios of a confirmed latent are below these."""
BINS = 40


@dataclass(frozen=True)
class ModelLatent:
    """A latent that belongs to one model by the norms of its decoder rows.

    Attributes:
        latent: its number.
        model: 1 or 2.
        share: s, the second model's share of its norms.
        error_ratio, reconstruction_ratio: ν_ε and ν_r; None where the latent explains nothing of its own model.
        n: rows on which it is active.
    """

    latent: int
    model: int
    share: float
    error_ratio: float | None
    reconstruction_ratio: float | None
    n: int

    @property
    def confirmed(self) -> bool:
        """True if latent scaling says so too."""
        return (
            self.error_ratio is not None
            and self.reconstruction_ratio is not None
            and self.error_ratio < ERROR_RATIO
            and self.reconstruction_ratio < RECONSTRUCTION_RATIO
        )


@dataclass(frozen=True)
class ModelDifference:
    """Division of a crosscoder's latents between two models; of those that are active on held-out rows.

    Attributes:
        models: names of both.
        rows: held-out rows that were looked at.
        active: latents that are active on any of them.
        shared: of these, with a share near ½.
        between: neither shared nor of one model.
        exclusive: of one model.
        fvu: of each model, on these rows.
        histogram: active latents by share, in bins of equal width from 0 to 1.
    """

    models: tuple[str, str]
    rows: int
    active: int
    shared: int
    between: int
    exclusive: tuple[ModelLatent, ...]
    fvu: tuple[float, float]
    histogram: tuple[int, ...]

    def of(self, model: int, *, confirmed: bool = False) -> tuple[ModelLatent, ...]:
        """The latents of model 1 or 2 alone; only those that latent scaling confirms."""
        return tuple(one for one in self.exclusive if one.model == model and (one.confirmed or not confirmed))

    @property
    def sentence(self) -> str:
        """The result in a sentence."""
        of = [f"{len(self.of(m)):,} to {name} alone ({len(self.of(m, confirmed=True)):,})" for m, name in self._named]
        return (
            f"Of {self.active:,} latents that are active on {self.rows:,} held-out rows, {self.shared:,} belong to "
            f"both models by the norms of their decoder rows, {of[0]}, {of[1]}, {self.between:,} lie between; in "
            "brackets how many of these latent scaling confirms."
        )

    @property
    def _named(self) -> list[tuple[int, str]]:
        return [(1, self.models[0]), (2, self.models[1])]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        counts = {f"model_{m}": len(self.of(m)) for m, _ in self._named}
        sure = {f"model_{m}_confirmed": len(self.of(m, confirmed=True)) for m, _ in self._named}
        return {**asdict(self), "counts": counts | sure, "sentence": self.sentence}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelDifference:
        """Read what `to_dict` gave."""
        rest = {name: value for name, value in values.items() if name not in ("counts", "sentence", "exclusive")}
        rest |= {name: tuple(value) for name, value in rest.items() if isinstance(value, list)}
        return cls(**rest, exclusive=tuple(ModelLatent(**one) for one in values["exclusive"]))


@torch.inference_mode()
def model_difference(
    crosscoder: SparseCoder, rows: Float[Tensor, "n d_in"], models: tuple[str, str], block: int = 4096
) -> ModelDifference:
    """Divide the latents between two models, on held-out rows of activations of both.

    Args:
        crosscoder: over as many sites of one model as of the other, as its metadata says.
        rows: sites side by side, in the models' own units.
        models: what they are called.
        block: rows in memory at a time.

    Raises:
        ConfigError: the metadata does not name sites of two models, or not as many of each.
        CorpusError: there are no rows.
    """
    if not len(rows):
        raise CorpusError("There are no held-out rows to compare two models on: give more text.")
    share = share_of_other(crosscoder)
    scaling = latent_scaling(crosscoder, rows, block)
    alive = scaling.n > 0
    near = (share - 0.5).abs() <= SHARED
    alone = (share < EXCLUSIVE) | (share > 1 - EXCLUSIVE)
    exclusive = tuple(
        ModelLatent(
            latent,
            1 + int(share[latent] > 0.5),
            float(share[latent]),
            _known(scaling.error_ratio[latent]),
            _known(scaling.reconstruction_ratio[latent]),
            int(scaling.n[latent]),
        )
        for latent in (alive & alone).nonzero().flatten().tolist()
    )
    counts = torch.histc(share[alive].float(), bins=BINS, min=0, max=1)
    return ModelDifference(
        models,
        rows=len(rows),
        active=int(alive.sum()),
        shared=int((alive & near).sum()),
        between=int((alive & ~near & ~alone).sum()),
        exclusive=exclusive,
        fvu=scaling.fvu,
        histogram=tuple(int(count) for count in counts.tolist()),
    )


def _known(value: Tensor) -> float | None:
    return float(value) if bool(torch.isfinite(value)) else None
