"""Explainers that need no other language model: their open list, and the rules that they find for many latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import Field, field_validator

from monosema.atlas import Atlas, Explanation
from monosema.core import Config, InputError, Progress, SilentProgress, nearest
from monosema.interpretation.explainers.columns import ColumnExplainer, ColumnPredictor, ColumnsConfig
from monosema.interpretation.explainers.logit_effect import LogitEffectExplainer
from monosema.interpretation.explainers.neuron2graph import Neuron2GraphConfig, Neuron2GraphExplainer
from monosema.interpretation.explainers.self_explanation import SelfExplainer
from monosema.interpretation.explainers.token_lookup import TokenLookupConfig, TokenLookupExplainer
from monosema.interpretation.protocol import Explainer, Predictor, Subject
from monosema.interpretation.rules import RulePredictor
from monosema.interpretation.samples import Samples
from monosema.items import ItemModel, Items
from monosema.models import LanguageModel

_AT_ONCE = 256
"""Latents between two steps of progress: few enough that it moves, enough that equal texts are read once."""
MakeExplainer = Callable[[Subject, "ExplainConfig"], Explainer]


class ExplainConfig(Config):
    """Latents that a run explains, and the explainers."""

    methods: tuple[str, ...] = ("token lookup", "Neuron2Graph")
    """Names of explainers."""
    most: int | None = Field(None, ge=1)
    """Most latents that are explained, drawn by a hash; None for all that are ever active."""
    block: int = Field(2048, ge=1)
    """Latents that are worked on at once; what is finished of them survives a kill."""
    token_lookup: TokenLookupConfig = TokenLookupConfig()
    neuron2graph: Neuron2GraphConfig = Neuron2GraphConfig()
    columns: ColumnsConfig | None = None
    """Of the explainer of items; None is its defaults."""

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        if not methods or len(set(methods)) != len(methods):
            raise ValueError("name each method once, and at least one")
        for name in methods:
            if name not in EXPLAINERS:
                hint = nearest(name, EXPLAINERS)
                raise ValueError(f"there is no explainer {name!r}.{hint} Use some of: {', '.join(EXPLAINERS)}")
        return methods


def _token_lookup(subject: Subject, config: ExplainConfig) -> Explainer:
    rows = subject.atlas.sql("select latent, top_tokens, top_token_shares from features where alive")
    shares = {row["latent"]: list(zip(row["top_tokens"], row["top_token_shares"], strict=True)) for row in rows}
    return TokenLookupExplainer(subject.model.tokenizer, config.token_lookup, shares)


def _columns(subject: Subject, config: ExplainConfig) -> Explainer:
    return ColumnExplainer(_items_of(subject.model), config.columns)


def _items_of(model: LanguageModel) -> Items:
    if not isinstance(model, ItemModel):
        raise InputError(
            "The explainer 'columns' is for items that have columns, and this is a language model. Take another in "
            "--explain.methods."
        )
    return model.items


EXPLAINERS: dict[str, MakeExplainer] = {
    "token lookup": _token_lookup,
    "Neuron2Graph": lambda subject, config: Neuron2GraphExplainer(
        subject.probe, subject.model.tokenizer, config.neuron2graph
    ),
    "columns": _columns,
    "logit effect": lambda subject, config: LogitEffectExplainer(subject.atlas),
    "self-explanation": lambda subject, config: SelfExplainer(
        subject.model, subject.dictionary, subject.direction_site
    ),
}
"""Makers of explainers by name."""


CHECKS: dict[str, Callable[[LanguageModel], object]] = {"self-explanation": SelfExplainer.check, "columns": _items_of}
"""Checks of explainers that not every model can serve, by name."""


def register_explainer(name: str, make: MakeExplainer, check: Callable[[LanguageModel], object] | None = None) -> None:
    """Add an explainer, for `explain.methods` of a recipe; one of the same name is replaced.

    Args:
        check: raises an InputError before a run's first stage where the explainer can't work with a model.
    """
    EXPLAINERS[name] = make
    CHECKS.pop(name, None)
    if check is not None:
        CHECKS[name] = check


def check_explainers(config: ExplainConfig, model: LanguageModel) -> None:
    """Raise an InputError where an explainer of the configuration can't work with the model."""
    for name in config.methods:
        if name in CHECKS:
            CHECKS[name](model)


def rule_predictor(model: LanguageModel) -> Predictor:
    """Return what runs rules about a model's latents."""
    return ColumnPredictor(model.items) if isinstance(model, ItemModel) else RulePredictor()


def explain_latents(
    subject: Subject, samples: Samples, config: ExplainConfig | None = None, progress: Progress | None = None
) -> dict[str, dict[int, Explanation]]:
    """Explain the latents of samples by each method of the configuration; progress counts latents."""
    config, progress = config or ExplainConfig(), progress or SilentProgress()
    explainers = {method: EXPLAINERS[method](subject, config) for method in config.methods}
    explained: dict[str, dict[int, Explanation]] = {method: {} for method in explainers}
    for start in range(0, len(samples.latents), _AT_ONCE):
        some = samples.part(start, min(start + _AT_ONCE, len(samples.latents)))
        for method, explainer in explainers.items():
            explained[method] |= explainer.explain(some)
        progress.advance(len(some.latents))
    return explained


def by_latent(*explained: dict[int, Explanation]) -> dict[int, list[Explanation]]:
    """Return explanations as an atlas records them."""
    rows: dict[int, list[Explanation]] = {}
    for explanations in explained:
        for latent, explanation in explanations.items():
            rows.setdefault(latent, []).append(explanation)
    return rows


def rules_in(atlas: Atlas, author: str) -> dict[str, dict[int, Explanation]]:
    """Return an author's explanations that have a rule, by method and latent."""
    rows: list[dict[str, Any]] = atlas.sql(
        "select latent, author, method, model, prompt_version, text, program from explanations "
        "where author = ? and program is not null order by method desc, latent",
        [author],
    )
    methods: dict[str, dict[int, Explanation]] = {}
    for row in rows:
        latent = row.pop("latent")
        methods.setdefault(row["method"], {})[latent] = Explanation(**row)
    return methods
