"""Random scores: the control of all methods."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from monosema.circuits.methods.method import Part, Problem, Said, register_method, silent
from monosema.circuits.scores import EdgeScores
from monosema.core import torch_generator


@dataclass(frozen=True)
class Chance:
    """Scores drawn from a normal distribution, the same for all prompts."""

    name: str = "random"
    about: str = "drawn at random: the control"
    seed: int = 0

    def __call__(self, problem: Problem, said: Said = silent) -> EdgeScores:
        """Draw the scores."""

        def drawn(part: Part) -> torch.Tensor:
            one = torch.randn(part.graph.allowed.shape, generator=torch_generator(self.seed, "random scores"))
            return one.expand(len(part.contrast), -1, -1)

        return problem.scored(self.name, drawn, 0)


register_method(Chance())
