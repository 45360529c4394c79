"""Choice: which latent stands for a concept.

An open list of scores, each of which orders all latents of a dictionary by a concept's fitting texts:

    input        AUC of a latent's largest activation on a text, texts for the concept against those against it
                 ("SAE-A" of AxBench, Wu et al. 2025, arXiv 2501.17148).
    output       (1 − r / V) · Σ p(t): r is the best rank, and the sum the probability, of the concept's tokens after a
                 neutral beginning when the latent is amplified (Arad et al. 2025, arXiv 2505.20063). Departures: the
                 tokens are those of the concept instead of the latent's own promoted ones, and their probabilities are
                 added up instead of taking the largest.
    confidence   |C(p′) − C(p)|, C(p) = −log max p, of the latents with the best input scores, where p′ is amplified
                 (Δ token confidence with k = 1; Wang et al. 2025, arXiv 2510.03659). Departure: both directions count.

Latents are amplified as the first paper does it (see `amplifying`). `choice_by_effect` tries latents out;
`register_choice` adds a score of your own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import ConfigError, InputError, Site, SiteError, nearest
from monosema.dictionaries import Dictionary
from monosema.models import GenerationConfig, LanguageModel, Prompt
from monosema.models.context import padded
from monosema.steering.amplifying import Amplified
from monosema.steering.concepts import Concept
from monosema.steering.coordinates import Latent
from monosema.steering.unsteered import UnsteeredTexts

UNSTEERED_TOKENS = 24
"""Tokens of each text on which strengths are solved for."""
_UNSTEERED_TEXTS = 8
_FIRES_ON = 2
"""Texts for the concept on which a latent must fire to be chosen by its input."""
_SHORTLIST = 20
"""Latents, of those with the best input scores, among which confidence chooses."""
_TEXTS = 16


@dataclass(eq=False)
class Evidence:
    """A dictionary's latents before a concept.

    Attributes:
        model, dictionary: of the latents.
        concept: what they are to stand for.
        at: the site that the dictionary reads; None is that of its metadata.
        chat: true where the concept's questions are to be answered, instead of its prompts continued.
    """

    model: LanguageModel
    dictionary: Dictionary
    concept: Concept
    at: Site | str | None = None
    chat: bool = False
    _activations: dict[tuple[str, ...], Float[np.ndarray, "texts n_latents"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        site = self.at if self.at is not None else self.dictionary.metadata.site
        if site is None:
            raise SiteError("This dictionary does not say its site: name the one that it reads.")
        self.site = Site.parse(site)

    def strongest(self, texts: Sequence[str]) -> Float[np.ndarray, "texts n_latents"]:
        """Return the largest activation of each latent on each text, special tokens left out."""
        key = tuple(texts)
        if key not in self._activations:
            parts = [self._strongest(key[start : start + _TEXTS]) for start in range(0, len(key), _TEXTS)]
            self._activations[key] = np.concatenate(parts)
        return self._activations[key]

    @torch.inference_mode()
    def _strongest(self, texts: Sequence[str]) -> Float[np.ndarray, "texts n_latents"]:
        ids = self.model.tokenizer.encode_batch(list(texts))
        tokens = padded(ids, 0).to(self.model.device)
        there = padded([[1] * len(row) for row in ids], 0).bool().to(self.model.device)
        rows = self.model.activations(tokens, [self.site], there)[self.site].flatten(2)
        keep = there & ~torch.isin(tokens, torch.tensor(sorted(self.model.tokenizer.special_ids), device=tokens.device))
        dense = self.dictionary.encode(rows[keep].float()).dense()
        found = [own.amax(dim=0) if len(own) else dense.new_zeros(dense.shape[-1])
                 for own in dense.split(keep.sum(dim=1).tolist())]  # fmt: skip
        return np.asarray(torch.stack(found).cpu(), dtype=np.float64)

    @cached_property
    def maxima(self) -> Float[np.ndarray, " n_latents"]:
        """Largest activation of each latent on all texts of the concept, for and against; 0 where it never fired."""
        parts = (*self.concept.fitting, *self.concept.judging)
        return np.max([self.strongest(texts).max(axis=0) for texts in parts], axis=0)

    @property
    def fitting(self) -> tuple[Prompt, ...]:
        """Beginnings that latents and strengths may be chosen with."""
        return self.concept.beginnings(self.chat)[::2]

    @property
    def judging(self) -> tuple[Prompt, ...]:
        """The other beginnings. Raises InputError where there are none."""
        found = self.concept.beginnings(self.chat)[1::2]
        if not found:
            raise InputError(f"The concept {self.concept.name!r} needs two beginnings at least: to fit, and to judge.")
        return found

    @cached_property
    def unsteered(self) -> UnsteeredTexts:
        """The model's own text after the fitting beginnings."""
        config = GenerationConfig(max_new_tokens=UNSTEERED_TOKENS, temperature=1.0)
        return UnsteeredTexts.write(self.model, self.fitting[:_UNSTEERED_TEXTS], config)

    @cached_property
    def amplified(self) -> Float[Tensor, "n_latents vocab"]:
        """Logarithms of the next token's distribution after the neutral beginning, each latent amplified."""
        return self._neutral.after()

    @property
    def plain(self) -> Float[Tensor, " vocab"]:
        """The same with nothing amplified."""
        return self._neutral.plain

    @cached_property
    def _neutral(self) -> Amplified:
        return Amplified(self.model, self.dictionary, self.site)

    def latent(self, index: int) -> Latent:
        """Return a latent with the largest activation that the concept's texts have."""
        maximum = float(self.maxima[index])
        return Latent(self.dictionary, index, self.site, maximum if maximum > 0 else None)


Scores = Float[np.ndarray, " n_latents"]
"""A score of each latent, the greater the better; NaN for one that is not to be chosen."""


@dataclass(frozen=True)
class ChoiceRule:
    """A way to choose latents.

    Attributes:
        name: key of `CHOICES`.
        about: one line for people.
        scores: returns the scores of all latents by a concept's fitting texts.
    """

    name: str
    about: str
    scores: Callable[[Evidence], Scores]


CHOICES: dict[str, ChoiceRule] = {}
"""All ways to choose latents, by name."""


def register_choice(rule: ChoiceRule) -> None:
    """Add a way to choose latents. Raises ConfigError where its name is taken."""
    if rule.name in CHOICES:
        raise ConfigError(f"There is a choice {rule.name!r} already.")
    CHOICES[rule.name] = rule


@dataclass(frozen=True)
class Chosen:
    """A latent that was chosen.

    Attributes:
        latent: its number.
        score: by the fitting texts.
        heldout: its input score, the AUC, on the judging texts.
    """

    latent: int
    score: float
    heldout: float


def choose(
    model: LanguageModel,
    dictionary: Dictionary,
    concept: Concept,
    by: str = "input",
    n: int = 1,
    *,
    at: Site | str | None = None,
    evidence: Evidence | None = None,
) -> list[Chosen]:
    """Choose latents for a concept, the best first.

    Args:
        by: a name of `CHOICES`.
        n: number of latents at most.
        at: the site that the dictionary reads; None is that of its metadata.
        evidence: what an earlier call has measured; it saves time.

    Raises:
        InputError: no such choice, or no latent that it can choose.
    """
    if by not in CHOICES:
        raise InputError(f"by = {by!r} is not valid.{nearest(by, CHOICES)} Choose from {', '.join(CHOICES)}.")
    evidence = evidence or Evidence(model, dictionary, concept, at)
    scores = CHOICES[by].scores(evidence)
    order = [int(latent) for latent in np.argsort(-scores, kind="stable") if np.isfinite(scores[latent])][:n]
    if not order:
        raise InputError(f"No latent can be chosen for {concept.name!r} by {by}: none fires on its texts.")
    held = areas(*(evidence.strongest(texts) for texts in concept.judging))
    return [Chosen(latent, float(scores[latent]), float(held[latent])) for latent in order]


def areas(
    positive: Float[np.ndarray, "p n_latents"], negative: Float[np.ndarray, "m n_latents"]
) -> Float[np.ndarray, " n_latents"]:
    """Area under the curve of each latent: P(a text for it has more than one against it), ties half."""
    from scipy.stats import rankdata

    p, m = len(positive), len(negative)
    ranks = rankdata(np.concatenate([positive, negative]), axis=0)[:p].sum(axis=0)
    return np.asarray((ranks - p * (p + 1) / 2) / (p * m))


def _by_input(evidence: Evidence) -> Scores:
    """AUC on the fitting texts; among equals, what fires stronger on the concept is better by a hair."""
    positive, negative = (evidence.strongest(texts) for texts in evidence.concept.fitting)
    scores = areas(positive, negative)
    largest = np.maximum(np.maximum(positive.max(axis=0), negative.max(axis=0)), 1e-12)
    scores = scores + 1e-6 * (positive.mean(axis=0) - negative.mean(axis=0)) / largest
    return np.where((positive > 0).sum(axis=0) >= _FIRES_ON, scores, np.nan)


def _by_output(evidence: Evidence) -> Scores:
    tokens = torch.tensor(evidence.concept.tokens(evidence.model))
    if not len(tokens):
        raise InputError(f"The texts for and against {evidence.concept.name!r} are made of the same tokens.")
    logs = evidence.amplified
    best = logs[:, tokens].amax(dim=1, keepdim=True)
    ranks = (logs > best).sum(dim=1)
    scores = (1 - ranks / logs.shape[1]) * logs[:, tokens].exp().sum(dim=1)
    return np.asarray(scores, dtype=np.float64)


def _by_confidence(evidence: Evidence) -> Scores:
    inputs = _by_input(evidence)
    shortlist = [latent for latent in np.argsort(-inputs, kind="stable") if np.isfinite(inputs[latent])][:_SHORTLIST]
    change = (evidence.plain.max() - evidence.amplified.amax(dim=1)).abs().numpy()
    scores = np.full(len(inputs), np.nan)
    scores[shortlist] = change[shortlist]
    return scores


for _rule in (
    ChoiceRule("input", "fires on texts of the concept, and not on others", _by_input),
    ChoiceRule("output", "makes the concept's tokens likely when it is amplified", _by_output),
    ChoiceRule("confidence", "changes the next token most, of those that fire on the concept", _by_confidence),
):
    register_choice(_rule)
