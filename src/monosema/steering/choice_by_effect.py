"""Choice by effect: the latents that other scores put first are tried out.

Each pushes the model equally far, by half a nat a token, while it continues the concept's fitting beginnings; the score
is the mean effect of what it wrote. This uses the measure of effect and no text beyond those that choices may use.
"""

from __future__ import annotations

import contextlib

import numpy as np

from monosema.core import InputError
from monosema.steering.baselines import push
from monosema.steering.candidates import Candidate
from monosema.steering.choice import CHOICES, ChoiceRule, Evidence, Scores, choose, register_choice
from monosema.steering.sweep import SweepConfig, sweep

_SHORTLIST = 8
_KL = 0.5
_CONFIG = SweepConfig(max_new_tokens=24)


def _by_effect(evidence: Evidence) -> Scores:
    steerings = {latent: push(evidence.latent(latent)) for latent in _shortlist(evidence)}
    strengths = evidence.unsteered.strengths(list(steerings.values()), _KL)
    candidates: dict[str, Candidate] = {
        str(latent): steering.at(strength)
        for (latent, steering), strength in zip(steerings.items(), strengths, strict=True)
        if strength is not None
    }
    scores = np.full(evidence.dictionary.n_latents, np.nan)
    if candidates:
        found = sweep(evidence.model, evidence.fitting, candidates, _CONFIG, evidence.concept.effect)
        for point in found.points:
            scores[int(point.name)] = point.figures["effect"].value
    return scores


def _shortlist(evidence: Evidence) -> list[int]:
    """The first latents of every other choice."""
    found: dict[int, None] = {}
    for name in CHOICES:
        # A score that can choose none leaves it to the others.
        with contextlib.suppress(InputError):
            if name != BY_EFFECT.name:
                model, dictionary, concept = evidence.model, evidence.dictionary, evidence.concept
                chosen = choose(model, dictionary, concept, name, _SHORTLIST, evidence=evidence)
                found |= dict.fromkeys(one.latent for one in chosen)
    return list(found)


BY_EFFECT = ChoiceRule("effect", "writes most of the concept, of those that the other scores put first", _by_effect)
"""The choice that tries latents out."""
register_choice(BY_EFFECT)
