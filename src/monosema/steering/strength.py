"""Strength of a steering at a given effect on the model's predictions.

    s such that the mean over positions of KL(steered ‖ unsteered) is `kl`,    in nats a token

found for many steerings at once: each pass tries one strength of each. Small strengths move predictions by KL ∝ s²,
which gives the first guesses; between a strength that is too small and one that is too large, log KL is taken as linear
in log s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.core import ConfigError
from monosema.models import LanguageModel, Role
from monosema.steering.edits import Steering
from monosema.steering.steered import steered

PASSES = 12
"""Strengths that are tried for each steering."""
WITHIN = 0.02
"""Share of the divergence by which it may be missed, for the search to end."""
NEAR = 0.1
"""Share by which it may be missed at the end, where the effect of a steering jumps."""
LOGITS_AT_ONCE = 2**25
"""Values of logits that are held at a time, which bounds the memory: 128 MiB each for a few tensors."""
_STEP, _UNSEEN = 100.0, 1e-7


def for_divergence(
    model: LanguageModel,
    steerings: Sequence[Steering],
    tokens: Int[Tensor, "n pos"],
    kl: float,
    *,
    roles: Int[Tensor, "n pos"] | None = None,
) -> list[float | None]:
    """Find the strength of each steering at which it moves next-token distributions by `kl`.

    `strengths_tried` does the same, and tells what was found on the way.

    Args:
        steerings: of any strengths but 0; those found take their place (`Steering.at`).
        tokens: ids of texts; special tokens among them are not counted in the mean.
        roles: the `Role` of each; the mean is then over the distributions that generated tokens are drawn from.
        kl: nats a token.

    Returns:
        The strengths; None where none gives the divergence.

    Raises:
        ConfigError: a divergence that is not above 0.
        InputError: a where-clause that selects none of the tokens.
    """
    return [one.best for one in strengths_tried(model, steerings, tokens, kl, roles=roles)]


@torch.no_grad()
def strengths_tried(
    model: LanguageModel,
    steerings: Sequence[Steering],
    tokens: Int[Tensor, "n pos"],
    kl: float,
    *,
    roles: Int[Tensor, "n pos"] | None = None,
) -> list[StrengthSearch]:
    """Search the strength of each steering as `for_divergence` does, and return the searches."""
    if not kl > 0:
        raise ConfigError(f"kl = {kl} is not valid: give a divergence above 0, in nats a token.")
    tokens = tokens.to(model.device)
    special = torch.tensor(sorted(model.tokenizer.special_ids), device=model.device)
    counted = ~torch.isin(tokens, special)
    if roles is not None:
        roles = roles.to(model.device)
        counted = torch.nn.functional.pad(roles[:, 1:] == Role.GENERATED, (0, 1))
    before = model(tokens, roles=roles).float().log_softmax(-1)[counted]
    searches = [StrengthSearch(kl) for _ in steerings]
    together = max(1, LOGITS_AT_ONCE // (tokens.numel() * before.shape[-1]))
    for first in range(0, len(steerings), together):
        part = list(zip(steerings, searches, strict=True))[first : first + together]
        for _ in range(PASSES):
            part = [(steering, search) for steering, search in part if not search.ended]
            if not part:
                break
            tried = [steering.at(search.strength) for steering, search in part]
            moved = _divergences(model, tried, tokens, roles, counted, before)
            for (_, search), found in zip(part, moved, strict=True):
                search.note(found)
    return searches


def _divergences(
    model: LanguageModel,
    steerings: Sequence[Steering],
    tokens: Tensor,
    roles: Tensor | None,
    counted: Tensor,
    before: Float[Tensor, "m vocab"],
) -> list[float]:
    """Mean KL(steered ‖ unsteered) of each steering."""
    n, rows = len(tokens), len(steerings)
    with steered(model, [one for one in steerings for _ in range(n)]):
        repeated = None if roles is None else roles.repeat(rows, 1)
        logits = model(tokens.repeat(rows, 1), roles=repeated).float()
    found = []
    for own in logits.chunk(rows):
        after = own[counted].log_softmax(-1)
        found.append(float((after.exp() * (after - before)).sum(-1).mean()))
    return found


@dataclass
class StrengthSearch:
    """The search for one strength.

    Attributes:
        target: the divergence that is sought, in nats a token.
        strength: the one that is tried next.
        low, high: the tightest strengths with their divergences that are too small, and too large.
        tried: divergences that were found, finite ones, each with its strength.
    """

    target: float
    strength: float = 1.0
    low: tuple[float, float] | None = None
    high: tuple[float, float] | None = None
    tried: list[tuple[float, float]] = field(default_factory=list)

    @property
    def nearest(self) -> tuple[float, float]:
        """The divergence that comes nearest to the target, and its strength; (0, 0) before any."""
        return min(self.tried, key=lambda one: abs(one[0] / self.target - 1), default=(0.0, 0.0))

    @property
    def _missed(self) -> float:
        return abs(self.nearest[0] / self.target - 1)

    @property
    def ended(self) -> bool:
        """True where the target is met, or no strength is left to try."""
        return self._missed <= WITHIN or not 1e-12 < self.strength < 1e12

    @property
    def best(self) -> float | None:
        """The strength that comes nearest, where it is near."""
        return self.nearest[1] if self._missed <= NEAR else None

    def note(self, found: float) -> None:
        """Take what the strength in hand gives, and choose the next."""
        at, target = self.strength, self.target
        if math.isfinite(found):
            self.tried.append((found, at))
        else:
            found = math.inf
        again = (self.low if found < target else self.high) is not None
        if found < target:
            self.low = (at, max(found, _UNSEEN * target))
        else:
            self.high = (at, found)
        if self.low is None or self.high is None:
            step = (target / max(found, _UNSEEN * target)) ** 0.5
            # A first guess from KL ∝ s² that did not reach the other side: predictions are saturated, or s is tiny.
            least = _STEP**0.75 if again else 1.05
            self.strength = at * (
                min(max(step, least), _STEP) if found < target else max(min(step, 1 / least), 1 / _STEP)
            )
            return
        (s, below), (t, above) = self.low, self.high
        share = math.log(target / below) / math.log(above / below) if math.isfinite(above) else 0.5
        self.strength = s * (t / s) ** min(max(share, 0.05), 0.95)
