"""Intervention: does an explanation hold for the text that the model writes when the latent's direction is added?

The direction d of a latent is added to the activation at the dictionary's site, at every position, with the strength
s at which the model's next-token distributions p move by a set amount:

    mean over positions of KL(p(· | x + s d) ‖ p(· | x)) = κ.

So all latents are pushed equally far, whatever the norm of their directions. The model
then continues some beginnings, and a predictor says how likely it is that the explanation holds for a continuation. The
score is the probability that this is likelier for a continuation of this latent than for one of another latent drawn at
random and pushed equally far (AUC); ½ is chance. The control is the same for a shuffled explanation.

After Paulo et al. (2024, arXiv 2410.13928), who measure by how much the steered text raises a model's log-probability
of the explanation. Departures: the predictor's judgement takes its place, so that any predictor serves; and the
contrast is text steered otherwise, not text that is not steered, as any push changes text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from monosema.atlas import Explanation
from monosema.core import Config, Site, derive_seed, numpy_generator
from monosema.dictionaries import Dictionary
from monosema.interpretation.samples import INACTIVE, Samples
from monosema.interpretation.scores import ScoreTable
from monosema.interpretation.scoring import ScorerInfo, ScoringSession
from monosema.models import LanguageModel
from monosema.steering import Add, Direction, Edit, Steering, Where, for_divergence, steered

_BEGINNINGS, _BEGINNING_TOKENS = 8, 8


class InterventionConfig(Config):
    """Size of the push, and the continuations."""

    kl: float = Field(1.0, gt=0)
    """Mean divergence of the next-token distributions, in nats."""
    continuations: int = Field(2, gt=0)
    """Continuations of each beginning."""
    max_new_tokens: int = Field(24, gt=0)
    """Tokens of a continuation."""
    temperature: float = Field(1.0, gt=0)
    """Sampling temperature of the continuations."""
    seed: int = 0
    """Seed of the continuations and of the other latents."""


class Intervention:
    """Scores explanations by the text that the model writes under intervention; see the module and `Scorer`."""

    info = ScorerInfo(
        "intervention",
        "does the explanation hold for what the model writes when the feature is pushed?",
        chance=0.5,
        unit="AUC",
        rank=50,
        asks=True,
    )

    def __init__(self, config: InterventionConfig | None = None) -> None:
        self.config = config or InterventionConfig()

    def score(self, explanations: Mapping[int, Explanation], session: ScoringSession) -> list[ScoreTable]:
        """Return the area under the curve of judgements. The first call writes the continuations."""
        continuations = session.samples_once("continuations", lambda: self._write(session))
        latents = continuations.latents[continuations.row]
        judgements = np.full(len(latents), np.nan)
        asked = np.flatnonzero(np.isin(latents, list(explanations)))
        if len(asked):
            judgements[asked] = session.predictor.active(explanations, continuations, asked)
        reason = "no strength gives the divergence, or the predictor answered nothing"
        return session.areas(self.info, explanations, judgements, latents, continuations.active, reason)

    def _write(self, session: ScoringSession) -> Samples:
        subject, samples = session.subject, session.samples
        assert subject is not None
        ids = samples.ids[samples.passage[samples.test]]
        whole = ids[(ids[:, :_BEGINNING_TOKENS] >= 0).all(axis=1)][:_BEGINNINGS, :_BEGINNING_TOKENS]
        beginnings = torch.from_numpy(whole.astype("int64"))
        latents, site = samples.latents.tolist(), subject.direction_site
        return write_continuations(latents, subject.model, subject.dictionary, site, beginnings, self.config)


def write_continuations(
    latents: Sequence[int],
    model: LanguageModel,
    dictionary: Dictionary,
    site: Site | str,
    beginnings: Int[Tensor, "n pos"],
    config: InterventionConfig | None = None,
) -> Samples:
    """Generate continuations under a push by each latent; latents that nothing pushes far enough are left out.

    Args:
        model, dictionary: of the latents.
        site: where directions are added.
        beginnings: token ids that are continued, all of one length.

    Returns:
        Continuations as entries that predictors understand. Those of the latent itself are of an active kind, those of
        the other latent of an inactive one; activations are not computed, and are 0.
    """
    config = config or InterventionConfig()
    draw = numpy_generator(config.seed, "other latents")
    others = [int(draw.choice(np.delete(np.arange(dictionary.n_latents), latent))) for latent in sorted(latents)]
    pairs = list(zip(sorted(latents), others, strict=True))
    pushes = _pushes([*latents, *others], model, dictionary, site, beginnings, config.kl)
    texts: list[tuple[int, bool, tuple[int, ...]]] = []
    for latent, other in pairs:
        if latent in pushes and other in pushes:
            for pushed in (latent, other):
                written = _write(model, pushes[pushed], beginnings, config)
                texts += [(latent, pushed == latent, ids) for ids in written]
    return _samples(texts)


def _pushes(
    latents: Sequence[int],
    model: LanguageModel,
    dictionary: Dictionary,
    site: Site | str,
    beginnings: Int[Tensor, "n pos"],
    kl: float,
) -> dict[int, Steering]:
    """Make steerings along latents' directions that move predictions by `kl`; latents that none moves so far are left
    out."""
    rows = {latent: dictionary.directions[latent].detach() for latent in latents}
    everywhere = Where(special=True, template=True)
    pushes = {
        latent: Steering(Edit(Direction(site, row, f"latent {latent}"), Add(1.0), everywhere))
        for latent, row in rows.items()
        if bool(row.any())
    }
    strengths = for_divergence(model, list(pushes.values()), beginnings, kl)
    found = zip(pushes.items(), strengths, strict=True)
    return {latent: push.at(strength) for (latent, push), strength in found if strength is not None}


def _write(
    model: LanguageModel, push: Steering, beginnings: Int[Tensor, "n pos"], config: InterventionConfig
) -> list[tuple[int, ...]]:
    """Generate continuations under a push."""
    rows = beginnings.tolist() * config.continuations
    with steered(model, push):
        written = model.generate(
            rows,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            seed=derive_seed(config.seed, "continuations"),
        )
    return [text.tokens for text in written]


def _samples(texts: Sequence[tuple[int, bool, tuple[int, ...]]]) -> Samples:
    latents = sorted({latent for latent, _, _ in texts})
    ids = np.full((len(texts), max((len(ids) for _, _, ids in texts), default=0)), -1, np.int64)
    for row, (_, _, written) in enumerate(texts):
        ids[row, : len(written)] = written
    return Samples(
        ids=ids,
        hashes=np.arange(len(texts), dtype=np.uint64),
        latents=np.array(latents, np.int64),
        maximum=np.zeros(len(latents)),
        first=np.searchsorted([latent for latent, _, _ in texts], [*latents, np.inf]),
        passage=np.arange(len(texts)),
        kind=np.array([0 if own else INACTIVE for _, own, _ in texts], np.int64),
        test=np.ones(len(texts), np.bool_),
        activations=np.zeros(ids.shape),
    )
