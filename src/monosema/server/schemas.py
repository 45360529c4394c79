"""Shapes of what the API takes and gives."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field

from monosema.server.text import Asking


class Problem(BaseModel):
    """The error in words."""

    message: str


class ErrorReply(BaseModel):
    """An error."""

    error: Problem


class Measured(BaseModel):
    """A metric with its 95 % interval."""

    value: float
    low: float | None
    high: float | None
    n: int | None = None
    method: str | None = None


class StageCard(BaseModel):
    """A stage of a run: its name, and whether it is done, was begun, or waits."""

    name: str
    state: str
    seconds: float | None = None


class RunCard(BaseModel):
    """A run at a glance; `problem` says why it can't be read, and then there is no more than its name."""

    name: str
    changed: float
    problem: str | None = None
    title: str | None = None
    model: str | None = None
    site: str | None = None
    architecture: str | None = None
    n_latents: int | None = None
    features: int | None = None
    unit: str | None = None
    of_items: bool = False
    stages: list[StageCard] = []
    live: bool = False
    metrics: dict[str, Measured] = {}


class RunList(BaseModel):
    """A page of the runs, the newest first."""

    total: int
    offset: int
    limit: int
    runs: list[RunCard]


class RunDetail(RunCard):
    """A run with its evaluation beside controls, scores and recipe; `searches` says whether passages, and labels'
    vectors, can be searched yet."""

    folder: str
    evaluation: dict[str, Any] | None = None
    scores: list[dict[str, Any]] = []
    recipe: dict[str, Any] = {}
    absent: dict[str, str] = {}
    position_buckets: list[tuple[int, int]] = []
    sides: tuple[str, str] | None = None
    searches: dict[str, str] = {}
    notes: list[str] = []


class Metrics(BaseModel):
    """Lines of training, the place in their file behind the last of them, and whether a process writes on."""

    lines: list[dict[str, Any]]
    next: int
    live: bool


class MapOfFeatures(BaseModel):
    """Dots of the map of features, and how they lie over its axes; labels only where there are not too many.

    Attributes:
        areas: left, top, width and height of the plot area in percent of the chart, for a wide page and for a phone.
    """

    column: str
    log: bool
    label: str
    x: tuple[float, float]
    y: tuple[float, float]
    areas: list[tuple[float, float, float, float]]
    latent: list[int]
    density: list[float]
    height: list[float]
    margin: list[float | None]
    labels: list[str]


class FeatureBrief(BaseModel):
    """A feature's figures and label."""

    latent: int
    alive: bool
    density: float | None
    n_active: int
    mean: float | None
    mean_active: float | None
    max: float | None
    label: str
    label_author: str
    label_method: str
    label_scorer: str
    label_score: float | None
    label_low: float | None
    label_high: float | None
    label_control: float | None
    label_random: float | None
    label_margin: float | None
    share: float | None = None


class FeatureRow(FeatureBrief):
    """A feature in a list.

    Attributes:
        top_tokens, promoted: texts of a few tokens.
        spark: heights of its histogram, 0 to 255.
        fit, why: of a search, how well it fits and for what.
    """

    top_tokens: list[str]
    promoted: list[str]
    spark: list[int]
    fit: float | None = None
    why: str | None = None


class FeatureList(BaseModel):
    """A page of features.

    Attributes:
        total: how many fit.
        of: how many there are.
        waits: whether more will be found in a moment, once what is searched has been made.
        mode: how the text was searched for; another one than was asked for where `note` says why.
        removed: where nothing fits, how many each filter alone would have left out, the most first.
    """

    run: str
    total: int
    of: int
    offset: int
    limit: int
    mode: str
    note: str | None = None
    waits: bool = False
    removed: dict[str, int] = {}
    features: list[FeatureRow]


class Passage(BaseModel):
    """A passage and the feature's activation on each of its tokens."""

    kind: str
    rank: int
    document: float
    position: float
    peak: int
    maximum: float
    tokens: list[str]
    activations: list[float]


class Near(BaseModel):
    """Another feature that is near, and how near."""

    other: int
    value: float


class FeatureDetail(FeatureBrief):
    """A feature with all that its page shows."""

    row: int
    histogram: dict[str, Any]
    top_tokens: list[tuple[str, float | None]]
    promoted: list[tuple[str, float | None]]
    suppressed: list[tuple[str, float | None]]
    position_profile: list[float]
    neighbours: dict[str, list[Near]]
    explanations: list[dict[str, Any]]
    scores: list[dict[str, Any]]
    votes: list[dict[str, Any]]
    passages: list[Passage]


class ActivationsOf(Asking):
    """A text to read, and the latents to look at; without these, so many of those that fire.

    Attributes:
        without: a latent to take out, to see what that costs on each token.
    """

    text: str = Field(min_length=1, max_length=100_000)
    latents: list[Annotated[int, Field(ge=0, le=2**31 - 1)]] | None = Field(None, max_length=500)
    limit: int = Field(50, ge=1, le=500)
    without: int | None = Field(None, ge=0, le=2**31 - 1)


class Activations(BaseModel):
    """Tokens of a text, and each latent's activation on each of them.

    Attributes:
        looked_at: false for tokens that no code was computed on, such as the special one that a text begins with.
        active: how many features fire anywhere in the text.
        maxima, labels: of each latent in the atlas.
        costs: nats by which each token gets less likely where the latent `without` is taken out; null for the first.
    """

    tokens: list[str]
    looked_at: list[bool]
    active: int
    latents: dict[int, list[float]]
    maxima: dict[int, float]
    labels: dict[int, str]
    costs: list[float | None] | None = None


Author = Annotated[str, Field(min_length=1, max_length=100)]


class LabelGiven(Asking):
    """A label in a person's name; an empty text takes it back."""

    text: str = Field(max_length=500)
    author: Author


class VoteGiven(Asking):
    """A vote on an explanation: 1 for right, -1 for wrong, 0 takes it back; `of` is its method or author, without it
    the label that is shown."""

    vote: int = Field(ge=-1, le=1)
    voter: Author
    of: str | None = Field(None, max_length=200)


class ComparedMetric(BaseModel):
    """A metric of two runs, and the second less the first."""

    metric: str
    a: Measured
    b: Measured
    difference: Measured


class Comparison(BaseModel):
    """Two runs and the metrics that both have."""

    a: RunCard
    b: RunCard
    metrics: list[ComparedMetric]


class NamedFeature(BaseModel):
    """A feature's number and label; `nearest` is the cosine of the nearest in the other run."""

    latent: int
    label: str
    nearest: float | None = None


class MatchedPair(BaseModel):
    """Two features that are each other's nearest, and the cosine of their directions."""

    cosine: float
    a: NamedFeature
    b: NamedFeature


class MatchedFeatures(BaseModel):
    """Features of two runs that point the same way.

    Attributes:
        threshold, above: the cosine from which two count as the same, and how many pairs reach it.
        of: features of the first run.
        chance: the cosine that a random direction's nearest has, the median of many.
        only: features of the first run that the second has the least of.
    """

    threshold: float
    chance: float
    above: int
    of: int
    pairs: list[MatchedPair]
    only: list[NamedFeature]


Offset = Annotated[int, Query(ge=0, le=10_000_000)]
Limit = Annotated[int, Query(ge=0, le=500)]
