"""Removals: what stands for a token that is absent.

    twin       the token of the counterfactual prompt at its place
    mean       the mean of all embeddings
    zero       an embedding of zeros
    unknown    the tokenizer's unknown token; where it has none, that of padding, or else of the end
    mask       nothing: no other token sees it, and all keep their positions

A removal decides what an attribution says: none is right for all questions, so faithfulness is tested under several.
The last token reads the answer off, and under `mask` still sees itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.attribution.question import Question
from monosema.core import InputError, UnsupportedModelError, nearest
from monosema.models import LanguageModel, Transformer

Removal = Literal["twin", "mean", "zero", "unknown", "mask"]
REMOVALS: tuple[Removal, ...] = get_args(Removal)


@dataclass(frozen=True, eq=False)
class StandIns:
    """Stand-ins for each token of a prompt.

    Attributes:
        ids: token ids; None where no tokens stand for absent ones.
        vectors: embeddings, before positions are added; None where a mask hides what is absent, or where the model is
            of another library and has no site for them.
    """

    ids: Int[Tensor, " pos"] | None
    vectors: Float[Tensor, "pos d_model"] | None


def removal_of(question: Question, name: str | None = None) -> Removal:
    """Return the removal of a name; without one, the twin where the question has one, and else the mean.

    Raises InputError for a name that there is not, and for a twin that the question has not.
    """
    if name is None:
        return "mean" if question.twin is None else "twin"
    if name not in REMOVALS:
        raise InputError(f"There is no removal {name!r}.{nearest(name, REMOVALS)} Removals: {', '.join(REMOVALS)}.")
    if name == "twin" and question.twin is None:
        raise InputError(
            "This prompt has no counterfactual twin: give one, as many tokens long, or take another removal: mean, "
            "zero, unknown, mask."
        )
    return name


@torch.no_grad()
def stand_ins(model: LanguageModel, question: Question, removal: Removal) -> StandIns:
    """Return what stands for each token.

    Raises UnsupportedModelError for embeddings of a model of another library, which have no site.
    """
    n = len(question.ids)
    if removal == "mask":
        return StandIns(None, None)
    if removal in ("mean", "zero"):
        if not isinstance(model, Transformer):
            raise UnsupportedModelError(
                f"{model.name!r} runs by another library, whose embeddings are not a site: take the removal twin, "
                "unknown or mask."
            )
        mean = model.embed.weight.float().mean(0) * model.config.embed_scale
        return StandIns(None, (mean if removal == "mean" else torch.zeros_like(mean)).expand(n, -1))
    if removal == "twin":
        assert question.twin is not None
        ids = torch.tensor(question.twin, device=model.device)
    else:
        ids = torch.full((n,), unknown_id(model), device=model.device)
    vectors = model.activations(ids[None], ["embed"])["embed"][0].float() if isinstance(model, Transformer) else None
    return StandIns(ids, vectors)


def unknown_id(model: LanguageModel) -> int:
    """Return the id of the unknown token, of padding, or of the end. Raises InputError where there is none of them."""
    tokenizer = model.tokenizer
    named = getattr(tokenizer.raw.model, "unk_token", None)
    found = (None if named is None else tokenizer.raw.token_to_id(named), tokenizer.pad_id, tokenizer.eos_id)
    id = next((one for one in found if one is not None), None)
    if id is None:
        raise InputError(f"The tokenizer of {model.name!r} has no token for what is unknown: take another removal.")
    return id
