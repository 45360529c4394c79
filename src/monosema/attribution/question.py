"""Questions: why this answer? A prompt, and the figure that all methods take apart.

    F = log p(token)                       one token
    F = log Σ p(right) − log Σ p(wrong)    a contrast: this rather than that; of two tokens, their logits' difference
    F = Σ_t log p(y_t | prompt, y_<t)      a completion, or a message of a chat

all in nats; what is above 0 speaks for the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.attribution.pairs import Pair
from monosema.core import InputError
from monosema.models import ForwardContext, GenerationConfig, LanguageModel, Prompt, read_prompt, require_logits

_SHOWN = 80
"""Characters of a completion that its name shows."""


@runtime_checkable
class Target(Protocol):
    """An answer that is asked about."""

    @property
    def given(self) -> tuple[int, ...]:
        """Ids that the model reads behind the prompt."""
        ...

    def value(self, logits: Float[Tensor, "rows out vocab"]) -> Float[Tensor, " rows"]:
        """Return F of the logits at the last `1 + len(given)` positions; gradients reach them."""
        ...

    def probability(self, value: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
        """Return the probability of the answer that a value of F stands for."""
        ...

    def name(self, model: LanguageModel) -> str:
        """Return the answer as text."""
        ...


@dataclass(frozen=True)
class Token:
    """The next token: F = log p."""

    id: int

    @property
    def given(self) -> tuple[int, ...]:
        """Nothing."""
        return ()

    def value(self, logits: Float[Tensor, "rows out vocab"]) -> Float[Tensor, " rows"]:
        """Return the log-probability."""
        return logits[:, -1].float().log_softmax(-1)[:, self.id]

    def probability(self, value: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
        """Return p."""
        return value.exp()

    def name(self, model: LanguageModel) -> str:
        """Return the token."""
        return _named(model, [self.id])


@dataclass(frozen=True)
class Contrast:
    """The next token against others: F = log Σ exp(logits of `right`) − log Σ exp(logits of `wrong`)."""

    right: tuple[int, ...]
    wrong: tuple[int, ...]

    @property
    def given(self) -> tuple[int, ...]:
        """Nothing."""
        return ()

    def value(self, logits: Float[Tensor, "rows out vocab"]) -> Float[Tensor, " rows"]:
        """Return the log odds."""
        last = logits[:, -1].float()
        return last[:, list(self.right)].logsumexp(-1) - last[:, list(self.wrong)].logsumexp(-1)

    def probability(self, value: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
        """Return the probability of `right` where one of both is the answer."""
        return value.sigmoid()

    def name(self, model: LanguageModel) -> str:
        """Return both sides."""
        return f"{_named(model, self.right)} rather than {_named(model, self.wrong)}"


@dataclass(frozen=True)
class Completion:
    """A continuation of several tokens: F = Σ log p of each, given the prompt and those before it."""

    ids: tuple[int, ...]

    @property
    def given(self) -> tuple[int, ...]:
        """All but the last token."""
        return self.ids[:-1]

    def value(self, logits: Float[Tensor, "rows out vocab"]) -> Float[Tensor, " rows"]:
        """Return the log-probability of the whole."""
        index = torch.tensor(self.ids, device=logits.device).expand(len(logits), -1)[..., None]
        return logits.float().log_softmax(-1).gather(-1, index)[..., 0].sum(-1)

    def probability(self, value: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
        """Return the geometric mean of the tokens' probabilities."""
        return (value / len(self.ids)).exp()

    def name(self, model: LanguageModel) -> str:
        """Return the text, cut where it is long."""
        text = model.tokenizer.decode(list(self.ids), skip_special=False)
        return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


@dataclass(frozen=True, eq=False, kw_only=True)
class Question:
    """A prompt, and what is asked about it.

    Attributes:
        ids: the prompt's tokens.
        roles: the `Role` of each.
        target: the answer.
        twin: the counterfactual prompt, token by token; None where there is none.
    """

    ids: tuple[int, ...]
    roles: tuple[int, ...]
    target: Target
    twin: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.twin is not None and len(self.twin) != len(self.ids):
            raise InputError(
                f"The counterfactual prompt has {len(self.twin)} tokens, the prompt {len(self.ids)}: exchange words "
                "for others of as many tokens, so that each token has one that stands for it."
            )

    @property
    def outputs(self) -> int:
        """Positions at the end whose logits F is read from."""
        return 1 + len(self.target.given)


def ask(
    model: LanguageModel,
    prompt: Prompt,
    *,
    target: str | int | None = None,
    foil: str | int | None = None,
    alone: bool = False,
    completion: str | Sequence[int] | None = None,
    twin: Prompt | None = None,
) -> Question:
    """Ask about a prompt; what is left out is filled in: the likeliest next token, and the likeliest other one as foil.

    Args:
        prompt: a text, token ids, or the messages of a chat.
        target, foil: tokens, as text or ids. A text without the space before it stands for the form that the model
            finds likelier there.
        alone: ask about the target's own probability, against all other tokens.
        completion: a text of several tokens that is asked about instead.
        twin: the counterfactual prompt, of as many tokens.

    Raises:
        InputError: no tokens, more than the context holds, an answer that is no single token, a foil that is the
            target, a completion beside a target, or a twin of another length.
    """
    require_logits(model)
    read = read_prompt(prompt, model.tokenizer, GenerationConfig())
    twin_ids = None if twin is None else tuple(read_prompt(twin, model.tokenizer, GenerationConfig()).ids)
    if not read.ids:
        raise InputError("The prompt has no tokens. Write a few words.")
    if completion is not None and (target is not None or foil is not None):
        raise InputError("A completion is asked about as a whole: leave out the target and the foil.")
    if alone and foil is not None:
        raise InputError("A foil and the question about the target alone exclude each other: leave out one of them.")
    chosen = (
        _next_token(model, read.ids, target, foil, alone)
        if completion is None
        else Completion(_completion(model, completion))
    )
    length = len(read.ids) + len(chosen.given)
    if length > model.context:
        raise InputError(f"The text has {length:,} tokens, and the model's context holds {model.context:,}.")
    tokens = torch.tensor([read.ids])
    context = ForwardContext(tokens, roles=torch.tensor([read.roles]), special_ids=model.tokenizer.special_ids)
    return Question(ids=tuple(read.ids), roles=tuple(context.roles[0].tolist()), target=chosen, twin=twin_ids)


def question_of(pair: Pair, model: LanguageModel) -> Question:
    """Ask a task's prompt: right answers against wrong ones, with the corrupted prompt as its twin."""
    tokens = torch.tensor([pair.clean])
    roles = ForwardContext(tokens, special_ids=model.tokenizer.special_ids).roles[0]
    contrast = Contrast(tuple(pair.correct), tuple(pair.wrong))
    return Question(ids=tuple(pair.clean), roles=tuple(roles.tolist()), target=contrast, twin=tuple(pair.corrupt))


@torch.inference_mode()
def _next_token(
    model: LanguageModel, ids: list[int], target: str | int | None, foil: str | int | None, alone: bool
) -> Target:
    logits = model(torch.tensor([ids], device=model.device))[0, -1]
    best = [int(id) for id in logits.topk(2).indices]
    chosen = best[0] if target is None else _token(model, target, logits, "target")
    if alone:
        return Token(chosen)
    other = next(id for id in best if id != chosen) if foil is None else _token(model, foil, logits, "foil")
    if chosen == other:
        raise InputError(f"Target and foil are the same token, {_named(model, [chosen])}: ask why one, not the other.")
    return Contrast((chosen,), (other,))


def _token(
    model: LanguageModel, given: str | int, logits: Float[Tensor, " vocab"], what: Literal["target", "foil"]
) -> int:
    if isinstance(given, int):
        if not 0 <= given < model.vocab:
            raise InputError(f"There is no token {given}: the model knows 0 to {model.vocab - 1}.")
        return given
    forms = {given} | ({f" {given}"} if given[:1].strip() else set())
    single = [ids[0] for ids in model.tokenizer.encode_batch(sorted(forms), bos=False) if len(ids) == 1]
    if not single:
        (ids,) = model.tokenizer.encode_batch([given], bos=False)
        raise InputError(
            f"The {what} {given!r} is {len(ids)} tokens, {model.tokenizer.tokens(ids)}: name one, or ask about all of "
            "them as a completion."
        )
    return max(single, key=lambda id: float(logits[id]))


def _completion(model: LanguageModel, given: str | Sequence[int]) -> tuple[int, ...]:
    ids = model.tokenizer.encode(given, bos=False) if isinstance(given, str) else [*given]
    if not ids:
        raise InputError("The completion has no tokens. Write a few words, the space before them included.")
    return tuple(ids)


def _named(model: LanguageModel, ids: Sequence[int], most: int = 3) -> str:
    names = [repr(one) for one in model.tokenizer.tokens(list(ids[:most]))]
    return " or ".join([*names, "…"] if len(ids) > most else names)
