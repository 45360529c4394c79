"""A feature as an atlas knows it: plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass

from monosema.core import Estimate

__all__ = ["Example", "Explanation", "Feature", "Histogram", "Neighbour", "Score", "TokenWeight"]


@dataclass(frozen=True)
class TokenWeight:
    """A token and its weight: a logit, or a share of the activation mass."""

    token: str
    weight: float


@dataclass(frozen=True)
class Example:
    """A passage in which the feature is active, cut around its peak.

    Attributes:
        kind: "top", or the quantile "q0" … "q9" of the passage's maximum among all activating passages.
        rank: from 0 within the kind, strongest first.
        document, position: where the peak is in the text.
        peak: index of the peak in `tokens`.
        tokens: the passage.
        activations: of the feature on each of the tokens.
        maximum: activation at the peak.
        passage_hash: equal for passages that show the same tokens.
    """

    kind: str
    rank: int
    document: int
    position: int
    peak: int
    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    maximum: float
    passage_hash: str


@dataclass(frozen=True)
class Histogram:
    """Tokens by activation, in bins of equal width over (low, high]."""

    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Neighbour:
    """Another latent that is near.

    Attributes:
        kind: "decoder" (value is the cosine of the directions) or "coactivation" (φ coefficient of firing).
        rank: from 0, nearest first.
        other: the latent.
        value: how near.
    """

    kind: str
    rank: int
    other: int
    value: float


@dataclass(frozen=True)
class Explanation:
    """What an author says that the feature means.

    Attributes:
        author: a person, a program.
        method: how it was found.
        model, prompt_version: of the language model that wrote it, where one did.
        text: the explanation.
    """

    author: str
    method: str
    model: str | None
    prompt_version: str | None
    text: str


@dataclass(frozen=True)
class Score:
    """How well an explanation predicts the feature.

    Attributes:
        method: of the explanation.
        scorer: what was measured.
        estimate: the figure with its interval; `n` counts passages.
        control: the same figure for a shuffled explanation; None where there was no other.
    """

    method: str
    scorer: str
    estimate: Estimate
    control: float | None


@dataclass(frozen=True)
class Feature:
    """All that an atlas knows of one latent.

    Attributes:
        latent: its number.
        alive: whether it was ever active on the text.
        density: share of the tokens on which it is.
        n_active: number of them.
        mean: mean activation over all tokens.
        mean_active: over those on which it is active; None where there are none.
        max: largest activation; 0 where there is none.
        label, label_method: first label and how it was found; None where there is none.
        label_score: the label's score; None where it could not be computed.
        promoted, suppressed: tokens that its direction makes more, or less, likely, and the logits; empty where that
            could not be computed (`Atlas.absent` says why).
        top_tokens: tokens that carry most of its activation, and their shares.
        position_profile: density by position in the row, by the buckets of `Atlas.position_buckets`; None where no
            token of the text was.
        histogram: None where it is never active.
        neighbours, examples, explanations, scores: rows of the tables.
    """

    latent: int
    alive: bool
    density: float
    n_active: int
    mean: float
    mean_active: float | None
    max: float
    label: str | None
    label_method: str | None
    label_score: Estimate | None
    promoted: tuple[TokenWeight, ...]
    suppressed: tuple[TokenWeight, ...]
    top_tokens: tuple[TokenWeight, ...]
    position_profile: tuple[float | None, ...]
    histogram: Histogram | None
    neighbours: tuple[Neighbour, ...]
    examples: tuple[Example, ...]
    explanations: tuple[Explanation, ...]
    scores: tuple[Score, ...]

    @property
    def top(self) -> tuple[Example, ...]:
        """The strongest passages."""
        return tuple(example for example in self.examples if example.kind == "top")
