"""The game: F of a question with some players present and the others absent, for many sets of players at once.

Every method that asks only what the model answers needs nothing else: occlusion, LIME, Shapley values, flips, and the
test of faithfulness. Methods that look inside are given the same passes with gradients. Equal sets are run once, what
rows begin with is run once (`prefixes`), and rows are run together as far as memory allows.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from monosema.attribution.players import Pass, Players, Tokens
from monosema.attribution.prefixes import shared_logits
from monosema.attribution.question import Question
from monosema.attribution.recomputing import recomputed_blocks
from monosema.core import InputError
from monosema.models import LanguageModel, Role, Transformer

MEMORY_MB = 1024.0
"""Memory that the rows of one pass may take, where nothing else is said."""
_POSITIONS = 2048
"""Positions in one pass, beyond which more at once are no faster on a processor."""
_SHARED = 8192
"""Likewise, of rows that share what they begin with."""
_KEPT = 24
"""Values of the width of the stream, and as many of the MLP's, a position and block, that a backward pass needs."""


class Game:
    """F of a question by the players that are present.

    Attributes:
        model, question, players: these.
        rows: rows that were run so far, forward; those with gradients count as three.
    """

    def __init__(
        self, model: LanguageModel, question: Question, players: Players, memory_mb: float = MEMORY_MB
    ) -> None:
        """`memory_mb` bounds what the rows of a pass take, besides the model itself.

        Raises InputError for no memory, or a completion beyond the model's context.
        """
        if not memory_mb > 0:
            raise InputError(f"memory_mb = {memory_mb} is not valid: give megabytes above 0.")
        self.model, self.question, self.players = model, question, players
        self.rows = 0
        self._memory_mb = memory_mb
        self._given = torch.tensor(question.target.given, dtype=torch.int64, device=model.device)

    def __len__(self) -> int:
        return len(self.players.names)

    def among(self, players: Players) -> Game:
        """Return the game of the same question among other players."""
        return Game(self.model, self.question, players, self._memory_mb)

    @torch.no_grad()
    def __call__(self, present: Bool[Tensor, "m n"]) -> Float[Tensor, " m"]:
        """Return F with just these players present, for each row."""
        present = present.to(self.model.device)
        if isinstance(self.players, Tokens) and isinstance(self.model, Transformer) and self.players.removal != "mask":
            return self._shared(present)
        sets, of = torch.unique(present, dim=0, return_inverse=True)
        parts = [self.value(self.players.absent(chunk)) for chunk in sets.split(self.rows_at_once())]
        return torch.cat(parts)[of].cpu()

    def _shared(self, present: Bool[Tensor, "m n"]) -> Float[Tensor, " m"]:
        """Return the same, where rows that begin alike share that, and those that read alike are one."""
        model, players = self.model, self.players
        assert isinstance(model, Transformer)
        assert isinstance(players, Tokens)
        at, stand_ins = players.at_positions(present.float()) > 0, players.stand_ins
        read = at if stand_ins.ids is None else torch.where(at, players.ids, stand_ins.ids)
        rows, of = torch.unique(read, dim=0, return_inverse=True)
        parts = []
        for chunk in rows.split(self._rows_shared()):
            self.rows += len(chunk)
            there = chunk if stand_ins.ids is None else None
            tokens = chunk if there is None else players.ids.expand(len(chunk), -1)
            whole = torch.cat([tokens, self._given.expand(len(chunk), -1)], dim=1)
            logits = shared_logits(model, whole, there, stand_ins.vectors, self.question.outputs)
            parts.append(self.question.target.value(logits))
        return torch.cat(parts)[of].cpu()

    def _rows_shared(self) -> int:
        """Return the rows that are run together where they share their beginnings, whose keys and values are kept."""
        assert isinstance(self.model, Transformer)
        config, length = self.model.config, len(self.question.ids) + len(self._given)
        kept = 4 * 4 * config.n_layers * config.n_kv_heads * config.d_head * length
        rows = int(self._memory_mb * 2**20 / (self._row_bytes(backward=False) + kept))
        return max(min(rows, _SHARED // length), 1)

    def gradient(self, at: Float[Tensor, "m n"]) -> tuple[Float[Tensor, " m"], Float[Tensor, "m n"]]:
        """Return F and ∂F/∂c, where each player is present to the degree c of `at`.

        Raises InputError where there is nothing between a player and its absence.
        """
        values, slopes = [], []
        for chunk in at.to(self.model.device).split(self.rows_at_once(backward=True)):
            c = chunk.detach().clone().requires_grad_()
            with torch.enable_grad(), self.within_memory():
                value = self.value(self.players.mixed(c))
                (slope,) = torch.autograd.grad(value.sum(), c)
            self.rows += 2 * len(chunk)
            values.append(value.detach())
            slopes.append(slope)
        return torch.cat(values).cpu(), torch.cat(slopes).cpu()

    @functools.cached_property
    def full(self) -> float:
        """F with all players."""
        return float(self(torch.ones(1, len(self), dtype=torch.bool)))

    @functools.cached_property
    def empty(self) -> float:
        """F with none."""
        return float(self(torch.zeros(1, len(self), dtype=torch.bool)))

    @functools.cached_property
    def moving(self) -> Int[Tensor, " moving"]:
        """Players that may change F: all but tokens that the counterfactual twin shares."""
        every = torch.arange(len(self))
        return every[~self.players.idle] if isinstance(self.players, Tokens) else every

    def without_each(self) -> Bool[Tensor, "n n"]:
        """Return the sets that lack one player, in their order."""
        return ~torch.eye(len(self), dtype=torch.bool)

    def value(self, run: Pass) -> Float[Tensor, " m"]:
        """Return F of the rows of a pass; gradients go through it where they are on."""
        rows = len(run.tokens)
        self.rows += rows
        tokens, mask = self._whole(run)
        # Roles keep the positions of what a mask hides at the ends.
        roles = None if mask is None else torch.full_like(tokens, Role.PROMPT)
        with self.edited(run):
            logits = self._logits(tokens, mask, roles)
        return self.question.target.value(logits)

    @contextlib.contextmanager
    def edited(self, run: Pass) -> Iterator[None]:
        """Attach the edits of a pass."""
        with contextlib.ExitStack() as stack:
            for site, action in run.edits:
                stack.enter_context(self.model.attach(site, action))
            yield

    def _whole(self, run: Pass) -> tuple[Int[Tensor, "m total"], Bool[Tensor, "m total"] | None]:
        """Tokens and mask of the prompt, and of what the model reads behind it."""
        if not len(self._given):
            return run.tokens, run.mask
        given = self._given.expand(len(run.tokens), -1)
        mask = None if run.mask is None else torch.cat([run.mask, torch.ones_like(given, dtype=torch.bool)], dim=1)
        return torch.cat([run.tokens, given], dim=1), mask

    def _logits(
        self, tokens: Int[Tensor, "m total"], mask: Bool[Tensor, "m total"] | None, roles: Int[Tensor, "m total"] | None
    ) -> Float[Tensor, "m out vocab"]:
        outputs = self.question.outputs
        if not isinstance(self.model, Transformer):
            return self.model(tokens, mask, roles=roles)[:, -outputs:]
        if outputs == 1:
            return self.model(tokens, mask, roles=roles, last=True)
        return self.model.logits(self.model.final_residual(tokens, mask, roles=roles)[:, -outputs:])

    def within_memory(self) -> contextlib.AbstractContextManager[None]:
        """Return the block in which the backward pass of a row that is too long recomputes what it needs.

        Players within blocks are edited there, and those edits end with the forward pass: their rows are kept whole.
        """
        too_long = self._row_bytes(backward=True) > self._memory_mb * 2**20
        if too_long and isinstance(self.model, Transformer) and isinstance(self.players, Tokens):
            return recomputed_blocks(self.model)
        return contextlib.nullcontext()

    def rows_at_once(self, *, backward: bool = False) -> int:
        """Return the rows that are run together."""
        length = len(self.question.ids) + len(self._given)
        return max(min(int(self._memory_mb * 2**20 / self._row_bytes(backward)), _POSITIONS // length), 1)

    def _row_bytes(self, backward: bool) -> int:
        model, length = self.model, len(self.question.ids) + len(self._given)
        wide = model.config.d_mlp if isinstance(model, Transformer) else 4 * model.d_model
        scores = model.n_heads * length if self.players.removal == "mask" or backward else 0
        a_block = length * (_KEPT * model.d_model // 2 + 4 * wide + 2 * scores)
        values = a_block * (model.n_layers if backward else 1) + 3 * self.question.outputs * model.vocab
        return 4 * values
