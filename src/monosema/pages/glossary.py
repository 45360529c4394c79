"""The pages' words: names and meanings of metrics, terms and chart labels, and numbers written for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from monosema.core import Estimate


@dataclass(frozen=True)
class Metric:
    """A metric of an evaluation.

    Attributes:
        key: its name in an evaluation row.
        name: its name on the page.
        unit: "share" (written as a percentage), "nats", "score" (two digits), or "" for a plain number.
        better: "lower", "higher", or "" where neither is better.
        means: one sentence for a reader who has never met the metric.
        headline: whether it stands in large print at the top.
    """

    key: str
    name: str
    unit: str
    better: str
    means: str
    headline: bool = False


METRICS = (
    Metric(
        "fvu",
        "FVU",
        "",
        "lower",
        "Fraction of variance unexplained: the part of the activations that is lost when they are rebuilt from the "
        "features. 0 is perfect; 1 is no better than always giving the mean.",
        headline=True,
    ),
    Metric("variance_explained", "Variance explained", "share", "higher", "1 − FVU, as a percentage."),
    Metric(
        "cosine",
        "Cosine similarity",
        "",
        "higher",
        "Of each activation and its reconstruction, on average: whether they point the same way.",
    ),
    Metric(
        "l0",
        "L0",
        "",
        "",
        "How many features are active on one token, on average. Fewer is easier to read.",
        headline=True,
    ),
    Metric(
        "alive",
        "Alive features",
        "share",
        "higher",
        "Features that fired at least once on the held-out text. The rest are dead: they cost memory and explain "
        "nothing.",
        headline=True,
    ),
    Metric(
        "loss_recovered",
        "Loss recovered",
        "share",
        "higher",
        "Put the rebuilt activations back into the model and let it predict the next token: 100 % is as good as the "
        "untouched model, 0 % is as bad as erasing the activations (setting them to zero).",
        headline=True,
    ),
    Metric(
        "kl",
        "KL divergence",
        "nats",
        "lower",
        "How far the model’s next-token predictions move when it runs on rebuilt activations. 0 is not at all.",
        headline=True,
    ),
    Metric(
        "ce_clean", "Loss, untouched", "nats", "lower", "The model’s own cross-entropy on the held-out text, per token."
    ),
    Metric("ce_spliced", "Loss, rebuilt", "nats", "lower", "Cross-entropy when the model runs on rebuilt activations."),
    Metric(
        "ce_zero", "Loss, erased", "nats", "", "Cross-entropy when the activations are set to zero: the worst case."
    ),
    Metric(
        "ce_mean", "Loss, mean", "nats", "", "Cross-entropy when every activation is replaced by the mean activation."
    ),
)

TERMS = (
    (
        "Loss",
        "Cross-entropy of the next token on held-out text, in nats per token: of the untouched model, of the model "
        "that runs on rebuilt activations, and with the activations erased (zero) or replaced by their mean.",
    ),
    (
        "Feature",
        "One direction in the model’s activations, and a rule for how strongly it is present on a token. "
        "Also called a latent. The hope is that each stands for one thing.",
    ),
    (
        "Density",
        "The share of tokens on which a feature is active. Dense features (above 10 %) are seldom about one thing.",
    ),
    (
        "Label and score",
        "A guess at what makes the feature fire, and how well that guess predicts the feature on passages it was not "
        "made from. Of several explanations a person’s is the label, else the one with the best score; all labels of a "
        "page are compared by one scorer. By balanced accuracy and detection 0.5 is chance and 1 is perfect; "
        "simulation is a correlation, 0 by chance.",
    ),
    (
        "Above controls",
        "A high score alone proves little: text that looks alike excites anything alike. The controls are chance, the "
        "score of another feature’s explanation on the same feature (shuffled), and the median score of random "
        "directions that were explained and scored in the same way. A label stands above them where the low end of "
        "its interval is above all three; the number with a sign is how far.",
    ),
    (
        "Signs in labels",
        "Labels that are patterns: x →y fires on the token y after x; [a|b] is a or b; … is any token; “;” separates "
        "alternatives. Labels that are tokens: a percentage is that token’s share of the feature’s activation. "
        "⟨EC 95⟩ are bytes of a character that the tokenizer cuts into several tokens.",
    ),
    (
        "Promoted, suppressed",
        "The next tokens that the model finds more, or less, likely when the feature is active, "
        "read directly from the feature’s direction.",
    ),
    (
        "Interval",
        "The range in brackets is a 95 % confidence interval: it says how far the figure could move with other text "
        "of the same sort and amount.",
    ),
    (
        "PCA, random",
        "Two controls. PCA rebuilds activations from as many principal components as features are active on a token; "
        "a random dictionary has the same shape and no training.",
    ),
)
TERMS_OF_TEXT = ("Loss", "Signs in labels", "Promoted, suppressed")
"""Terms that mean nothing where there is no language model."""

WORDS: Mapping[str, str] = {
    "active": "strongest activation",
    "chance": "chance",
    "comparison": "How well latents are explained, on passages not seen before",
    "comparison legend": "bar: 95 % interval; small and hollow: shuffled explanations; dashed: chance; "
    "faint: fewer than a tenth scored",
    "control": "shuffled explanations",
    "dead": "Dead features",
    "density": "density (share of tokens)",
    "densities": "Density of {:,} features",
    "erased": "erased (zero)",
    "features": "features",
    "layer": "layer ({})",
    "losses": "Cross-entropy, nats per token",
    "map": "Map of {:,} features: {} against density",
    "mean": "mean",
    "random": "random directions",
    "score": "label score",
    "share": "share at {}",
    "shares": "Share of the decoder norm at {}, of {:,} features",
    "site": "site, in the order of the model",
    "tokens": "tokens",
    "untouched": "untouched model",
}
"""Words of the charts, in one place so that they can be translated."""


def number(value: float | int, digits: int = 3) -> str:
    """Write a number for people: thousands separated, three digits, no exponent for what reads well without."""
    if value == int(value) and abs(value) < 1e12:
        return f"{int(value):,}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:,.1f}"
    if abs(value) < 1e-4:
        return f"{value:.2e}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{places}f}"


def text_of(value: float | int, unit: str) -> str:
    """Write a number with its unit: "93.1 %", "0.165", "3.21 nats"."""
    if unit == "share":
        return f"{100 * value:.1f} %" if value != 1 else "100 %"
    if unit == "score":
        return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")
    if unit == "nats":
        return f"{value:.3f}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"
    return f"{value:.1f}" if 10 <= abs(value) < 1000 else number(value)


def interval_of(value: Estimate, unit: str) -> str:
    """Return the interval of an estimate, "[0.163, 0.167]"."""
    low, high = (text_of(end, unit).removesuffix(" %") for end in (value.low, value.high))
    return f"[{low}, {high}]"


def duration(seconds: float | int) -> str:
    """Write seconds for people: "8.2 s", "3 min 20 s", "1 h 05 min"."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def spoken(metrics: Mapping[str, Estimate], pca: Mapping[str, Estimate]) -> str:
    """Return a sentence or two about the result, from the metrics that are there. Empty when there are none."""
    sentences = []
    if "variance_explained" in metrics and "l0" in metrics:
        active, explained = number(round(metrics["l0"].value, 1)), 100 * metrics["variance_explained"].value
        beside = f"; as many principal components, {100 * (1 - pca['fvu'].value):.1f} %" if "fvu" in pca else ""
        said = f"With {active} features active on a token, it rebuilds {explained:.1f} % of the activations’ variance"
        sentences.append(f"{said}{beside}.")
    if "loss_recovered" in metrics:
        kept = 100 * metrics["loss_recovered"].value
        sentences.append(f"It keeps {kept:.1f} % of what the model gains from this layer when predicting text.")
    return " ".join(sentences)
