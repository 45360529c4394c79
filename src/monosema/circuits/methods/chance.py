"""Random scores: the control of all methods."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from monosema.circuits.ablations import Ablation
from monosema.circuits.contrast import Contrasts
from monosema.circuits.methods.method import Part, Passes, Said, register_method, score_parts
from monosema.circuits.metrics import Metric
from monosema.circuits.running import ROW_BYTES
from monosema.circuits.scores import EdgeScores
from monosema.core import torch_generator
from monosema.models import Transformer


@dataclass(frozen=True)
class Chance:
    """Scores drawn from a normal distribution, the same for all prompts."""

    name: str = "random"
    about: str = "drawn at random: the control"
    seed: int = 0

    def __call__(
        self,
        model: Transformer,
        contrasts: Contrasts,
        ablation: Ablation,
        metric: Metric,
        *,
        row_bytes: int = ROW_BYTES,
        said: Said = lambda _: None,
    ) -> EdgeScores:
        """Draw the scores."""

        def drawn(part: Part) -> torch.Tensor:
            one = torch.randn(part.graph.allowed.shape, generator=torch_generator(self.seed, "random scores"))
            return one.expand(len(part.contrast), -1, -1)

        passes = Passes(forward=0.0)
        return score_parts(self.name, drawn, lambda _: passes, model, contrasts, ablation, metric, row_bytes)


register_method(Chance())
