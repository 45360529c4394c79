"""The help page: terms in both languages with their formulas, and the control beside each sort of figure."""

from __future__ import annotations

from typing import Any

from monosema.core.language import translate
from monosema.pages.glossary import METRICS, TERMS

FORMULAS = {
    "FVU": "Σ‖x − x̂‖² / Σ‖x − x̄‖²",
    "Cosine similarity": "x · x̂ / (‖x‖ ‖x̂‖)",
    "L0": "#{j : cⱼ > 0}",
    "Loss recovered": "(CE₀ − CE(x̂)) / (CE₀ − CE(x))",
    "KL divergence": "Σ p log(p / q)",
    "Feature": "x̂ = b + Σ cⱼ dⱼ",
    "Density": "#{tokens : c > 0} / #tokens",
    "Steering": "x ← x + Σ (g(cⱼ) − cⱼ) dⱼ",
    "Ablate": "g(c) = 0",
}
STEERING = (
    (
        "Steering",
        "The model writes on while features are added, set or taken out at the dictionary’s site; what the dictionary "
        "does not rebuild stays as it is.",
    ),
    (
        "Strength",
        "How much of a feature is added: in multiples of the strongest activation that it had on the text of the "
        "atlas, in shares of the activations’ norm, or as much as moves the predictions by a given KL divergence.",
    ),
    ("Ablate", "A feature’s part is taken out of the activations; what changes then is what the feature caused."),
    ("Baseline", "Another way to the same end, compared at an equal KL divergence from the untouched model."),
)
CONTROLS = (
    (
        "FVU, loss recovered, KL divergence",
        "As many principal components as features are active on a token, and a random dictionary of the same shape.",
    ),
    (
        "Scores of labels",
        "Chance, the explanation of another feature (shuffled), and random directions that were explained and scored "
        "in the same way.",
    ),
    (
        "Effects of steering",
        "A prompt that asks for it, the mean difference of two sets of examples, a random latent and a random "
        "direction, all at the same KL divergence; and what is lost: fluency, repetition, accuracy on other tasks.",
    ),
)


def help_page() -> dict[str, Any]:
    """Return what the template of the help page says: rows of English, Korean, meaning and formula; controls."""
    means = [(metric.name, metric.means) for metric in METRICS] + [*TERMS, *STEERING]
    terms = [(name, translate(name, "ko"), text, FORMULAS.get(name, "")) for name, text in means]
    return {"terms": terms, "controls": CONTROLS}
