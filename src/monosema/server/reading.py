"""A prompt as the model reads it: its tokens, what it expects after each, and which features are active on each."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from monosema.core import InputError, Site
from monosema.dictionaries import Dictionary, sites_read, written_at
from monosema.interventions import TEXT
from monosema.models import (
    Fork,
    ForwardContext,
    GenerationConfig,
    LanguageModel,
    Prompt,
    Role,
    Transformer,
    read_prompt,
    require_logits,
    unembed_of,
)

VERSIONS = 4096
"""Positions that the versions of a fork have in one batch."""


@dataclass(frozen=True)
class NextToken:
    """A token that may come next, and its probability."""

    id: int
    token: str
    probability: float


@dataclass(frozen=True)
class ReadToken:
    """A token of a prompt.

    Attributes:
        role: name of its `Role`, in lower case.
        surprise: −log p of the token after those before it, in nats; None for the first.
        entropy: of the distribution of the token after it, in nats.
        next: the likeliest tokens after it, the likeliest first.
    """

    id: int
    token: str
    role: str
    surprise: float | None
    entropy: float
    next: tuple[NextToken, ...]


@dataclass(frozen=True)
class ActiveFeature:
    """A latent that is active on a token.

    Attributes:
        kl: nats by which the distribution of the token after it moves when the latent's part is taken out there.
        effect: fall of the question's value then, in nats; None without a question.
    """

    latent: int
    value: float
    kl: float | None = None
    effect: float | None = None


class PromptReading:
    """A prompt's forward pass, kept for all that is asked about it.

    Attributes:
        text, ids, roles: the prompt as the model reads it.
        logits: of the token after each position, in float32.
    """

    def __init__(self, model: LanguageModel, prompt: Prompt, limit: int | None = None) -> None:
        """`limit`: tokens that the prompt may have; None for all that the model's context holds.

        Raises InputError for no tokens, or too many.
        """
        require_logits(model)
        read = read_prompt(prompt, model.tokenizer, GenerationConfig())
        most = min(model.context, limit or model.context)
        if not read.ids:
            raise InputError("The prompt has no tokens. Write a few words.")
        if len(read.ids) > most:
            raise InputError(f"The prompt has {len(read.ids):,} tokens, and {most:,} can be shown. Shorten it.")
        self.model, self.text, self.ids = model, read.text, read.ids
        self.tokens = torch.tensor([read.ids], device=model.device)
        given = torch.tensor([read.roles], device=model.device)
        self.roles: Int[Tensor, " pos"] = ForwardContext(
            self.tokens, roles=given, special_ids=model.tokenizer.special_ids
        ).roles[0]
        with torch.inference_mode():
            self.logits: Float[Tensor, "pos vocab"] = model(self.tokens, roles=given)[0].float()

    def tokens_read(self, top: int = 10) -> list[ReadToken]:
        """Return the tokens, with the `top` likeliest after each."""
        after = self.logits.log_softmax(-1)
        best = after.topk(min(top, after.shape[-1]), dim=-1)
        entropies = -(after.exp() * after.nan_to_num(neginf=0.0)).sum(-1)
        read, tokenizer = self.ids, self.model.tokenizer
        names = tokenizer.tokens(best.indices.flatten().tolist())
        width = best.indices.shape[1]
        return [
            ReadToken(
                id=id,
                token=tokenizer.tokens([id])[0],
                role=Role(int(self.roles[at])).name.lower(),
                surprise=None if at == 0 else -float(after[at - 1, id]),
                entropy=float(entropies[at]),
                next=tuple(
                    NextToken(int(one), names[at * width + rank], float(value.exp()))
                    for rank, (one, value) in enumerate(zip(best.indices[at], best.values[at], strict=True))
                ),
            )
            for at, id in enumerate(read)
        ]

    def position(self, at: int | None) -> int:
        """Return a position, the last for None; below 0 it counts from the end. Raises InputError where none is."""
        n = len(self.ids)
        place = n - 1 if at is None else at + n if at < 0 else at
        if not 0 <= place < n:
            raise InputError(f"There is no position {at}: the prompt has {n} tokens, 0 to {n - 1}.")
        return place


@dataclass(frozen=True)
class Question:
    """Why this token? The value that methods take apart, at one position of a prompt.

        F = log p(target)                            without a foil
        F = log p(target) − log p(foil)              with one: the difference of their logits

    Attributes:
        position: what comes after it is asked about.
        target, foil: ids of tokens.
    """

    reading: PromptReading
    position: int
    target: int
    foil: int | None = None

    @classmethod
    def about(
        cls, reading: PromptReading, position: int | None = None, target: int | None = None, foil: int | None = -1
    ) -> Question:
        """Fill in what was not said: the last position, its likeliest token, and (−1) the likeliest other one.

        Raises InputError for a position or a token that there is not, or a foil that is the target.
        """
        place, vocab = reading.position(position), reading.logits.shape[-1]
        best = [int(id) for id in reading.logits[place].topk(2).indices]
        target = best[0] if target is None else target
        foil = next(id for id in best if id != target) if foil == -1 else foil
        for id in (target, foil):
            if id is not None and not 0 <= id < vocab:
                raise InputError(f"There is no token {id}: the model knows 0 to {vocab - 1}.")
        if target == foil:
            raise InputError("Token and foil are the same: ask why one rather than another.")
        return cls(reading, place, target, foil)

    def value(self, logits: Float[Tensor, "*rows vocab"]) -> Float[Tensor, "*rows"]:
        """Return F of logits at the position; gradients reach them."""
        if self.foil is None:
            return logits.float().log_softmax(-1)[..., self.target]
        return logits[..., self.target].float() - logits[..., self.foil].float()


class DictionaryReading:
    """A dictionary's codes of a prompt, and what the model does without some of them.

    Attributes:
        site: where the dictionary writes.
        where: positions that it reads: no special tokens, as it is not trained on them.
        values, latents: of each position, the strongest first; value 0 where there is no more.
    """

    def __init__(self, reading: PromptReading, dictionary: Dictionary, site: Site | None = None) -> None:
        """`site`: where it reads; None is what its metadata says. Raises InputError where that says nothing."""
        place = site or dictionary.metadata.site
        if place is None:
            raise InputError("The dictionary does not say at which site it reads: set the site in its metadata.")
        self.reading = reading
        model, sites = reading.model, sites_read(dictionary, place)
        dictionary = dictionary.to(model.device)
        with torch.inference_mode():
            got = model.activations(reading.tokens, sites)
            rows = torch.cat([got[one][0].flatten(1) for one in sites], dim=1).float()
            codes = dictionary.encode(rows).padded()
            values, order = codes.values.float().sort(dim=1, descending=True)
        writer, self.site = written_at(dictionary, sites[-1])
        self.directions: Float[Tensor, "n_latents d"] = writer.directions.detach()
        self.where: Bool[Tensor, " pos"] = torch.isin(reading.roles, torch.tensor([*TEXT], device=model.device))
        self.values: Float[Tensor, "pos k"] = values * self.where[:, None]
        self.latents: Int[Tensor, "pos k"] = codes.indices.gather(1, order)

    def active(self, at: int) -> list[ActiveFeature]:
        """Return the latents that are active on a token, the strongest first."""
        return [
            ActiveFeature(int(latent), float(value))
            for latent, value in zip(self.latents[at], self.values[at], strict=True)
            if value > 0
        ]

    def with_effects(self, at: int, question: Question | None = None, most: int = 64) -> list[ActiveFeature]:
        """Return the same, with the effects of taking each of the `most` strongest out at that token."""
        features = self.active(at)
        tried = features[:most]
        stop = at if question is None else max(at, question.position)
        clean = self._without([[]], stop)[0] if tried else None
        done = []
        for feature, logits in zip(tried, self._without([[(at, one.latent)] for one in tried], stop), strict=True):
            assert clean is not None
            before, after = clean[at].log_softmax(-1), logits[at].log_softmax(-1)
            kl = float((before.exp() * (before - after)).sum().clamp(min=0))
            effect = None
            if question is not None and question.position >= at:
                effect = float(question.value(clean[question.position]) - question.value(logits[question.position]))
            done.append(replace(feature, kl=kl, effect=effect))
        return done + features[most:]

    def effects(self, removed: Sequence[Sequence[tuple[int, int]]], question: Question) -> list[float]:
        """Return the fall of the question's value without each set of (position, latent)."""
        versions = self._without([[], *removed], question.position, question.position)
        clean = float(question.value(versions[0][0]))
        return [clean - float(question.value(one[0])) for one in versions[1:]]

    def losses_without(self, latent: int) -> tuple[Float[Tensor, " pos"], Float[Tensor, " pos"]]:
        """Return −log p of each token but the first, with the latent and with it taken out everywhere."""
        every = [(at, latent) for at in range(len(self.reading.ids)) if self.part(at, latent) > 0]
        ids = self.reading.tokens[0, 1:, None]
        clean, without = (
            -logits[:-1].log_softmax(-1).gather(1, ids)[:, 0]
            for logits in self._without([[], every], len(self.reading.ids) - 1)
        )
        return clean, without

    def logits(self, rows: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows vocab"]:
        """Return the logits of what a fork gives, unembedded in float32: in bfloat16 they would come in steps of ⅛."""
        model = self.reading.model
        if unembed_of(model, self.site) is None or not isinstance(model, Transformer):
            return rows.float()
        cap, logits = model.config.logit_softcap, torch.nn.functional.linear(rows.float(), self._unembedding)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    @functools.cached_property
    def _unembedding(self) -> Float[Tensor, "vocab d_model"]:
        model = self.reading.model
        assert isinstance(model, Transformer)
        with torch.inference_mode(False):  # gradients pass through it
            return model.unembed_weight.detach().float()

    def part(self, at: int, latent: int) -> float:
        """Return a latent's activation on a token."""
        return float((self.values[at] * (self.latents[at] == latent)).sum())

    def fork(self, stop: int) -> Fork:
        """Return the forward pass over the tokens up to `stop`, held at the site: no later one has a part in it."""
        return Fork(self.reading.model, self.site, self.reading.tokens[:, : stop + 1])

    def pushed(
        self, fork: Fork, changes: Sequence[Sequence[tuple[int, Float[Tensor, " d"]]]], at: int | None = None
    ) -> list[Float[Tensor, "pos vocab"]]:
        """Return the logits of all positions, or of one, after each set of vectors was added at positions."""
        step, done = max(1, VERSIONS // fork.activation.shape[1]), []
        for low in range(0, len(changes), step):
            versions = []
            for change in changes[low : low + step]:
                x = fork.activation.clone()
                for place, vector in change:
                    x[0, place] += vector.view(x.shape[2:]).to(x)
                versions.append(x)
            for out in fork.run(versions):
                rows = out[0] if at is None else out[0, at : at + 1]
                done.append(self.logits(rows))
        return done

    @torch.inference_mode()
    def _without(
        self, removed: Sequence[Sequence[tuple[int, int]]], stop: int, at: int | None = None
    ) -> list[Float[Tensor, "pos vocab"]]:
        changes = [
            [(place, -self.part(place, latent) * self.directions[latent]) for place, latent in one] for one in removed
        ]
        return self.pushed(self.fork(stop), changes, at) if changes else []
