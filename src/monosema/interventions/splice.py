"""Splice: dictionaries in the place of the activations that they reconstruct, at any set of sites.

    drop   x ← x̂(c),                    c = encode(x),   x̂ = decode
    keep   x ← x̂(c′) + ε,   ε = x − x̂(c),   c′ = c as a node of its own

With the error kept the model computes what it did before: values are those of the clean model, and so are gradients
upstream of the site, since what flows back through c′ and through −x̂(c) cancels. Gradients reach c′ and ε on the way:
every latent, and what the dictionary does not explain, is a node (Marks et al. 2024, arXiv:2403.19647). For the same
reason the dictionary's own weights have no gradient then. With the error dropped, gradients go back through decoder,
codes and encoder, and nowhere past them. An action on latents makes c′ of c before it is decoded; ε stays that of c.
Positions that are padding or special tokens stay as they are, since dictionaries are not trained on them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from monosema.core import ConfigError, InputError, Site, SiteError, VectorError
from monosema.dictionaries import Codes, Dictionary, sites_read, written_at
from monosema.models import Action, BySite, ForwardContext, LanguageModel, Role

TEXT = (Role.TEMPLATE, Role.PROMPT, Role.GENERATED)
"""Roles of positions that dictionaries stand in for."""


@dataclass(frozen=True)
class Spliced:
    """A dictionary's part in a forward pass, with gradients.

    Attributes:
        where: positions that it stood in for.
        codes: one row for each of them; where gradients are on, a node of the graph, whose `values.grad` is kept.
        reconstruction: x̂, likewise.
        error: ε, a node likewise where it was kept; without gradient where it was dropped.
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
    latents: Mapping[Site | str, Action] | None = None,
) -> Iterator[BySite[Spliced]]:
    """Put dictionaries in the place of activations in every forward pass of the block, generation included.

    Args:
        dictionaries: by the site that each reads, in the model's units, as `load_dictionary` gives them. A transcoder
            writes the site that its metadata names; a crosscoder stands in for the last of its sites.
        error: "keep" adds ε, "drop" leaves it out.
        roles: positions that the dictionaries stand in for.
        latents: what is done to activations of latents before they are decoded, by the site that the dictionary reads:
            an action on [batch, pos, n_latents], 0 at positions that stay as they are. `within` does it to some.

    Yields:
        The parts of the dictionaries in the latest pass, by the site that they write.

    Raises:
        ConfigError: another word for `error`, a dictionary that writes before it has read, or `latents` of a site
            that no dictionary is for.
        SiteError: the model has no such site, or no forward pass in the block came to it.
        VectorError: a dictionary of another width than the site's.
    """
    if error not in ("keep", "drop"):
        raise ConfigError(f'error = {error!r} is not valid: "keep" adds what is not reconstructed, "drop" does not.')
    if not isinstance(dictionaries, Mapping):
        raise ConfigError('Say which site each dictionary reads: splice(model, {"3.resid_post": dictionary}).')
    actions = {Site.parse(site): action for site, action in (latents or {}).items()}
    if without := [site.short for site in actions if site not in map(Site.parse, dictionaries)]:
        raise ConfigError(f"latents names {without[0]}, and no dictionary that is spliced in reads it.")
    parts = BySite[Spliced]()
    with contextlib.ExitStack() as stack:
        for key, dictionary in dictionaries.items():
            read = sites_read(dictionary, Site.parse(key))
            # A crosscoder's code is known when the last of its sites has been read.
            writer, place = written_at(dictionary.to(model.device), read[-1])
            _require_order(model, read, place)
            for site in read:
                _require_width(model, site, dictionary.d_in // len(read), "reads")
            _require_width(model, place, writer.d_out, "writes")
            seen: dict[Site, Tensor] = {}
            for site in dict.fromkeys(read):
                if site != place:
                    stack.enter_context(model.attach(site, _remember(seen, site)))
            change = actions.get(Site.parse(key))
            put = _put(writer, read, place, seen, parts, error == "keep", roles, change)
            stack.enter_context(model.attach(place, put))
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


def _require_width(model: LanguageModel, site: Site, width: int, does: str) -> None:
    """Raise VectorError where a site's rows are of another width; heads that lie side by side are one row."""
    try:
        there = model.site_width(site)
    except (SiteError, InputError):
        return  # It depends on the input, or is known after a first pass: the pass will tell.
    plain = site.component.startswith(("resid", "mlp", "attn_out"))
    if width % there or (plain and width != there):
        raise VectorError(
            f"The dictionary {does} vectors of width {width:,}, and {site.short} of {model.name} has width {there:,}. "
            "Name the site that it was trained on."
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
    change: Action | None,
) -> Action:
    def action(x: Tensor, context: ForwardContext) -> Tensor:
        where = torch.isin(context.roles, torch.tensor([*roles], device=x.device))
        if not bool(where.any()):
            return x
        # n × d_in: the sites side by side, in the order in which the dictionary reads them.
        rows = torch.cat([seen.get(site, x).flatten(2)[where] for site in read], dim=1).float()
        target, codes = x.flatten(2)[where].float(), writer.encode(rows)
        plain = writer.decode(codes)
        rest = target - plain
        if change is not None:
            codes = _changed(codes, change, where, context)
        if not torch.is_grad_enabled():
            made = plain if change is None else writer.decode(codes)
            parts.put(place, Spliced(where, codes, made, rest))
            return x if keeps and change is None else put_rows(x, where, made + rest if keeps else made)
        codes = replace(codes, values=_node(codes.values))
        made = writer.decode(codes)
        rest = _node(rest) if keeps else rest.detach()
        parts.put(place, Spliced(where, codes, made, rest))
        return put_rows(x, where, made + rest if keeps else made)

    return action


def _changed(codes: Codes, change: Action, where: Bool[Tensor, "batch pos"], context: ForwardContext) -> Codes:
    """Return the codes after an action on them, laid out by batch and position."""
    rows = codes.dense()
    whole = rows.new_zeros(*where.shape, codes.n_latents).index_put((where,), rows)
    return Codes.of(change(whole, context)[where], codes.n_latents, rows).with_bypass(codes.scale, codes.shift)


def _node(values: Tensor) -> Tensor:
    """Return the values as a node of its own, whose gradient is kept; a leaf where nothing before it has gradients."""
    if not values.requires_grad:
        return values.detach().requires_grad_()
    node = values.view_as(values)
    node.retain_grad()
    return node
