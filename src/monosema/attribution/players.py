"""Players: the parts of a forward pass among which an answer is divided; each can be present, absent, or in between.

    x(c) = x₀ + c (x − x₀),        c = 1 present, c = 0 absent

x is what the model has at the part, x₀ what stands for it when it is absent. Tokens are the players here, one by one or
as words, sentences or messages; `units` has latents, heads and neurons.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from monosema.attribution.question import Question
from monosema.attribution.removals import Removal, StandIns, removal_of, stand_ins
from monosema.core import InputError, Site, UnsupportedModelError
from monosema.models import Action, LanguageModel, Role, shown_text

Segments = Literal["tokens", "words", "sentences", "messages"]
_READ = (Role.PROMPT, Role.GENERATED)


@dataclass(frozen=True, eq=False)
class Pass:
    """A forward pass in which some players are absent.

    Attributes:
        tokens: ids of the prompt, one row for each set of players.
        mask: False where no other position sees a token; None for all.
        edits: actions by site.
    """

    tokens: Int[Tensor, "m pos"]
    mask: Bool[Tensor, "m pos"] | None = None
    edits: Sequence[tuple[Site, Action]] = ()


@runtime_checkable
class Players(Protocol):
    """Parts among which an answer is divided."""

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each."""
        ...

    @property
    def removal(self) -> str:
        """Name of the stand-in for an absent one."""
        ...

    def absent(self, present: Bool[Tensor, "m n"]) -> Pass:
        """Return the passes with just these players."""
        ...

    def mixed(self, at: Float[Tensor, "m n"]) -> Pass:
        """Return the passes with players between absent and present; gradients reach `at`.

        Raises InputError where there is nothing between.
        """
        ...


@dataclass(frozen=True, eq=False)
class Tokens:
    """Players that are tokens of the prompt, or stretches of them; special tokens and a chat's template always stay.

    Attributes:
        ids: the prompt's tokens.
        names: their texts.
        groups: positions of each.
        removal: what stands for one that is absent.
        stand_ins: likewise, position by position.
    """

    ids: Int[Tensor, " pos"]
    names: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]
    removal: Removal
    stand_ins: StandIns

    @property
    def idle(self) -> Bool[Tensor, " n"]:
        """True for each player that its own tokens stand in for, so that it is no other when it is absent."""
        stand_ins = self.stand_ins.ids
        if stand_ins is None:
            return torch.zeros(len(self.groups), dtype=torch.bool)
        same = (stand_ins == self.ids).tolist()
        return torch.tensor([all(same[at] for at in group) for group in self.groups])

    def absent(self, present: Bool[Tensor, "m n"]) -> Pass:
        """Return the passes with just these tokens."""
        ids, there = self.ids, self.at_positions(present.float()) > 0
        if self.removal == "mask":
            return Pass(ids.expand(len(present), -1), there)
        if self.stand_ins.ids is not None:
            return Pass(torch.where(there, ids, self.stand_ins.ids))
        return self.mixed(present.float())

    def mixed(self, at: Float[Tensor, "m n"]) -> Pass:
        """Return the passes with embeddings between those of absent and present tokens."""
        return Pass(self.ids.expand(len(at), -1), None, [(Site(None, "embed"), self._blend(self.at_positions(at)))])

    def at_positions(self, values: Float[Tensor, "m n"]) -> Float[Tensor, "m pos"]:
        """Return the values of players at their positions, 1 at all others."""
        index = torch.full((len(self.ids),), len(self.groups), device=values.device)
        for player, group in enumerate(self.groups):
            index[list(group)] = player
        return torch.cat([values, values.new_ones(len(values), 1)], dim=1)[:, index]

    def by_player(self, at_positions: Float[Tensor, " pos"]) -> Float[Tensor, " n"]:
        """Return the sums over the positions of each player."""
        return torch.stack([at_positions[list(group)].sum() for group in self.groups])

    def _blend(self, weights: Float[Tensor, "m pos"]) -> Action:
        vectors = self.stand_ins.vectors
        if vectors is None:
            raise InputError(
                f"Nothing lies between a token and its absence under the removal {self.removal!r}, so there is no "
                "gradient: take the removal twin, mean, zero or unknown, with a model that is read into our decoder."
            )

        def blend(x: Tensor, _: object) -> Tensor:
            n = weights.shape[1]
            mixed = torch.lerp(vectors.to(x), x[:, :n], weights[..., None].to(x))
            return mixed if x.shape[1] == n else torch.cat([mixed, x[:, n:]], dim=1)

        return blend


def tokens_of(model: LanguageModel, question: Question, segments: str = "tokens", removal: str | None = None) -> Tokens:
    """Return the tokens, words, sentences or messages of a prompt as players.

    Args:
        removal: see `removals`; without it the twin, where there is one, or else the mean embedding.

    Raises:
        InputError: another word for the segments or the removal, a twin that there is not, or no tokens of text.
        UnsupportedModelError: a removal that needs the embeddings of a model of another library.
    """
    if segments not in get_args(Segments):
        raise InputError(f"There are no players {segments!r}: take {', '.join(get_args(Segments))}.")
    texts = model.tokenizer.tokens(list(question.ids))
    read = [at for at, role in enumerate(question.roles) if role in _READ]
    if not read:
        raise InputError("The prompt has no tokens but special ones and those of a template. Write a few words.")
    runs, groups = _runs(read), list[tuple[int, ...]]()
    if segments == "tokens":
        groups = [(at,) for at in read]
    elif segments == "messages":
        groups = [tuple(run) for run in runs]
    else:
        groups = [group for run in runs for group in _cut(run, texts, segments)]
    names = tuple(_name([texts[at] for at in group]) for group in groups)
    chosen = removal_of(question, removal)
    ids = torch.tensor(question.ids, device=model.device)
    return Tokens(ids, names, tuple(groups), chosen, stand_ins(model, question, chosen))


def need_tokens(players: Players, method: str) -> Tokens:
    """Return players that are tokens. Raises UnsupportedModelError for others, with the method's name."""
    if not isinstance(players, Tokens):
        raise UnsupportedModelError(f"{method} divides an answer among tokens only: take tokens, words or sentences.")
    return players


def _name(tokens: Sequence[str]) -> str:
    """Join tokens, with ``<0xF0>`` for bytes that are no whole character: players are told apart by their names."""
    text = shown_text(tokens)
    return "".join(tokens) if "\N{REPLACEMENT CHARACTER}" in text else text


def _runs(positions: Sequence[int]) -> list[list[int]]:
    """Stretches without a gap: in a chat, the messages between what the template writes."""
    runs: list[list[int]] = [[positions[0]]]
    for before, at in itertools.pairwise(positions):
        if at == before + 1:
            runs[-1].append(at)
        else:
            runs.append([at])
    return runs


def _cut(run: Sequence[int], texts: Sequence[str], segments: str) -> list[tuple[int, ...]]:
    """Cut a stretch where words or sentences begin; a token that holds several beginnings begins one."""
    ends = [0, *itertools.accumulate(len(texts[at]) for at in run)]
    text = "".join(texts[at] for at in run)
    starts = _word_starts(text) if segments == "words" else _sentence_starts(text)
    groups: list[list[int]] = []
    for index, at in enumerate(run):
        begins = any(ends[index] <= start < ends[index + 1] for start in starts)
        if begins or not groups:
            groups.append([at])
        else:
            groups[-1].append(at)
    return [tuple(group) for group in groups]


def _word_starts(text: str) -> list[int]:
    return [at for at, sign in enumerate(text) if not sign.isspace() and (at == 0 or text[at - 1].isspace())]


def _sentence_starts(text: str) -> list[int]:
    from monosema.data import SentenceSplitter

    lengths = [len(sentence) for sentence in SentenceSplitter([text]).split(text)]
    return [0, *itertools.accumulate(lengths)][:-1]
