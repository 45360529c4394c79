"""Dropping one latent after another where that costs little, as if each was tried alone, at a part of the price.

Latents are tried in a given order. Each is dropped where that raises the mean divergence by less than a threshold, and
the next one is tried on what is left. The outcome is that of trying them one by one; what is saved is work whose
outcome is known, or known well enough:

- A text on which a latent's code does not change, or that is as it was when the latent was tried last, does not run.
- Of a text that runs, only positions from the first changed one on do (`Continuation`).
- Divergences are never negative, so a latent that costs enough on some texts is kept without the others. Those on which
  it cost most when it was tried last come first.
- Several latents run as one batch, each as if those before it had turned out as they did before, or as most did of
  late. What was predicted wrongly, and whatever rests on it, is not used but run again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from monosema.circuits.continuation import Continuation, Versions

POSITIONS = 256
"""Positions of all texts that one batch of trials may run, unless a single latent takes more."""
_SURE = 1.25
"""Multiple of the cost that keeps a latent: where some of its texts cost so much before, no others run with them."""


@dataclass(frozen=True, eq=False)
class _Trial:
    """A latent that is tried.

    Attributes:
        place: which latent.
        rows: texts that it changes.
        runs: those of them that run.
        first: number of the first version that runs; the others follow.
        drop: True if it is predicted to be dropped.
    """

    place: int
    rows: Int[Tensor, " some"]
    runs: Int[Tensor, " few"]
    first: int
    drop: bool

    @property
    def versions(self) -> slice:
        """The numbers of its versions."""
        return slice(self.first, self.first + len(self.runs))


class Dropping:
    """Latents that are patched, and what is known of dropping each.

    Attributes:
        kept: the latents that are patched now.
        divergence: of each text, with these patched.
    """

    def __init__(
        self,
        continuation: Continuation,
        change: Float[Tensor, "n pos m"],
        directions: Float[Tensor, "m d"],
        diverging: Callable[[Int[Tensor, " some"], Float[Tensor, "some vocab"]], Float[Tensor, " some"]],
        kept: Bool[Tensor, " m"],
    ) -> None:
        """Begin with some latents patched.

        Args:
            change: what patching adds to each latent's code.
            directions: of the latents.
            diverging: gives the divergence of some texts from their log-probabilities.
            kept: the latents that are patched.
        """
        self._going, self._change, self._directions, self._diverging = continuation, change, directions, diverging
        self.kept = kept.clone()
        n, pos, m = change.shape
        device = change.device
        differs = (change != 0).permute(2, 0, 1)
        self._changed: Bool[Tensor, "m n"] = differs.any(2)
        self._first: Int[Tensor, "m n"] = differs.to(torch.uint8).argmax(2)
        # Of each latent and text: the divergence without it, what was added by dropping it, and in which state.
        self._without = torch.zeros(m, n, dtype=torch.float64, device=device)
        self._rise, self._tried = torch.zeros_like(self._without), torch.full((m, n), -1, device=device)
        self._state, self._states = torch.zeros(n, dtype=torch.int64, device=device), 0
        # From where on the continuation's state is not that of `_x`.
        self._stale = torch.full((n,), pos, device=device)
        self._mostly_dropped = 1.0
        self._x, self.divergence = self._summed()

    @torch.no_grad()
    def below(self, threshold: float, places: Sequence[int]) -> None:
        """Drop those of the latents, tried in this order, that add less than the threshold, in nats on average."""
        self._x, self.divergence = self._summed()
        done, undecided, enough = 0, False, threshold * len(self.divergence)
        while done < len(places):
            trials, versions = self._planned(places[done:], enough, undecided)
            values = self._ran(versions)
            judged, undecided = self._judged(trials, versions, values, enough)
            done += judged

    def _summed(self) -> tuple[Float[Tensor, "n pos d"], Float[Tensor, " n"]]:
        """Return the activations with what is kept patched, without errors of many small steps, and settle them."""
        x = self._going.activation.float() + self._change[..., self.kept] @ self._directions[self.kept]
        logs = self._going.settle(x)
        self._stale.fill_(x.shape[1])
        return x, self._diverging(torch.arange(len(x), device=x.device), logs).double()

    def _planned(self, places: Sequence[int], enough: float, undecided: bool) -> tuple[list[_Trial], Versions]:
        """Plan the next batch; the first latent runs on all its texts where some of them were `undecided`."""
        x, changed_from = self._x.clone(), self._stale.clone()
        assumed = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        trials, parts, n, positions = list[_Trial](), list[tuple[Tensor, Tensor, Tensor]](), 0, 0
        for place in places:
            rows = self._changed[place].nonzero().flatten()
            known = (self._tried[place, rows] == self._state[rows]) & ~assumed[rows]
            drop, wanted = self._predicted(place, rows, known, enough, undecided and not trials)
            runs = rows[wanted & ~known]
            first = torch.minimum(self._first[place, runs], changed_from[runs])
            positions += int((x.shape[1] - first).sum())
            if trials and positions > POSITIONS:
                break
            fewer = x[rows] - self._change[rows, :, place].unsqueeze(-1) * self._directions[place]
            parts.append((runs, fewer[wanted & ~known], first))
            trials.append(_Trial(place, rows, runs, n, drop))
            n += len(runs)
            if drop:
                x[rows], assumed[rows] = fewer, True
                changed_from[rows] = torch.minimum(changed_from[rows], self._first[place, rows])
        rows, versions, first = (torch.cat(part) for part in zip(*parts, strict=True))
        return trials, Versions(rows, versions, first)

    def _predicted(
        self, place: int, rows: Int[Tensor, " some"], known: Bool[Tensor, " some"], enough: float, whole: bool
    ) -> tuple[bool, Bool[Tensor, " some"]]:
        """Return whether a latent will probably be dropped, and on which of its texts that is to be seen."""
        every = torch.ones_like(known)
        if bool((self._tried[place, rows] < 0).any()):
            return self._mostly_dropped > 0.5, every
        now = self.divergence[rows]
        costs = torch.where(known, self._without[place, rows], now + self._rise[place, rows])
        if float((costs - now).sum()) < enough:
            return True, every
        if whole:
            return False, every
        # The texts that are known cost nothing to count, then come those that cost most.
        order = (costs + known * 1e9).argsort(descending=True, stable=True)
        wanted = torch.zeros_like(known)
        needed = int((costs[order].cumsum(0) < _SURE * (enough + float(now.sum()))).sum()) + 1
        wanted[order[:needed]] = True
        return False, wanted

    def _ran(self, versions: Versions) -> Float[Tensor, " some"]:
        values = torch.empty(len(versions.rows), dtype=torch.float64, device=versions.x.device)
        for which, logs in self._going.run(versions):
            values[which] = self._diverging(versions.rows[which], logs).double()
        return values

    def _judged(
        self, trials: Sequence[_Trial], versions: Versions, values: Float[Tensor, " some"], enough: float
    ) -> tuple[int, bool]:
        """Return how many trials were decided, and whether the next one was not for want of texts."""
        wrong = torch.zeros(len(self.divergence), dtype=torch.bool, device=values.device)
        for number, trial in enumerate(trials):
            place, rows, runs = trial.place, trial.rows, trial.runs
            if bool(wrong[rows].any()):
                return number, False
            self._without[place, runs] = values[trial.versions]
            self._rise[place, runs] = values[trial.versions] - self.divergence[runs]
            self._tried[place, runs] = self._state[runs]
            known = self._tried[place, rows] == self._state[rows]
            rise = float(self._without[place, rows[known]].sum() - self.divergence[rows].sum())
            if rise < enough and not bool(known.all()):
                return number, True
            if drop := rise < enough:
                self._drop(trial, versions)
            if drop != trial.drop:
                wrong[rows] = True
            self._mostly_dropped = 0.9 * self._mostly_dropped + 0.1 * drop
        return len(trials), False

    def _drop(self, trial: _Trial, versions: Versions) -> None:
        place, rows = trial.place, trial.rows
        self._x[rows] -= self._change[rows, :, place].unsqueeze(-1) * self._directions[place]
        self.divergence[rows] = self._without[place, rows]
        self._stale[rows] = torch.minimum(self._stale[rows], self._first[place, rows])
        numbers = torch.arange(len(versions.rows), device=rows.device)[trial.versions]
        self._going.accept(versions, numbers)
        self._stale[trial.runs] = self._x.shape[1]
        self._states += 1
        self._state[rows] = self._states
        self.kept[place] = False
