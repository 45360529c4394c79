"""Optimisers, behind one small interface for the trainer.

adam        Kingma and Ba 2014, fused, whose mean squares have a floor where no ε is given (`floored_adam`)
sign_sgd    SignSGD (Bernstein et al. 2018, arXiv:1802.04434), schedule-free (Defazio et al. 2024, arXiv:2405.15682)
muon        Jordan et al. 2024 for matrices (`monosema.training.muon`); Adam for vectors
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from monosema.core import ConfigError
from monosema.training.config import TrainConfig
from monosema.training.distribution import Mesh
from monosema.training.floored_adam import EPSILON, FlooredAdam
from monosema.training.muon import Muon

BETA1 = {"adam": 0.7, "sign_sgd": 0.9, "muon": 0.9}
"""β₁ where the configuration gives none. Adam's usual 0.9 overshoots in short runs, and carries a latent that fired
once for ten steps more; metrics are in benchmarks/results/frontier.md."""


class ScheduleFreeSign(torch.optim.Optimizer):
    """SignSGD with schedule-free averaging.

        z ← z − γ sign ∇f(y),   x ← (1 − c) x + c z,   y = (1 − β) z + β x,   c = γ² / Σ γ²

    The parameters hold y while training; `settle` puts x, the average, in their place. z is kept, and x follows from
    both, so that what is done to the parameters between steps, such as norms, reaches the average too. The learning
    rate rises and then stays: the average takes the place of its fall.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, beta: float) -> None:
        """Take parameters, which hold y from now on."""
        super().__init__(parameters, {"lr": lr, "beta": beta})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Make one step along the signs of the gradients."""
        for group in self.param_groups:
            rate, beta = group["lr"], group["beta"]
            for y in group["params"]:
                if y.grad is None:
                    continue
                state = self.state[y]
                if not state:
                    state["z"] = y.detach().clone()
                    state["squares"] = torch.zeros((), dtype=torch.float64)
                state["squares"] += rate**2
                share = rate**2 / float(state["squares"])
                sign = y.grad.sign()
                y.lerp_(state["z"], share)
                y.add_(sign, alpha=rate * (beta * (1 - share) - 1))
                state["z"].sub_(sign, alpha=rate)

    @torch.no_grad()
    def settle(self) -> None:
        """Put the average in the place of the parameters; no step may follow."""
        for group in self.param_groups:
            for y in group["params"]:
                if self.state[y]:
                    y.lerp_(self.state[y]["z"], 1 - 1 / group["beta"])


class Optimisers:
    """The optimisers of one dictionary's parameters, as one.

    Attributes:
        parameters: the parameters that they change.
        falls: True where the learning rate falls at the end.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        config: TrainConfig,
        lr: float,
        mesh: Mesh | None = None,
    ) -> None:
        """Make the optimisers of parameters whose latents processes may share.

        Args:
            mesh: the processes that share the latents.

        Raises:
            ConfigError: a weight of averages that the optimiser can't use.
        """
        self.parameters = list(parameters)
        self.falls = config.optimiser != "sign_sgd"
        make = _MAKE[config.optimiser]
        self._mesh = mesh or Mesh()
        self._all: list[torch.optim.Optimizer] = make(self.parameters, config, lr, self._mesh)
        owners = {own: one for one in self._all for group in one.param_groups for own in group["params"]}
        self._owners = [(parameter, owners[parameter]) for parameter in self.parameters]

    def step(self, lr: float) -> None:
        """Make one step with a learning rate."""
        with self._mesh.watching():
            for optimiser in self._all:
                for group in optimiser.param_groups:
                    group["lr"] = lr
                optimiser.step()

    def clear(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def forget(self, latents: Int[Tensor, " latents"], n_latents: int) -> None:
        """Clear the state of latents that were given a new start; mean squares with a floor stay."""
        for parameter, owner in self._owners:
            if len(latents) and len(parameter) == n_latents:
                floored = isinstance(owner, FlooredAdam)
                for name, value in owner.state.get(parameter, {}).items():
                    if name == "z":
                        value[latents] = parameter[latents]
                    elif value.shape == parameter.shape and not (floored and name == "exp_avg_sq"):
                        value[latents] = 0

    def settle(self) -> bool:
        """Give the parameters the values to be saved, at the end; return True where these are others."""
        averaging = [optimiser for optimiser in self._all if isinstance(optimiser, ScheduleFreeSign)]
        for optimiser in averaging:
            optimiser.settle()
        return bool(averaging)

    def tensors(self) -> dict[str, Tensor]:
        """Return the whole state, as ``number of the parameter.name``."""
        return {
            f"{number}.{name}": value
            for number, (parameter, owner) in enumerate(self._owners)
            for name, value in owner.state.get(parameter, {}).items()
            if isinstance(value, Tensor)
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Load the state that `tensors` returned."""
        for number, (parameter, owner) in enumerate(self._owners):
            own = {name: value for name, value in tensors.items() if name.startswith(f"{number}.")}
            if own:
                owner.state[parameter] = {
                    name.partition(".")[2]: value if value.dim() == 0 else value.to(parameter.device)
                    for name, value in own.items()
                }


def _beta1(config: TrainConfig) -> float:
    return BETA1[config.optimiser] if config.beta1 is None else config.beta1


def _adam(
    parameters: Sequence[torch.nn.Parameter], config: TrainConfig, lr: float, mesh: Mesh
) -> list[torch.optim.Optimizer]:
    betas = (_beta1(config), config.beta2)
    if config.epsilon is None:
        return [FlooredAdam(parameters, lr, betas, mesh)]
    return [torch.optim.Adam(parameters, lr=lr, betas=betas, eps=config.epsilon, fused=True)]


def _sign_sgd(
    parameters: Sequence[torch.nn.Parameter], config: TrainConfig, lr: float, mesh: Mesh
) -> list[torch.optim.Optimizer]:
    if config.beta1 == 0:
        raise ConfigError("TrainConfig.beta1 = 0 is not valid with sign_sgd: its average needs a weight above 0.")
    return [ScheduleFreeSign(parameters, lr, _beta1(config))]


def _muon(
    parameters: Sequence[torch.nn.Parameter], config: TrainConfig, lr: float, mesh: Mesh
) -> list[torch.optim.Optimizer]:
    matrices = [parameter for parameter in parameters if parameter.dim() == 2]
    vectors = [parameter for parameter in parameters if parameter.dim() != 2]
    muon = Muon(matrices, lr, mesh)
    betas = (_beta1(config), config.beta2)
    adam = torch.optim.Adam(vectors, lr=lr, betas=betas, eps=config.epsilon or EPSILON, fused=True) if vectors else None
    return [muon, *([adam] if adam else [])]


_MAKE: dict[str, Callable[..., list[torch.optim.Optimizer]]] = {"adam": _adam, "sign_sgd": _sign_sgd, "muon": _muon}
