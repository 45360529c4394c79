"""Splice: dictionaries in the place of the activations that they reconstruct, at any set of sites.

    drop   x ← x̂ = decode(encode(x))
    keep   x ← x̂ + ε,   ε = x − x̂ without gradient

With the error kept the model computes what it did before, and gradients reach the codes and ε: every latent, and what
the dictionary does not explain, is a node (Marks et al. 2024, arXiv:2403.19647). Positions that are padding or special
tokens stay as they are, since dictionaries are not trained on them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from monosema.core import ConfigError, Site
from monosema.dictionaries import Codes, Dictionary, sites_read, written_at
from monosema.models import Action, BySite, ForwardContext, LanguageModel, Role

TEXT = (Role.TEMPLATE, Role.PROMPT, Role.GENERATED)
"""Roles of positions that dictionaries stand in for."""


@dataclass(frozen=True)
class Spliced:
    """A dictionary's part in a forward pass, with gradients.

    Attributes:
        where: positions that it stood in for.
        codes: one row for each of them.
        reconstruction: x̂, likewise.
        error: ε; a leaf of the graph, whether it was kept or dropped.
    """

    where: Bool[Tensor, "batch pos"]
    codes: Codes
    reconstruction: Float[Tensor, "n d_out"]
    error: Float[Tensor, "n d_out"]


@contextlib.contextmanager
def splice(
    model: LanguageModel,
    dictionaries: Mapping[Site | str, Dictionary],
    *,
    error: str = "drop",
    roles: Collection[Role] = TEXT,
) -> Iterator[BySite[Spliced]]:
    """Put dictionaries in the place of activations in every forward pass of the block, generation included.

    Args:
        dictionaries: by the site that each reads, in the model's units, as `load_dictionary` gives them. A transcoder
            writes the site that its metadata names; a crosscoder stands in for the last of its sites.
        error: "keep" adds ε, "drop" leaves it out.
        roles: positions that the dictionaries stand in for.

    Yields:
        The parts of the dictionaries in the latest pass, by the site that they write.

    Raises:
        ConfigError: another word for `error`, or a dictionary that writes before it has read.
        SiteError: the model has no such site, or no forward pass in the block came to it.
        VectorError: a dictionary of another width than the site's.
    """
    if error not in ("keep", "drop"):
        raise ConfigError(f'error = {error!r} is not valid: "keep" adds what is not reconstructed, "drop" does not.')
    parts = BySite[Spliced]()
    with contextlib.ExitStack() as stack:
        for key, dictionary in dictionaries.items():
            read = sites_read(dictionary, Site.parse(key))
            # A crosscoder's code is known when the last of its sites has been read.
            writer, place = written_at(dictionary.to(model.device), read[-1])
            _require_order(model, read, place)
            seen: dict[Site, Tensor] = {}
            for site in dict.fromkeys(read):
                if site != place:
                    stack.enter_context(model.attach(site, _remember(seen, site)))
            stack.enter_context(model.attach(place, _put(writer, read, place, seen, parts, error == "keep", roles)))
        yield parts


def put_rows(
    x: Shaped[Tensor, "batch pos ..."], where: Bool[Tensor, "batch pos"], rows: Float[Tensor, "n d"]
) -> Shaped[Tensor, "batch pos ..."]:
    """Return the activations with rows in place at the positions `where`; gradients reach the rows."""
    return x.flatten(2).index_put((where,), rows.to(x.dtype)).view(x.shape)


def _require_order(model: LanguageModel, read: Sequence[Site], place: Site) -> None:
    order = {site: number for number, site in enumerate(model.sites())}
    late = [site.short for site in read if order.get(site, -1) > order.get(place, len(order))]
    if late:
        raise ConfigError(
            f"A dictionary that writes {place.short} must have read {', '.join(late)} by then, and the model comes "
            "there later. Splice in one that writes after what it reads."
        )


def _remember(seen: dict[Site, Tensor], site: Site) -> Action:
    def action(x: Tensor, _: ForwardContext) -> Tensor:
        seen[site] = x
        return x

    return action


def _put(
    writer: Dictionary,
    read: Sequence[Site],
    place: Site,
    seen: Mapping[Site, Tensor],
    parts: BySite[Spliced],
    keeps: bool,
    roles: Collection[Role],
) -> Action:
    def action(x: Tensor, context: ForwardContext) -> Tensor:
        where = torch.isin(context.roles, torch.tensor([*roles], device=x.device))
        if not bool(where.any()):
            return x
        # n × d_in: the sites side by side, in the order in which the dictionary reads them.
        rows = torch.cat([seen.get(site, x).flatten(2)[where] for site in read], dim=1).float()
        codes = writer.encode(rows)
        made = writer.decode(codes)
        rest = (x.flatten(2)[where].float() - made).detach()
        if torch.is_grad_enabled():
            rest.requires_grad_()
        parts.put(place, Spliced(where, codes, made, rest))
        return put_rows(x, where, made + rest if keeps else made)

    return action
