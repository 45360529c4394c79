"""Scores of heads: how much each looks and writes as a head of some role does, prompt by prompt.

An open list, `HEAD_SCORES`: an object with a name and `score`, registered in one line. Most are the share of attention
on the cells where such a head looks; what a head causes is measured beside it (see `ablating`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monosema.circuits.contrast import Contrast
from monosema.circuits.heads.paths import PathKind
from monosema.circuits.heads.texts import Repeated
from monosema.models import Transformer
from monosema.models.decoder import Block

TextKind = Literal["repeated", "ioi"]
"""Text that a score is read on: random tokens twice, or prompts of indirect object identification."""
_NEAREST = 5
"""Tokens among which a copied name must be (Wang et al. 2022)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerReading:
    """Attention of one layer on a text.

    Attributes:
        model: the model.
        layer: index of the block.
        pattern: attention; each row sums to 1.
        text: repeated tokens, or prompts.
        early: residual stream after the first block, from which names are copied.
    """

    model: Transformer
    layer: int
    pattern: Float[Tensor, "n head query key"]
    text: Repeated | Contrast
    early: Float[Tensor, "n pos d_model"]


@runtime_checkable
class HeadScore(Protocol):
    """A score of every head of a layer on every text."""

    @property
    def name(self) -> str:
        """The name of the role."""
        ...

    @property
    def about(self) -> str:
        """One line for tables."""
        ...

    @property
    def text(self) -> TextKind:
        """The kind of text that it is read on."""
        ...

    @property
    def enough(self) -> float:
        """The value from which on a head is said to look so, if its interval lies above all heads of the model with
        weights drawn anew. A convention."""
        ...

    @property
    def acts(self) -> PathKind | None:
        """The path along which its effect must lie above 0 too, where the role is one of doing; None for looking."""
        ...

    @property
    def sign(self) -> Literal[1, -1]:
        """1 for a role that helps along that path, −1 for one that hinders."""
        ...

    def score(self, reading: LayerReading) -> Float[Tensor, "n head"]:
        """Return the score of each head, from 0 to 1."""
        ...


@dataclass(frozen=True)
class Attends:
    """Mean attention on the cells where a head of this role looks, over the queries that have such a cell.

    Attributes:
        cells: from a text to its cells.
    """

    name: str
    about: str
    text: TextKind
    cells: Callable[[LayerReading], Bool[Tensor, "n query key"]]
    enough: float = 1 / 3
    acts: PathKind | None = None
    sign: Literal[1, -1] = 1

    def score(self, reading: LayerReading) -> Float[Tensor, "n head"]:
        """Return the mean share."""
        cells = self.cells(reading)
        on = (reading.pattern * cells[:, None]).sum(-1)  # n × head × query
        asked = cells.any(-1)[:, None]
        return (on * asked).sum(-1) / asked.sum(-1)


@dataclass(frozen=True)
class Positional:
    """Share of a pattern that position alone explains, whatever the tokens; of attention behind the first position.

        m · (1 − Σ (A − Ā)² / Σ (A − U)²),     Ā: mean over texts;  U: equal attention on all that is seen

    m is the share of attention that does not go to the first position, and A is what goes elsewhere, as shares of it.
    0 also for a head that spreads its attention equally. A text's figure is that of its own cells.
    """

    name: str = "positional"
    about: str = "where it looks depends on position alone"
    text: TextKind = "repeated"
    enough: float = 2 / 3
    acts: PathKind | None = None
    sign: Literal[1, -1] = 1

    def score(self, reading: LayerReading) -> Float[Tensor, "n head"]:
        """Return the share."""
        elsewhere = reading.pattern[:, :, 1:, 1:]
        mass = elsewhere.sum(-1, keepdim=True)
        shares = elsewhere / mass.clamp_min(1e-6)
        seen = torch.ones_like(shares[0, 0]).tril()
        from_mean = (shares - shares.mean(0)).square().sum((-2, -1))
        from_equal = (shares - seen / seen.sum(-1, keepdim=True)).square().sum((-2, -1))
        return mass.mean((-2, -1)) * (1 - from_mean / from_equal.clamp_min(1e-9)).clamp(0, 1)


@dataclass(frozen=True)
class Moves:
    """Attention from the end to the indirect object, of heads whose output there brings up (or down) that very name.

    Counted is the attention where the name is among the five likeliest tokens (unlikeliest, for negative movers) by
    W_OV alone: the stream after the first block at the name, through the layer's norm, values, output and the
    unembedding. Source of the copy score: Wang et al. 2022, arXiv:2211.00593.
    """

    name: str
    about: str
    sign: Literal[1, -1]
    text: TextKind = "ioi"
    enough: float = 1 / 3
    acts: PathKind | None = "straight"

    def score(self, reading: LayerReading) -> Float[Tensor, "n head"]:
        """Return the attention."""
        contrast = reading.text
        assert isinstance(contrast, Contrast)
        rows = torch.arange(len(contrast), device=contrast.clean.device)
        at = contrast.positions["IO"]
        looks = reading.pattern[rows, :, -1, at]
        return looks * self.copies(reading)

    def copies(self, reading: LayerReading) -> Float[Tensor, "n head"]:
        """Return 1 where the head copies the name (pushes it down, for negative movers), else 0."""
        contrast = reading.text
        assert isinstance(contrast, Contrast)
        rows = torch.arange(len(contrast), device=contrast.clean.device)
        at = contrast.positions["IO"]
        moved = moved_by_values(reading.model, reading.layer, reading.early[rows, at])
        logits = self.sign * reading.model.unembed(moved.flatten(0, 1)).unflatten(0, moved.shape[:2])
        name = contrast.clean[rows, at][:, None, None].expand(-1, logits.shape[1], 1)
        return ((logits > logits.gather(-1, name)).sum(-1) < _NEAREST).float()


def moved_by_values(model: Transformer, layer: int, x: Float[Tensor, "n d_model"]) -> Float[Tensor, "n head d_model"]:
    """Return what each head of a layer would add if it attended to the residual stream `x` alone."""
    block = model.blocks[layer]
    assert isinstance(block, Block)
    attn = block.attn
    values = attn.qkv(x if block.ln1 is None else block.ln1(x))[:, -attn.sizes[2] :]
    shared = values.unflatten(-1, (attn.n_kv_heads, attn.d_head))
    each = shared.repeat_interleave(attn.n_heads // attn.n_kv_heads, dim=1)
    added = torch.einsum("nhk,dhk->nhd", each, attn.o.weight.unflatten(1, (attn.n_heads, attn.d_head)))
    # A norm behind the attention scales all that is added alike, and has a gain for each dimension.
    return added if block.ln1_post is None else added * block.ln1_post.gain()


def _previous(reading: LayerReading) -> Bool[Tensor, "n query key"]:
    n, _, length, _ = reading.pattern.shape
    return torch.eye(length, device=reading.pattern.device, dtype=torch.bool).roll(-1, 1).tril().expand(n, -1, -1)


def _first(reading: LayerReading) -> Bool[Tensor, "n query key"]:
    cells = torch.zeros_like(reading.pattern[:, 0], dtype=torch.bool)
    cells[:, 1:, 0] = True
    return cells


def _copy(offset: int) -> Callable[[LayerReading], Bool[Tensor, "n query key"]]:
    """Cells of the second block: to the same token in the first one, or so many behind it."""

    def cells(reading: LayerReading) -> Bool[Tensor, "n query key"]:
        assert isinstance(reading.text, Repeated)
        period, found = reading.text.period, torch.zeros_like(reading.pattern[:, 0], dtype=torch.bool)
        query = torch.arange(found.shape[1] - period, found.shape[1], device=found.device)
        found[:, query, query - period + offset] = True
        return found

    return cells


def _roles(query: str, key: str) -> Callable[[LayerReading], Bool[Tensor, "n query key"]]:
    """The cell from the word of one role to that of another."""

    def cells(reading: LayerReading) -> Bool[Tensor, "n query key"]:
        assert isinstance(reading.text, Contrast)
        found, at = torch.zeros_like(reading.pattern[:, 0], dtype=torch.bool), reading.text.positions
        found[torch.arange(len(found), device=found.device), at[query], at[key]] = True
        return found

    return cells


HEAD_SCORES: dict[str, HeadScore] = {
    one.name: one
    for one in (
        Attends("sink", "looks at the first position", "repeated", _first, enough=0.5),
        Positional(),
        Attends("previous", "looks at the token before", "repeated", _previous),
        Attends("duplicate", "looks at the same token earlier on", "repeated", _copy(0)),
        Attends("induction", "looks at what followed the same token earlier on", "repeated", _copy(1)),
        Attends("duplicate_name", "from the repeated name to its first occurrence", "ioi", _roles("S2", "S1")),
        Attends("s_inhibition", "from the end to the repeated name", "ioi", _roles("END", "S2"), acts="queries"),
        Attends(
            "answer_carrier",
            "from the end to the repeated name, where it finds the answer",
            "ioi",
            _roles("END", "S2"),
            acts="straight",
        ),
        Moves("name_mover", "from the end to the indirect object, whose name it brings up", 1),
        Moves("negative_mover", "from the end to the indirect object, whose name it pushes down", -1),
    )
}
"""Scores by the name of the role."""


def register_head_score(score: HeadScore) -> None:
    """Add a score to the open list."""
    HEAD_SCORES[score.name] = score
