"""Steering a model's passes: each row of a batch by its own edits, for as long as a block lasts.

`steered` holds for one batch of known rows. `SteeredBatch` is the same for a batch that goes on while rows join and
leave it: its rows may be set anew between two passes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from monosema.core import InputError, Site, SiteError
from monosema.models import Action, ForwardContext, LanguageModel
from monosema.steering.changes import Mask, SiteChanges
from monosema.steering.edits import Edit, Steering
from monosema.steering.short import named
from monosema.steering.where import Tokens, Where


class SteeredRow:
    """A row of a batch with its steering, and what was edited of it so far.

    Attributes:
        steering: its edits.
        matched: where-clauses that selected a token.
        prompt_length: tokens of the prompt.
    """

    def __init__(self, steering: Steering) -> None:
        self.steering = steering
        self.matched: set[Where] = set()
        self._positions: set[int] = set()
        self.prompt_length = 0

    @property
    def prompt(self) -> set[int]:
        """Tokens of the prompt that were edited: their positions in the row, padding left out."""
        return {at for at in self._positions if at < self.prompt_length}

    @property
    def generated(self) -> set[int]:
        """Tokens of what the model wrote that were edited, counted from 0."""
        return {at - self.prompt_length for at in self._positions if at >= self.prompt_length}

    @property
    def unmatched(self) -> list[Edit]:
        """Edits whose where-clause selected nothing so far."""
        return [edit for edit in self.steering.edits if edit.where not in self.matched]

    def to_dict(self) -> dict[str, list[int]]:
        """Return the tokens that were edited, of the prompt and of what was written, as plain values."""
        return {"prompt": sorted(self.prompt), "generated": sorted(self.generated)}

    def note(self, positions: Iterable[int], prompt: int | None = None) -> None:
        """Add edited positions of the row; `prompt`: where its prompt ends, of a pass that reads it."""
        self._positions.update(positions)
        self.prompt_length = self.prompt_length if prompt is None else prompt

    def __repr__(self) -> str:
        return f"SteeredRow({self.steering!r}, prompt={sorted(self.prompt)}, generated={sorted(self.generated)})"


class SteeredBatch:
    """A batch whose passes are steered row by row, within blocks; rows may join and leave between passes.

        batch = SteeredBatch(model)
        batch.rows = [SteeredRow(steering), None]  # of the passes from now on
        with batch:
            ...

    A pass with another number of rows raises InputError. No rows steer nothing, at no cost.

    Attributes:
        edited: positions of the latest pass that were edited; None where nothing was.
    """

    def __init__(self, model: LanguageModel, every: Steering | None = None) -> None:
        """`every`: one steering for all rows, however many there are."""
        self._model, self._every = model, every
        self.edited: Bool[Tensor, "batch pos"] | None = None
        self._open = False
        self._rows: list[SteeredRow | None] = []
        self._attached: dict[Site, contextlib.AbstractContextManager[None]] = {}
        self._changes: dict[Site, SiteChanges] = {}
        self._read: set[Site] = set()
        self._reached: set[Site] = set()
        self._clauses: list[Where] = []
        self._members: list[Tensor | None] = []
        self._pass: ForwardContext | None = None
        self._seen: dict[Site, Tensor] = {}
        self._masks: list[Mask] = []
        if every is not None:
            self._plan([every])

    def __enter__(self) -> SteeredBatch:
        self._open = True
        self._attach()
        return self

    def __exit__(self, *_: object) -> None:
        self._open = False
        self._attach()
        self._pass, self._seen, self._masks = None, {}, []

    @property
    def rows(self) -> Sequence[SteeredRow | None]:
        """The rows of the next pass with what was edited of each; None for one that nothing steers."""
        return self._rows

    @rows.setter
    def rows(self, rows: Sequence[SteeredRow | None]) -> None:
        if len(rows) == len(self._rows) and all(one is other for one, other in zip(rows, self._rows, strict=True)):
            return
        self._rows = list(rows)
        self._plan([None if row is None else row.steering for row in rows])

    def require_effect(self) -> None:
        """Raise SiteError where no pass came to a site that is edited, and InputError for an edit whose where-clause
        selected no token in any row that has the edit."""
        if missed := [site for site in self._changes if site not in self._reached]:
            raise SiteError(
                f"Nothing was steered at {missed[0].short}: no forward pass came to it before its block ended. Run the "
                "model within the block."
            )
        self.require_match()

    def require_match(self) -> None:
        """Raise InputError for an edit whose where-clause selected no token in any row that has the edit."""
        rows = [row for row in self._rows if row is not None]
        edits = dict.fromkeys(edit for row in rows for edit in row.steering.edits)
        for edit in edits:
            if all(edit in row.unmatched for row in rows if edit in row.steering.edits):
                longest = max(row.prompt_length for row in rows)
                have = f"prompts have at most {longest:,} tokens"
                if len(rows) == 1:
                    have = "the prompt has 1 token" if longest == 1 else f"the prompt has {longest:,} tokens"
                raise InputError(
                    f"{named(edit)} selects no token at {edit.coordinate.site.short}, so it changed nothing: {have}. "
                    "Windows count them from 0; special tokens and those of a "
                    "chat's template are edited only with @special and @template."
                )

    def _plan(self, rows: Sequence[Steering | None]) -> None:
        given = [row for row in rows if row is not None]
        self._clauses = list(dict.fromkeys(edit.where for row in given for edit in row.edits))
        numbers = {clause: number for number, clause in enumerate(self._clauses)}
        sites = dict.fromkeys(site for row in given for site in row.sites)
        self._changes = {site: SiteChanges(site, rows, numbers) for site in sites}
        self._read = {read for change in self._changes.values() for read in change.reads}
        self._pass, self._seen, self._members = None, {}, []
        for clause in self._clauses:
            have = [row is not None and any(edit.where == clause for edit in row.edits) for row in rows]
            self._members.append(None if all(have) else torch.tensor(have, device=self._model.device)[:, None])
        self._attach()

    def _attach(self) -> None:
        """Attach to the sites of this plan alone; to none outside a block."""
        wanted = dict.fromkeys([*self._read, *self._changes]) if self._open else {}
        for site in [site for site in self._attached if site not in wanted]:
            # Rows may leave before any pass came to their sites: `require_effect` tells who wants to know.
            with contextlib.suppress(SiteError):
                self._attached.pop(site).__exit__(None, None, None)
        for site in wanted:
            if site not in self._attached:
                holding = self._model.attach(site, self._action(site))
                holding.__enter__()
                self._attached[site] = holding

    def _action(self, site: Site) -> Action:
        def action(x: Tensor, context: ForwardContext) -> Tensor:
            self._reached.add(site)
            if site in self._read:
                self._seen[site] = x
            if site not in self._changes:
                return x
            if context is not self._pass:
                self._look_at(context, x.shape)
            return self._changes[site](x, self._masks, self._seen)

        return action

    def _look_at(self, context: ForwardContext, shape: torch.Size) -> None:
        """Choose the positions of a pass, and note them."""
        if context.tokens is None or shape[:2] != context.tokens.shape:
            raise SiteError(f"Only activations of tokens can be steered; here there are some of shape {tuple(shape)}.")
        n = len(context.tokens)
        if self._every is not None:
            self._rows += [SteeredRow(self._every) for _ in range(n - len(self._rows))]
        elif len(self._rows) != n:
            raise InputError(
                f"There are {len(self._rows)} steerings, and this pass has {n} rows: give one for each, None for a row "
                "that nothing steers, or a single one for all."
            )
        self._pass, self._masks, self.edited = context, [], None
        tokens = Tokens(context.roles, context.past_roles)
        for clause, member in zip(self._clauses, self._members, strict=True):
            mask = clause.select(tokens)
            self._masks.append(Mask.of(mask if member is None else mask & member))
        self._note(tokens)

    def _note(self, tokens: Tokens) -> None:
        live = [(clause, mask) for clause, mask in zip(self._clauses, self._masks, strict=True) if mask.some]
        positions = tokens.positions.tolist()
        for clause, mask in live:
            have = range(len(positions)) if mask.every else mask.positions.any(dim=1).nonzero()[:, 0].tolist()
            for number in have:
                self._of(number).matched.add(clause)
        if live:
            first = live[0][1].positions
            self.edited = first if len(live) == 1 else torch.stack([mask.positions for _, mask in live]).any(dim=0)
        edited = None if self.edited is None else self.edited.tolist()
        prompts = (tokens.written < 0).tolist() if tokens.may_hold_prompt else None
        # One steering for all has a row for each of the largest pass so far: this pass may have fewer.
        for number, (row, at) in enumerate(zip(self._rows, positions, strict=False)):
            if row is not None:
                ends = (
                    None
                    if prompts is None
                    else max((p + 1 for p, own in zip(at, prompts[number], strict=True) if own), default=None)
                )
                row.note([] if edited is None else (p for p, own in zip(at, edited[number], strict=True) if own), ends)

    def _of(self, number: int) -> SteeredRow:
        row = self._rows[number]
        assert row is not None, "a row without a steering was edited"
        return row


@contextlib.contextmanager
def steered(model: LanguageModel, rows: Steering | Sequence[Steering | None]) -> Iterator[Sequence[SteeredRow | None]]:
    """Steer all forward passes of the block, generation included; a steering without edits changes no bit.

    Args:
        rows: one steering for all rows of the batches, or one for each row, None for rows that nothing steers.

    Yields:
        The rows, with what was edited of each over all passes so far.

    Raises:
        InputError: another number of rows than steerings; at the end, an edit whose where-clause selected no token of
            any row that has it.
        SiteError: no such site, or no pass came to it.
        VectorError: a direction of another width than its site's.
    """
    every = rows if isinstance(rows, Steering) else None
    with SteeredBatch(model, every) as batch:
        if not isinstance(rows, Steering):
            batch.rows = [None if steering is None else SteeredRow(steering) for steering in rows]
        yield batch.rows
    batch.require_effect()
