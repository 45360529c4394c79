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

from monosema.circuits.contrast import Contrasts
from monosema.core import InputError, Site, torch_generator
from monosema.dictionaries import Dictionary
from monosema.models import Fork, LanguageModel, unembed_of

Selection = tuple[int, ...]
"""Latents that are patched."""


@dataclass(frozen=True, eq=False)
class Patched:
    """A run with some latents patched.

    Attributes:
        x: activations at the site, x′.
        divergence: KL(all patched ‖ run) of each prompt, in nats.
    """

    x: Float[Tensor, "n pos d"]
    divergence: Float[Tensor, " n"]

    @property
    def mean(self) -> float:
        """The divergence, the mean over prompts."""
        return float(self.divergence.mean())


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
        self._fork, other = (Fork(model, site, tokens, self._within) for tokens in (clean, corrupt))
        self._unembed = unembed_of(model, site)
        before, after = (dictionary.encode(fork.activation.float()).dense() for fork in (self._fork, other))
        change = torch.where(self._within.unsqueeze(-1), after - before, 0)
        self.latents: Int[Tensor, " m"] = change.flatten(0, 1).abs().amax(0).nonzero().flatten()
        if not len(self.latents):
            raise InputError(
                f"No latent differs between clean and corrupted prompts at {site.short}: try a later layer."
            )
        self._change = change[..., self.latents]
        self._directions = dictionary.directions.detach()[self.latents].float()
        self.corrupt = self._logs(None, fork=other)
        self.clean, self.all_patched = self._logs(None), self._logs(self._x(self.every))

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

    @torch.no_grad()
    def patched(self, kept: Bool[Tensor, " m"]) -> Patched:
        """Return the run with these latents patched."""
        x = self._x(kept)
        return Patched(x, _divergence(self.all_patched, self._logs(x)))

    @torch.no_grad()
    def without(self, patched: Patched, place: int) -> Patched:
        """Return the run with the latent at this place of `latents` no longer patched.

        Prompts on which its codes don't differ stay as they are, so a sparse latent costs few of them.
        """
        change = self._change[..., place]
        rows = change.any(1).nonzero().flatten()
        fewer = patched.x[rows] - change[rows].unsqueeze(-1) * self._directions[place]
        left = _divergence(self.all_patched[rows], self._logs(fewer, rows))
        return Patched(patched.x.index_copy(0, rows, fewer), patched.divergence.index_copy(0, rows, left))

    @torch.no_grad()
    def run(self, kept: Bool[Tensor, " m"]) -> tuple[Float[Tensor, "n vocab"], Float[Tensor, " n"]]:
        """Return log-probabilities with these latents patched, and ‖x′ − x‖, the mean over a prompt's positions."""
        x = self._x(kept)
        sizes = torch.where(self._within, (x - self._fork.activation.float()).norm(dim=-1), 0)
        return self._logs(x), sizes.sum(1) / self._within.sum(1)

    def _x(self, kept: Bool[Tensor, " m"]) -> Float[Tensor, "n pos d"]:
        return self._fork.activation.float() + self._change[..., kept] @ self._directions[kept]

    def _logs(
        self, version: Tensor | None, rows: Tensor | None = None, fork: Fork | None = None
    ) -> Float[Tensor, "some vocab"]:
        (out,) = (fork or self._fork).run([version], rows, last=True)
        logits = out[:, -1] if self._unembed is None else self._unembed(out[:, -1])
        return logits.float().log_softmax(-1)


def identify(
    patching: Patching, thresholds: Sequence[float], seed: int = 0, found: Sequence[Selection] = ()
) -> Iterator[Selection]:
    """Give what is left at each of rising thresholds, after the selection of all.

    What was kept is not tried again before something has been dropped, since the outcome is known.

    Args:
        seed: of the orders in which latents are tried.
        found: selections that were given before, from the first on; goes on behind them.
    """
    kept, known = patching.every, dict[int, float]()
    if not found:
        yield patching.selection(kept)
    elif len(found) > 1:
        kept = patching.mask(found[-1])
    for number, threshold in list(enumerate(sorted(thresholds)))[max(0, len(found) - 1) :]:
        generator = torch_generator(seed, "feature identification", number)
        now, places = patching.patched(kept), kept.nonzero().flatten()
        for place in places[torch.randperm(len(places), generator=generator).to(places.device)].tolist():
            if place not in known or known[place] - now.mean < threshold:
                fewer = patching.without(now, place)
                known[place] = fewer.mean
                if fewer.mean - now.mean < threshold:
                    kept[place], now, known = False, fewer, {}
        yield patching.selection(kept)


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
