"""Where: which tokens of a text an edit holds at.

The prompt's part and the generated part are chosen each for itself. Tokens are counted from 0 in each row, in the
prompt and in what the model writes, padding left out; special tokens and what a chat's template wrote count, but are
edited only where the clause asks for them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from monosema.core import ConfigError
from monosema.models import Role

Window = tuple[int, int | None]
"""The first token, and the one behind the last, as slices have them; None is the end. Of a prompt, numbers below 0
count from its end."""


@dataclass(frozen=True)
class Where:
    """A where-clause.

    Attributes:
        prompt: tokens of the prompt: all, the last that may be edited, a window, or none.
        generated: tokens that the model writes: all, a window, or none.
        special: True to edit special tokens, such as BOS.
        template: True to edit what a chat's template wrote around messages.
    """

    prompt: Literal["all", "last"] | Window | None = "all"
    generated: Literal["all"] | Window | None = "all"
    special: bool = False
    template: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt", prompt_part(self.prompt))
        object.__setattr__(self, "generated", generated_part(self.generated))
        if self.prompt is None and self.generated is None:
            raise ConfigError("A where-clause needs a part: prompt and generated are both none, so it selects nothing.")

    def select(self, tokens: Tokens) -> Bool[Tensor, "batch pos"]:
        """Return True at the positions of a pass that the clause selects."""
        allowed = self._allowed(tokens.roles)
        if self.prompt == "all" and self.generated == "all":
            return allowed
        return allowed & (self._of_prompt(tokens, allowed) | self._of_generated(tokens))

    def _allowed(self, roles: Tensor) -> Tensor:
        if self.special:
            return roles >= Role.SPECIAL if self.template else (roles >= Role.PROMPT) | (roles == Role.SPECIAL)
        return roles >= (Role.TEMPLATE if self.template else Role.PROMPT)

    def _of_prompt(self, tokens: Tokens, allowed: Tensor) -> Tensor:
        given = (tokens.written < 0) & (tokens.roles != Role.PADDING)
        if self.prompt == "all" or self.prompt is None:
            return given if self.prompt else torch.zeros_like(given)
        if self.prompt == "last":
            wanted = given & allowed
            # The last of a row is where nothing more follows.
            return wanted & (wanted.flip(1).cumsum(1).flip(1) == 1)
        ends = tokens.positions.masked_fill(~given, -1).amax(dim=1, keepdim=True) + 1
        first, last = self.prompt
        within = given & (tokens.positions >= (first if first >= 0 else ends + first))
        return within if last is None else within & (tokens.positions < (last if last >= 0 else ends + last))

    def _of_generated(self, tokens: Tokens) -> Tensor:
        if self.generated is None:
            return torch.zeros_like(tokens.written, dtype=torch.bool)
        first, last = (0, None) if self.generated == "all" else self.generated
        within = tokens.written >= first
        return within if last is None else within & (tokens.written < last)


class Tokens:
    """The tokens of a forward pass, as where-clauses see them.

    A prompt is looked at in the pass that reads it, as a whole. What is written begins with its first token that is no
    special one.

    Attributes:
        roles: the `Role` of each position.
    """

    def __init__(self, roles: Int[Tensor, "batch pos"], past: Int[Tensor, "batch past"] | None = None) -> None:
        """`past`: roles of what a cache holds."""
        self.roles = roles
        self._whole = roles if past is None else torch.cat((past, roles), dim=1)

    @functools.cached_property
    def written(self) -> Int[Tensor, "batch pos"]:
        """The index of each position among those that the model wrote, special tokens counted; −1 before them."""
        generated = self._whole == Role.GENERATED
        written = generated | ((self._whole == Role.SPECIAL) & (generated.cumsum(dim=1) > 0))
        return (written.cumsum(dim=1).masked_fill(~written, 0) - 1)[:, -self.roles.shape[1] :]

    @functools.cached_property
    def positions(self) -> Int[Tensor, "batch pos"]:
        """The number of each position in its row, padding left out."""
        if self.roles.shape[1] == 1:
            return (self._whole != Role.PADDING).sum(dim=1, keepdim=True) - 1
        return ((self._whole != Role.PADDING).cumsum(dim=1) - 1)[:, -self.roles.shape[1] :]

    @property
    def may_hold_prompt(self) -> bool:
        """True unless this is one token behind others, all of which were written."""
        single = self.roles.shape[1] == 1 and self._whole.shape[1] > 1
        return not single or bool(((self.roles == Role.PROMPT) | (self.roles == Role.TEMPLATE)).any())


def prompt_part(value: object) -> Literal["all", "last"] | Window | None:
    """Return the part of a prompt that a value says, "none" for None too. Raises ConfigError for any other."""
    if value is None or value == "none":
        return None
    if isinstance(value, str) and value in ("all", "last"):
        return "all" if value == "all" else "last"
    return _window("prompt", value, "'all', 'last', 'none'")


def generated_part(value: object) -> Literal["all"] | Window | None:
    """Return the part of what is written that a value says, as `prompt_part` does."""
    if value is None or value == "none":
        return None
    if isinstance(value, str) and value == "all":
        return "all"
    first, last = _window("generated", value, "'all', 'none'")
    if first < 0 or (last is not None and last < 0):
        raise ConfigError(f"generated = {value!r} is not valid: the end of what is written is not known while it is.")
    return first, last


def _window(field: str, value: object, words: str) -> Window:
    bounds = list(value) if isinstance(value, (tuple, list)) else []
    if len(bounds) == 1:
        bounds.append(None)
    if len(bounds) != 2 or bounds[0] is None or any(type(one) not in (int, type(None)) for one in bounds):
        raise ConfigError(
            f"{field} = {value!r} is not valid: give {words}, or a window such as [0, 8], from the first token to "
            "below the second."
        )
    first, last = bounds
    if last is not None and last <= first and (first >= 0) == (last >= 0):
        raise ConfigError(f"{field} = {value!r} is not valid: no token is in this window. Give [first, below].")
    return first, last


DEFAULT = Where()
"""All text, of the prompt and of what is written."""
EVERY_TOKEN = Where(special=True, template=True)
"""The same with special tokens and a chat's template, as other programs steer."""
