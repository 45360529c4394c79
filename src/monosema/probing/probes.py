"""Kinds of probes, an open list: each is fitted on rows and labels, and scores rows.

==================  ================================================================================================
logistic            p = σ(⟨w, x⟩ + b) with a penalty on ‖w‖² (Alain & Bengio 2016, arXiv:1610.01644)
mass-mean           w = mean of class 1 − mean of class 0 (Marks & Tegmark 2023, arXiv:2310.06824)
k-sparse            logistic on the k latents whose means differ most, in their deviations (Gurnee et al. 2023,
                    arXiv:2305.01610)
principal           logistic on the first k principal components: the control of k-sparse
attention-pooled    logistic on Σ_p softmax_p(⟨q, x_p⟩) x_p over a text's tokens, q learned
==================  ================================================================================================

Rows are standardised by those that are fitted on. Probabilities of mass-mean are a logistic curve in its one number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from monosema.core import derive_seed
from monosema.probing.features import Words

Rows = Float[np.ndarray, "n width"]
Labels = Int[np.ndarray, " n"]
Shares = Float[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class Fitted:
    """A probe.

    Attributes:
        probability: from rows to the probability of class 1.
        direction: of the rows' own space, along which the probe reads; None where it reads along none of it.
    """

    probability: Callable[[Rows], Float[np.ndarray, " n"]]
    direction: Float[Tensor, " width"] | None


@runtime_checkable
class Probe(Protocol):
    """A kind of probe with settings to choose from."""

    @property
    def settings(self) -> tuple[float, ...]:
        """Values of the one setting; the one that does best by cross-validation is taken."""
        ...

    def fit(self, x: Rows, y: Labels, setting: float) -> Fitted:
        """Fit to rows."""
        ...


def _logistic(x: Rows, y: Labels, c: float) -> tuple[Float[np.ndarray, " width"], float]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=c, max_iter=500).fit(x, y)
    return model.coef_[0], float(model.intercept_[0])


def _sigmoid(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -50, 50))))


def _scales(x: Rows) -> tuple[Float[np.ndarray, " width"], Float[np.ndarray, " width"]]:
    deviation = x.std(0)
    return x.mean(0), np.where(deviation > 1e-8, deviation, 1)


@dataclass(frozen=True)
class Logistic:
    """Logistic regression; the setting is C, the inverse of the penalty's weight."""

    settings: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)

    def fit(self, x: Rows, y: Labels, setting: float) -> Fitted:
        """Fit to rows."""
        mean, scale = _scales(x)
        w, b = _logistic((x - mean) / scale, y, setting)
        w = w / scale
        return Fitted(lambda new: _sigmoid((new - mean) @ w + b), torch.from_numpy(w.astype(np.float32)))


@dataclass(frozen=True)
class MassMean:
    """The difference of means; it has no setting."""

    settings: tuple[float, ...] = (0.0,)

    def fit(self, x: Rows, y: Labels, setting: float) -> Fitted:
        """Fit to rows."""
        direction = x[y == 1].mean(0) - x[y == 0].mean(0)
        read = x @ direction
        mean, scale = _scales(read[:, None])
        w, b = _logistic((read[:, None] - mean) / scale, y, 1.0)
        return Fitted(
            lambda new: _sigmoid((new @ direction - mean[0]) / scale[0] * w[0] + b),
            torch.from_numpy(direction.astype(np.float32)),
        )


@dataclass(frozen=True)
class Sparse:
    """Logistic regression on k columns, those whose means differ most; the setting is k."""

    settings: tuple[float, ...] = (1.0, 4.0, 16.0)

    def fit(self, x: Rows, y: Labels, setting: float) -> Fitted:
        """Fit to rows."""
        mean, scale = _scales(x)
        apart = np.abs(x[y == 1].mean(0) - x[y == 0].mean(0)) / scale
        kept = np.argsort(-apart, kind="stable")[: int(setting)]
        w, b = _logistic((x[:, kept] - mean[kept]) / scale[kept], y, 1.0)
        return Fitted(lambda new: _sigmoid((new[:, kept] - mean[kept]) / scale[kept] @ w + b), None)


@dataclass(frozen=True)
class Principal:
    """Logistic regression on the first k principal components; the setting is k."""

    settings: tuple[float, ...] = (1.0, 4.0, 16.0)

    def fit(self, x: Rows, y: Labels, setting: float) -> Fitted:
        """Fit to rows."""
        from sklearn.decomposition import PCA

        pca = PCA(n_components=min(int(setting), *x.shape), random_state=0).fit(x)
        mean, scale = _scales(pca.transform(x))
        w, b = _logistic((pca.transform(x) - mean) / scale, y, 1.0)
        direction = torch.from_numpy(((w / scale) @ pca.components_).astype(np.float32))
        return Fitted(lambda new: _sigmoid((pca.transform(new) - mean) / scale @ w + b), direction)


PROBES: dict[str, Probe] = {"logistic": Logistic(), "mass-mean": MassMean(), "principal": Principal()}
"""Probes of activations, by name."""
LATENT_PROBES: Mapping[str, Probe] = {"k-sparse": Sparse()}
"""Probes of a dictionary's latents."""


def register_probe(name: str, probe: Probe) -> None:
    """Add a kind of probe of your own."""
    PROBES[name] = probe


def fit_pooled(words: Words, y: Labels, decay: float, seed: int = 0, steps: int = 150) -> Callable[[Words], Shares]:
    """Learn an attention-pooled probe by Adam; returns the function from texts to probabilities of class 1."""
    x, goal = words.x, torch.from_numpy(y.astype(np.float32))
    mean = x[words.mask].mean(0)
    scale = x[words.mask].std(0).clamp_min(1e-6)
    width = x.shape[2]
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "attention-pooled probe"))
        query, read = nn.Linear(width, 1, bias=False), nn.Linear(width, 1)
    nn.init.zeros_(query.weight)

    def logits(given: Words) -> Tensor:
        rows = (given.x - mean) / scale
        weights = query(rows)[..., 0].masked_fill(~given.mask, -torch.inf).softmax(1)
        return read(torch.einsum("np,npd->nd", weights, rows))[:, 0]

    optimiser = torch.optim.AdamW([*query.parameters(), *read.parameters()], lr=0.01, weight_decay=decay)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(logits(words), goal).backward()
        optimiser.step()

    def probability(given: Words) -> Shares:
        with torch.no_grad():
            return logits(given).sigmoid().numpy().astype(np.float64)

    return probability
