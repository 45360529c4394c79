"""A feature as an atlas knows it: plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass

from monosema.core import Estimate
from monosema.core.display import Shown


@dataclass(frozen=True)
class TokenWeight:
    """A token's text, its weight (a logit, or a share of the activation mass) and its id."""

    token: str
    weight: float
    id: int


@dataclass(frozen=True)
class Example(Shown):
    """A passage in which the feature is active, cut around its peak.

    Attributes:
        kind: "top", or the quantile "q0" … "q9" of the passage's maximum among all activating passages, or "inactive".
        rank: from 0 within the kind, strongest first.
        document, position: where the peak is in the text.
        peak: index of the peak in `tokens`.
        tokens, token_ids: the passage, as texts and as ids.
        activations: of the feature on each of the tokens.
        maximum: activation at the peak.
        passage_hash: equal for passages that show the same tokens.
        test: whether the passage is one that explanations are tested on; explainers see the others only.
    """

    kind: str
    rank: int
    document: int
    position: int
    peak: int
    tokens: tuple[str, ...]
    token_ids: tuple[int, ...]
    activations: tuple[float, ...]
    maximum: float
    passage_hash: str
    test: bool


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
class SiteShare:
    """A site of a crosscoder, and its share of the sum of a latent's decoder norms, in training units."""

    site: str
    share: float


Identity = tuple[str, str, str | None, str | None]
"""Author, method, model and prompt version: what tells explanations of one feature apart."""

PERSON = "person"
"""The method of labels that people give."""


@dataclass(frozen=True)
class Explanation:
    """Explanation of a feature by one author.

    Attributes:
        author: a person, a program, a language model.
        method: how it was found; `PERSON` where a person says so.
        model, prompt_version: of the language model that wrote it, where one did.
        text: the explanation, for people.
        program: JSON of what predicts the feature's activations from tokens; None where the text is all.
    """

    author: str
    method: str
    model: str | None
    prompt_version: str | None
    text: str
    program: str | None = None

    @property
    def identity(self) -> Identity:
        """Key that tells explanations of one feature apart."""
        return self.author, self.method, self.model, self.prompt_version


@dataclass(frozen=True)
class Score:
    """Score of an explanation by one scorer.

    Attributes:
        author, method, model, prompt_version: of the explanation.
        scorer: what was measured.
        estimate: the figure with its interval; `n` counts passages.
        control: the same score for a shuffled explanation; None where there was no other.
        rank: preference of the scorer where labels of different features are compared by one scorer, the lowest
            first; None for the last.
        chance: the score of an explanation without content; None where there is no such number.
        random: the same score for latents of random directions, explained alike: the median, the 2.5th and the 97.5th
            percentile; None where it is not known.
    """

    author: str
    method: str
    model: str | None
    prompt_version: str | None
    scorer: str
    estimate: Estimate
    control: float | None
    rank: int | None = None
    chance: float | None = None
    random: Estimate | None = None

    @property
    def identity(self) -> Identity:
        """The explanation that was scored."""
        return self.author, self.method, self.model, self.prompt_version

    @property
    def margin(self) -> float | None:
        """Height of the interval's low end above chance, the shuffled control, and the median of random directions:
        above 0 the explanation stands above them all. None where none of them is known."""
        random = None if self.random is None else self.random.value
        floors = [floor for floor in (self.chance, self.control, random) if floor is not None]
        return self.estimate.low - max(floors) if floors else None


@dataclass(frozen=True)
class Vote:
    """Person's vote on an explanation.

    Attributes:
        author, method, model, prompt_version: of the explanation.
        text: what it said when the vote was given; a vote counts for this text only.
        voter: who.
        vote: 1 for right, -1 for wrong.
    """

    author: str
    method: str
    model: str | None
    prompt_version: str | None
    text: str
    voter: str
    vote: int

    @property
    def identity(self) -> Identity:
        """The explanation that was voted on."""
        return self.author, self.method, self.model, self.prompt_version


@dataclass(frozen=True)
class Feature(Shown):
    """One latent with its rows of all tables.

    Attributes:
        latent: its number.
        alive: whether it was ever active on the text.
        density: share of the tokens on which it is.
        n_active: number of them.
        mean: mean activation over all tokens.
        mean_active: over those on which it is active; None where there are none.
        max: largest activation; 0 where there is none.
        label, label_author, label_method: the label that is shown, by whom and how it was found; None where there is
            none. It is a person's where there is one, else that of the best score (see `labels`).
        label_scorer, label_score: the score that labels are compared by; None where it could not be computed.
        promoted, suppressed: tokens that its direction makes more, or less, likely, and the logits; empty where that
            could not be computed (`Atlas.absent` says why).
        top_tokens: tokens that carry most of its activation, and their shares.
        position_profile: density by position in the row, by the buckets of `Atlas.position_buckets`; None where no
            token of the text was.
        histogram: None where it is never active.
        neighbours, examples, explanations, scores, votes: rows of the tables.
        sites: of a crosscoder, what part of the latent is at which site; else empty.
    """

    latent: int
    alive: bool
    density: float
    n_active: int
    mean: float
    mean_active: float | None
    max: float
    label: str | None
    label_author: str | None
    label_method: str | None
    label_scorer: str | None
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
    votes: tuple[Vote, ...]
    sites: tuple[SiteShare, ...] = ()

    def __repr__(self) -> str:
        if not self.alive:
            return f"Feature({self.latent}: never active)"
        label = "no label" if self.label is None else repr(self.label)
        parts = f"{len(self.examples)} passages, {len(self.explanations)} explanations"
        return f"Feature({self.latent}: {label}, on {self.density:.2%} of tokens, max {self.max:.3g}, {parts})"

    @property
    def top(self) -> tuple[Example, ...]:
        """The strongest passages."""
        return tuple(example for example in self.examples if example.kind == "top")
