"""Places: what node-level patching exchanges one at a time, as the rows and columns of a table.

An open list: a name, the site, and what its columns are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from monosema.circuits.contrast import Contrast, Contrasts
from monosema.core import ConfigError, InputError, Site, nearest
from monosema.interventions import Part
from monosema.models import LanguageModel, Transformer

Across = Literal["positions", "heads", "heads and positions"]
Naming = Literal["roles", "tokens"]
REST = "others"
"""Name of all positions together that have no role."""


@dataclass(frozen=True)
class Places:
    """A kind of place.

    Attributes:
        name: key of `PLACES`.
        about: one line for people.
        component: the site in each block.
        across: what columns are; where it is both, each head is a row of its own, else each block.
    """

    name: str
    about: str
    component: str
    across: Across

    def rows(self, model: Transformer) -> list[tuple[str, Site, int | None]]:
        """Return name, site and head of each row."""
        sites = [Site(layer, self.component) for layer in range(model.n_layers)]
        if self.across != "heads and positions":
            return [(f"block {site.layer}", site, None) for site in sites]
        return [(f"a{site.layer}.h{head}", site, head) for site in sites for head in range(self.n_heads(model))]

    def columns(self, model: Transformer, positions: Positions) -> tuple[str, ...]:
        """Return the names of columns."""
        heads = tuple(f"h{head}" for head in range(self.n_heads(model)))
        return heads if self.across == "heads" else positions.names

    def parts(self, model: Transformer, positions: Positions, contrast: Contrast, head: int | None) -> list[Part]:
        """Return the part of the site's value that each column of a row stands for."""
        if self.across == "heads":
            return [Part(heads=[number]) for number in range(self.n_heads(model))]
        heads = None if head is None else [head]
        return [Part(heads=heads, positions=mask) for mask in positions.masks(contrast)]

    def n_heads(self, model: Transformer) -> int:
        """Heads at the site; those that are shared where it is keys or values."""
        return model.config.n_kv_heads if self.component in ("k", "v", "k_input", "v_input") else model.n_heads


PLACES: dict[str, Places] = {}
"""Kinds of places by name."""


def register_places(places: Places) -> None:
    """Add a kind of place. Raises ConfigError where its name is taken."""
    if places.name in PLACES:
        raise ConfigError(f"There are places {places.name!r} already.")
    PLACES[places.name] = places


def places_named(name: str) -> Places:
    """Return a kind of place by its name. Raises InputError where there is none."""
    if name not in PLACES:
        raise InputError(f"There are no places {name!r}.{nearest(name, PLACES)} Places: {', '.join(PLACES)}.")
    return PLACES[name]


@dataclass(frozen=True)
class Positions:
    """Positions as columns: each role's token and all others together, or each token.

    Attributes:
        names: of the columns, in the order of the text.
        naming: which of the two.
    """

    names: tuple[str, ...]
    naming: Naming

    @classmethod
    def of(cls, contrasts: Contrasts, model: LanguageModel, naming: Naming = "roles") -> Positions:
        """Return the positions of a task's prompts.

        Raises InputError where each token is asked for, and prompts are of several lengths.
        """
        first = contrasts.groups[0]
        if naming == "tokens":
            lengths = dict.fromkeys(group.clean.shape[1] for group in contrasts)
            if len(lengths) > 1:
                said = ", ".join(map(str, lengths))
                raise InputError(
                    f"The prompts of {contrasts.task!r} are {said} tokens long, so a column for each token would mix "
                    "them: take roles, or prompts of one length."
                )
            words = [model.tokenizer.tokens(row.tolist()) for group in contrasts for row in group.clean]
            names = tuple(
                f"{place} {words[0][place] if len({row[place] for row in words}) == 1 else '·'}"
                for place in range(first.clean.shape[1])
            )
            return cls(names, naming)
        shared = [role for role in first.positions if all(role in group.positions for group in contrasts)]
        places = {role: float(first.positions[role].float().mean()) for role in shared}
        return cls((*sorted(shared, key=places.__getitem__), REST), naming)

    def masks(self, contrast: Contrast) -> list[Bool[Tensor, "n pos"]]:
        """Return the positions of each column, in each prompt."""
        n, length = contrast.clean.shape
        if self.naming == "tokens":
            return [mask.expand(n, -1) for mask in torch.eye(length, dtype=torch.bool).split(1)]
        masks = [_one_a_row(contrast.positions[role], length) for role in self.names[:-1]]
        rest = ~torch.stack([*masks, torch.zeros(n, length, dtype=torch.bool)]).any(0)
        return [*masks, rest]


def _one_a_row(index: Tensor, length: int) -> Tensor:
    return torch.arange(length)[None] == index.cpu()[:, None]


def _registered(places: Sequence[Places]) -> None:
    for one in places:
        register_places(one)


_registered(
    [
        Places("residual", "the residual stream before each block, by position", "resid_pre", "positions"),
        Places("attention", "what the attention of each block adds, by position", "attn_out", "positions"),
        Places("mlps", "what the MLP of each block adds, by position", "mlp_out", "positions"),
        Places("heads", "the output of each head, at all positions", "z", "heads"),
        Places("heads-by-position", "the output of each head, by position", "z", "heads and positions"),
        Places("queries", "the queries of each head", "q", "heads"),
        Places("keys", "the keys of each head, or of those that share them", "k", "heads"),
        Places("values", "the values of each head, or of those that share them", "v", "heads"),
        Places("patterns", "where each head looks", "pattern", "heads"),
    ]
)
