"""Optimal ablation: the constants that take the least off the model, in the place of what writers add.

    a* = argmin_a  E KL(P ‖ P_a),    P: the model's answer,    P_a: with the constants a of a random set of writers

(Li & Janson 2024, arXiv:2409.09951.) What a model loses by them is what it needed to know of the prompt, and nothing of
the harm that values it has never computed do besides. Departures: one vector for each writer and position, as means
have, fitted for all writers together on sets of every size, where the published one is fitted for a component, or a
circuit, at a time; so it is near the least for each set, not the least. Constants are fitted on the corrupted prompts,
as means are taken of them: fitted on the prompts that they stand in on, those of a few prompts would say their answers.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.circuits.ablations import Mean, StandIns, register_ablation
from monosema.circuits.contrast import Contrast
from monosema.circuits.contributions import contributions, exchanged
from monosema.circuits.graph import component_graph
from monosema.circuits.memory import contribution_bytes, forward_bytes, rows_within
from monosema.circuits.metrics import last_logits
from monosema.core import InputError, torch_generator
from monosema.models import Transformer


class Optimal(Mean):
    """Constants fitted by Adam, from the means of the prompts on.

    Attributes:
        steps, rate: of Adam; the rate is in units of each writer's own size.
    """

    name = "optimal"

    def __init__(self, steps: int = 60, rate: float = 0.02, seed: int = 0) -> None:
        self.steps, self.rate, self.seed = steps, rate, seed
        self._model: Transformer | None = None
        self._fitted = dict[tuple[int, ...], Tensor]()

    def values(
        self, clean: Float[Tensor, "n ..."], corrupt: Float[Tensor, "n ..."], contrast: Contrast
    ) -> Float[Tensor, "n ..."]:
        """Refuse: constants are fitted for writers of a circuit. Raises InputError."""
        raise InputError("The ablation optimal is one of circuits' edges: patch a place by resample, mean or zero.")

    def stand_ins(self, model: Transformer, group: Contrast) -> StandIns:
        """Give the constants, which are fitted once for a group."""
        if self._model is not model:
            self._model, self._fitted = model, {}
        key = (len(group), *group.corrupt.flatten().tolist())
        if key not in self._fitted:
            self._fitted[key] = self._fit(model, group)
        constants = self._fitted[key]
        return lambda part: constants.expand(-1, len(part), -1, -1)

    def _fit(self, model: Transformer, group: Contrast) -> Float[Tensor, "w 1 pos d_model"]:
        graph, length = component_graph(model), group.corrupt.shape[1]
        rows = rows_within(6 * contribution_bytes(model, length) + forward_bytes(model, length, kept=True))
        generator = torch_generator(self.seed, "optimal ablation")
        own = contributions(model, group[:rows].corrupt)
        start, size = own.mean(1, keepdim=True), own.square().mean((1, 2, 3), keepdim=True).sqrt()
        shift = torch.zeros_like(start, requires_grad=True)
        adam = torch.optim.Adam([shift], lr=self.rate)
        for _ in range(self.steps):
            some = torch.randperm(len(group), generator=generator)[:rows].to(group.corrupt.device)
            # Sets of every size, from one writer to all.
            writers = len(graph.writers)
            n = int(torch.randint(1, writers + 1, (), generator=generator))
            replaced = torch.randperm(writers, generator=generator) < n
            tokens, exchange = group.corrupt[some], (graph.allowed & replaced[:, None]).float()[None].to(model.device)
            with torch.no_grad():
                whole = last_logits(model, tokens).float().log_softmax(-1)
            with torch.enable_grad():
                constants = (start + size * shift).expand(-1, len(tokens), -1, -1)
                with exchanged(model, graph, exchange, constants):
                    left = last_logits(model, tokens).float().log_softmax(-1)
                (whole.exp() * (whole - left)).sum(-1).mean().backward()
            adam.step()
            adam.zero_grad()
        return (start + size * shift).detach()


register_ablation(Optimal())
