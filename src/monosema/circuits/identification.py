"""Feature identification: how few features, and how small an edit, carry an answer over from one prompt to another.

    x′ = x + Σ_{j∈F} (c̄_j − c_j) f_j      at all positions of one site, what the dictionary leaves out kept

c and c̄ are the codes on the clean and on the corrupted prompt. F begins with all features that differ. For rising
thresholds τ each feature of F, in random order, is dropped where that raises KL(all patched ‖ F patched) at the last
token by less than τ, the mean over prompts (Cunningham et al. 2023, arXiv:2309.08600, § 4, after Conmy et al. 2023).
What is left at each τ is a selection.

A dictionary that reconstructs little changes little when all is patched, and comes half of that way with few features.
So each run is also compared with the corrupted run itself, which is the same for all dictionaries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from monosema.circuits.continuation import Continuation
from monosema.circuits.contrast import Contrasts
from monosema.circuits.dropping import Dropping
from monosema.core import InputError, Site, torch_generator
from monosema.dictionaries import Dictionary
from monosema.models import LanguageModel

Selection = tuple[int, ...]
"""Latents that are patched."""


class Patching:
    """A model on clean prompts, with the codes of chosen latents taken from the corrupted ones.

    Prompts of unlike length are one batch, filled up on the left, so that all end in one column.

    Attributes:
        latents: those whose codes differ on any prompt.
        all_patched, corrupt, clean: log-probabilities after the last token: of the model with all latents patched, and
            of the untouched model on both kinds of prompts.
    """

    @torch.no_grad()
    def __init__(self, model: LanguageModel, site: Site, contrasts: Contrasts, dictionary: Dictionary) -> None:
        most = max(group.clean.shape[1] for group in contrasts)
        clean, corrupt = (
            torch.cat([_filled(getattr(group, kind), most) for group in contrasts]) for kind in ("clean", "corrupt")
        )
        lengths = torch.cat([torch.full((len(group),), group.clean.shape[1]) for group in contrasts]).to(model.device)
        self._within = torch.arange(most, device=model.device) >= most - lengths.unsqueeze(1)
        self._going, other = (Continuation(model, site, tokens, self._within) for tokens in (clean, corrupt))
        before, after = (dictionary.encode(one.activation.float()).dense() for one in (self._going, other))
        change = torch.where(self._within.unsqueeze(-1), after - before, 0)
        self.latents: Int[Tensor, " m"] = change.flatten(0, 1).abs().amax(0).nonzero().flatten()
        if not len(self.latents):
            raise InputError(
                f"No latent differs between clean and corrupted prompts at {site.short}: try a later layer."
            )
        self._change = change[..., self.latents]
        self._directions = dictionary.directions.detach()[self.latents].float()
        self.corrupt, self.clean = other.settle(other.activation), self._going.settle(self._going.activation)
        self.all_patched = self._going.settle(self._x(self.every))

    @property
    def every(self) -> Bool[Tensor, " m"]:
        """The mask of all latents that differ."""
        return torch.ones(len(self.latents), dtype=torch.bool, device=self.latents.device)

    def mask(self, selection: Selection) -> Bool[Tensor, " m"]:
        """Return the mask of a selection; latents of it that do not differ on these prompts change nothing."""
        return torch.isin(self.latents, torch.tensor(selection, dtype=torch.int64, device=self.latents.device))

    def selection(self, mask: Bool[Tensor, " m"]) -> Selection:
        """Return the latents of a mask."""
        return tuple(self.latents[mask].tolist())

    def dropping(self, kept: Bool[Tensor, " m"]) -> Dropping:
        """Begin with these latents patched, to drop some of them."""
        return Dropping(self._going, self._change, self._directions, self.divergence, kept)

    def divergence(self, rows: Int[Tensor, " some"], logs: Float[Tensor, "some vocab"]) -> Float[Tensor, " some"]:
        """Return KL(all patched ‖ run) of some prompts, from the run's log-probabilities, in nats."""
        return _divergence(self.all_patched[rows], logs)

    @torch.no_grad()
    def run(self, kept: Bool[Tensor, " m"]) -> tuple[Float[Tensor, "n vocab"], Float[Tensor, " n"]]:
        """Return log-probabilities with these latents patched, and ‖x′ − x‖, the mean over a prompt's positions."""
        x = self._x(kept)
        sizes = torch.where(self._within, (x - self._going.activation.float()).norm(dim=-1), 0)
        return self._going.settle(x), sizes.sum(1) / self._within.sum(1)

    def _x(self, kept: Bool[Tensor, " m"]) -> Float[Tensor, "n pos d"]:
        return self._going.activation.float() + self._change[..., kept] @ self._directions[kept]


def identify(
    patching: Patching, thresholds: Sequence[float], seed: int = 0, found: Sequence[Selection] = ()
) -> Iterator[Selection]:
    """Give what is left at each of rising thresholds, after the selection of all.

    Args:
        seed: of the orders in which latents are tried.
        found: selections that were given before, from the first on; goes on behind them.
    """
    kept = patching.every if len(found) < 2 else patching.mask(found[-1])
    if not found:
        yield patching.selection(kept)
    dropping = patching.dropping(kept)
    for number, threshold in list(enumerate(sorted(thresholds)))[max(0, len(found) - 1) :]:
        generator = torch_generator(seed, "feature identification", number)
        places = dropping.kept.nonzero().flatten()
        order = torch.randperm(len(places), generator=generator).to(places.device)
        dropping.below(threshold, places[order].tolist())
        yield patching.selection(dropping.kept)


@dataclass(frozen=True, eq=False, kw_only=True)
class Path:
    """Selections of falling size, measured on prompts.

    Attributes:
        sizes: latents patched.
        divergence: KL(all patched ‖ run), in nats.
        distance: KL(corrupted ‖ run), in nats.
        edit: ‖x′ − x‖, the mean over positions.
    """

    sizes: Int[Tensor, " selections"]
    divergence: Float[Tensor, "selections n"]
    distance: Float[Tensor, "selections n"]
    edit: Float[Tensor, "selections n"]


def measure(patching: Patching, selections: Sequence[Selection]) -> Path:
    """Measure selections, on the prompts they were found with or on others."""
    divergences, distances, edits = [], [], []
    for selection in selections:
        logs, edit = patching.run(patching.mask(selection))
        divergences.append(_divergence(patching.all_patched, logs))
        distances.append(_divergence(patching.corrupt, logs))
        edits.append(edit)
    return Path(
        sizes=torch.tensor([len(selection) for selection in selections]),
        divergence=torch.stack(divergences),
        distance=torch.stack(distances),
        edit=torch.stack(edits),
    )


def _divergence(of: Float[Tensor, "n vocab"], logs: Float[Tensor, "n vocab"]) -> Float[Tensor, " n"]:
    return (of.exp() * (of - logs)).sum(-1).clamp_min(0)


def _filled(tokens: Int[Tensor, "n pos"], most: int) -> Int[Tensor, "n most"]:
    return torch.nn.functional.pad(tokens, (most - tokens.shape[1], 0))
