"""Explaining latents without a language model: which programs are looked for, and the looking, block by block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator

from monosema.atlas import Atlas, Explanation
from monosema.core import Config
from monosema.dictionaries import Dictionary
from monosema.interpretation.explainers.neuron2graph import Neuron2GraphConfig, Neuron2GraphExplainer
from monosema.interpretation.explainers.token_lookup import TokenLookupConfig, TokenLookupExplainer
from monosema.interpretation.measuring import Laboratory
from monosema.interpretation.programs import program_from_json
from monosema.interpretation.protocol import Explained, Explainer
from monosema.interpretation.samples import Samples
from monosema.models import LanguageModel

AUTHOR = "monosema"
"""Author of explanations by programs."""
Method = Literal["token lookup", "Neuron2Graph"]


class ExplainConfig(Config):
    """Which latents are explained without a language model, and how."""

    methods: tuple[Method, ...] = ("token lookup", "Neuron2Graph")
    """What is tried: token lookup, Neuron2Graph, or both."""
    most: int | None = Field(None, ge=1)
    """Latents that are explained, at most, drawn by a hash; None for all that are ever active."""
    block: int = Field(2048, ge=1)
    """Latents that are worked on at once; what is finished of them survives a kill."""
    token_lookup: TokenLookupConfig = TokenLookupConfig()
    neuron2graph: Neuron2GraphConfig = Neuron2GraphConfig()

    @field_validator("methods")
    @classmethod
    def _some(cls, methods: tuple[Method, ...]) -> tuple[Method, ...]:
        if not methods or len(set(methods)) != len(methods):
            raise ValueError("name each method once, and at least one")
        return methods


@dataclass(frozen=True)
class Found:
    """Explanations by method, and the tokens that went through the model to find them."""

    explained: Mapping[str, Mapping[int, Explained]]
    tokens: int


def explain_by_programs(
    atlas: Atlas, model: LanguageModel, dictionary: Dictionary, samples: Samples, config: ExplainConfig
) -> Found:
    """Explain the latents of samples by each of the methods."""
    laboratory = Laboratory(model, dictionary, atlas.site)
    rows = atlas.sql(
        "select latent, text from explanations where author = ? and method = 'token lookup' "
        "and list_contains(?, latent)",
        [AUTHOR, samples.latents.tolist()],
    )
    labels = {row["latent"]: row["text"] for row in rows}
    explainers: dict[str, Explainer] = {
        "token lookup": TokenLookupExplainer(model.tokenizer, config.token_lookup, labels),
        "Neuron2Graph": Neuron2GraphExplainer(laboratory, config.neuron2graph),
    }
    found: dict[str, Mapping[int, Explained]] = {}
    for method in config.methods:
        found[method] = {one.latent: one for one in explainers[method].explain(samples)}
    return Found(found, laboratory.tokens)


def atlas_explanations(found: Mapping[str, Mapping[int, Explained]]) -> dict[int, list[Explanation]]:
    """Explanations as an atlas keeps them, by latent."""
    kept: dict[int, list[Explanation]] = {}
    for method, explained in found.items():
        for latent, one in explained.items():
            program = None if one.program is None else one.program.to_json()
            kept.setdefault(latent, []).append(Explanation(AUTHOR, method, None, None, one.text, program))
    return kept


def programs_in(atlas: Atlas) -> dict[str, dict[int, Explained]]:
    """The explanations of an atlas that can be run, by method and latent."""
    rows: list[dict[str, Any]] = atlas.sql(
        "select latent, method, text, program from explanations where author = ? and program is not null "
        "order by method desc, latent",
        [AUTHOR],
    )
    found: dict[str, dict[int, Explained]] = {}
    for row in rows:
        one = Explained(row["latent"], row["text"], program_from_json(row["program"]))
        found.setdefault(row["method"], {})[row["latent"]] = one
    return found
