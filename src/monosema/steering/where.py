"""Where: which tokens of a text an edit holds at.

The prompt's part and the generated part are chosen each for itself. Tokens are counted from 0 in each row, in the
prompt and in what the model writes, padding left out; special tokens and what a chat's template wrote count, but are
edited only where the clause asks for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from monosema.core import ConfigError
from monosema.models import ForwardContext, Role

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
        for field, words in (("prompt", ("all", "last")), ("generated", ("all",))):
            value = getattr(self, field)
            if value is not None and value not in words:
                object.__setattr__(self, field, _window(field, value))
        if self.prompt is None and self.generated is None:
            raise ConfigError("A where-clause needs a part: prompt and generated are both none, so it selects nothing.")

    def select(self, context: ForwardContext) -> Bool[Tensor, "batch pos"]:
        """Return True at positions of a forward pass that the clause selects.

        A prompt is looked at in the pass that reads it: its end must be in the same pass.
        """
        allowed = self._allowed(context)
        if self.prompt == "all" and self.generated == "all":
            return allowed
        return allowed & (self._of_prompt(context, allowed) | self._of_generated(context))

    def _allowed(self, context: ForwardContext) -> Tensor:
        roles = context.roles
        if self.special:
            return roles >= Role.SPECIAL if self.template else (roles >= Role.PROMPT) | (roles == Role.SPECIAL)
        return roles >= (Role.TEMPLATE if self.template else Role.PROMPT)

    def _of_prompt(self, context: ForwardContext, allowed: Tensor) -> Tensor:
        given = ~context.generated & (context.roles != Role.PADDING)
        if self.prompt is None:
            return torch.zeros_like(given)
        if self.prompt == "all":
            return given
        if self.prompt == "last":
            wanted = given & allowed
            # The last of a row is where nothing more follows.
            return wanted & (wanted.flip(1).cumsum(1).flip(1) == 1)
        positions = row_positions(context)
        ends = positions.masked_fill(~given, -1).amax(dim=1, keepdim=True) + 1
        first, last = self.prompt
        within = given & (positions >= (first if first >= 0 else ends + first))
        return within if last is None else within & (positions < (last if last >= 0 else ends + last))

    def _of_generated(self, context: ForwardContext) -> Tensor:
        if self.generated == "all" or self.generated is None:
            return context.generated if self.generated else torch.zeros_like(context.generated)
        first, last = self.generated
        within = context.generated & (context.written >= first)
        return within if last is None else within & (context.written < last)


EVERYWHERE = Where()
"""All text, of the prompt and of what is written."""


def row_positions(context: ForwardContext) -> Tensor:
    """Number the positions of a pass from 0 in each row, padding left out, with what a cache read before; [rows, pos],
    or one row where all are alike."""
    known = getattr(context, "positions", None)
    if isinstance(known, Tensor):
        return known
    assert context.tokens is not None
    counted = torch.ones_like(context.tokens) if context.counted is None else context.counted
    return (counted.cumsum(dim=1) - 1).clamp(min=0)


def _window(field: str, value: object) -> Window:
    fits = isinstance(value, (tuple, list)) and len(value) == 2
    first, last = value if isinstance(value, (tuple, list)) and fits else (None, None)
    whole = all(
        isinstance(bound, int) and not isinstance(bound, bool) for bound in (first, 0 if last is None else last)
    )
    if not fits or not whole:
        more = "'last', " if field == "prompt" else ""
        raise ConfigError(
            f"{field} = {value!r} is not valid: give 'all', {more}a window such as [0, 8] (from the first token "
            "to below the second), or none."
        )
    assert isinstance(first, int)
    assert last is None or isinstance(last, int)
    if field == "generated" and (first < 0 or (last is not None and last < 0)):
        raise ConfigError(f"{field} = {value!r} is not valid: the end of what is written is not known while it is.")
    if last is not None and last <= first and (first >= 0) == (last >= 0):
        raise ConfigError(f"{field} = {value!r} is not valid: no token is in this window. Give [first, below].")
    return first, last
