"""Neurons and latents: thousands of units, all estimated at once by the gradient, the largest of them measured.

    estimate   Σ_positions ∂m/∂u · (u − u′), where u′ stands in for u          (attribution patching: Nanda 2023;
                                                                                Marks et al. 2024, arXiv:2403.19647)

The gradient is that on the end which is changed. The units with the largest estimates are exchanged one at a time, and
so are as many drawn at random: the correlation of estimates with measurements over both is part of the result. Of a
dictionary its error is kept and is a unit of its own, beside all latents together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monosema.circuits.ablations import Ablation, Resample
from monosema.circuits.contrast import Contrast, Contrasts
from monosema.circuits.metrics import Metric, last_logits
from monosema.circuits.patching import (
    Direction,
    Ends,
    Exchanged,
    Patching,
    figures_of,
    require_difference,
    versions_with,
)
from monosema.circuits.scores import Agreement, agreement, provenance
from monosema.core import InputError, Site, torch_generator
from monosema.dictionaries import Dictionary, sites_read, written_at
from monosema.interventions import Part
from monosema.models import Transformer

COLUMNS = ("measured", "estimated")
WHOLE = ("all latents", "error")
Indices = list[int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranked:
    """Units by what they do.

    Attributes:
        table: measured and estimated effects; rows are the largest by their estimate, then those drawn at random, then
            those that stand for many.
        largest, drawn: number of rows of the first two kinds.
        units: number of all units.
        agreement: of estimates with measurements over the rows of single units; None where either are all equal.
        estimated: mean estimates of all units, as shares.
    """

    table: Patching
    largest: int
    drawn: int
    units: int
    agreement: Agreement | None
    estimated: Float[Tensor, " units"]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found = {"largest": self.largest, "drawn": self.drawn, "units": self.units}
        agrees = None if self.agreement is None else asdict(self.agreement)
        return {**self.table.to_dict(), **found, "agreement": agrees}


@dataclass(frozen=True, eq=False)
class _Estimates:
    """Estimates of one group's units, and the means to measure them."""

    values: Float[Tensor, "n units"]
    whole: Float[Tensor, "n some"]
    measure: Callable[[Indices], Float[Tensor, "units_and_some n"]]


def rank_neurons(
    model: Transformer,
    contrasts: Contrasts,
    metric: Metric,
    *,
    n: int = 20,
    ablation: Ablation | None = None,
    direction: Direction = "noising",
    seed: int = 0,
) -> Ranked:
    """Rank the neurons of all MLPs, at all positions."""
    sites = [Site(layer, "mlp.post") for layer in range(model.n_layers)]
    width = model.config.d_mlp

    def estimates(group: Contrast, ends: Ends) -> _Estimates:
        values = Exchanged.of(model, group, sites, ends)
        gradients = _gradients(model, group, sites, ends, metric)
        found = [(gradients[site] * (values.put[site] - values.own[site])).sum(1) for site in sites]

        def measure(chosen: Indices) -> Tensor:
            # Read again: all groups' values are not to be held until the largest units are known.
            values, figures = Exchanged.of(model, group, sites, ends), torch.empty(len(chosen), len(group))
            for layer, site in enumerate(sites):
                rows = [row for row, unit in enumerate(chosen) if unit // width == layer]
                if rows:
                    parts = [Part(columns=[chosen[row] % width]) for row in rows]
                    figures[rows] = versions_with(model, group, site, parts, values, metric).cpu()
            return figures

        return _Estimates(torch.cat(found, 1), torch.zeros(len(group), 0), measure)

    names = [f"m{unit // width}.{unit % width}" for unit in range(width * model.n_layers)]
    return _rank(model, contrasts, metric, "neurons", names, (), estimates, n, ablation, direction, seed)


def rank_latents(
    model: Transformer,
    contrasts: Contrasts,
    metric: Metric,
    dictionary: Dictionary,
    site: Site,
    *,
    n: int = 20,
    ablation: Ablation | None = None,
    direction: Direction = "noising",
    seed: int = 0,
) -> Ranked:
    """Rank the latents of a dictionary, at all positions but those of special tokens; its error is kept.

    Raises:
        InputError: a dictionary that reads several sites, or writes where nothing is added to the residual stream.
    """
    if len(sites_read(dictionary, site)) > 1:
        raise InputError("A crosscoder's latents write several sites: rank those of a dictionary of one site.")
    writer, written = written_at(dictionary.to(model.device), site)
    stream = _stream_at(written, model)

    def estimates(group: Contrast, ends: Ends) -> _Estimates:
        base = Exchanged.of(model, group, [stream], ends).own[stream]
        codes, errors, scale = _parts(model, group, writer, site, written, ends)
        text = _is_text(model, ends.base(group))[..., None]
        gap, rest = ((put - own) * text for own, put in (codes, errors))
        gradient = _gradients(model, group, [stream], ends, metric)[stream]
        directions = writer.directions.detach().to(base)
        along = gradient @ directions.T if scale is None else gradient @ directions.T * scale
        single = along * gap
        found = torch.stack([single.sum((1, 2)), (gradient * rest).sum((1, 2))], 1)

        def measure(chosen: Indices) -> Tensor:
            moves = [gap[..., latent, None] * directions[latent] for latent in chosen] + [gap @ directions]
            moves = moves if scale is None else [move * scale for move in moves]
            versions = [base + move for move in (*moves, rest)]
            return figures_of(model, group, stream, versions, metric).cpu()

        return _Estimates(single.sum(1), found, measure)

    names = [str(latent) for latent in range(dictionary.n_latents)]
    return _rank(model, contrasts, metric, "latents", names, WHOLE, estimates, n, ablation, direction, seed)


@torch.no_grad()
def _rank(
    model: Transformer,
    contrasts: Contrasts,
    metric: Metric,
    what: str,
    names: Sequence[str],
    whole: Sequence[str],
    estimates: Callable[[Contrast, Ends], _Estimates],
    n: int,
    ablation: Ablation | None,
    direction: Direction,
    seed: int,
) -> Ranked:
    ablation, began = Resample() if ablation is None else ablation, time.perf_counter()
    ends = [Ends.of(model, group, metric, ablation, direction) for group in contrasts]
    found = [estimates(group, end) for group, end in zip(contrasts, ends, strict=True)]
    # What is lost by putting values in has the other sign than what is gained.
    sign = -1.0 if direction == "noising" else 1.0
    every = sign * torch.cat([one.values for one in found]).cpu()
    order = every.mean(0).abs().argsort(descending=True, stable=True).tolist()
    rest = order[n:]
    random = torch.randperm(len(rest), generator=torch_generator(seed, "units"))[:n].tolist()
    chosen = [*order[:n], *(rest[place] for place in random)]
    measured = torch.cat(
        [end.moved(one.measure(chosen).to(end.clean)).cpu() for one, end in zip(found, ends, strict=True)], 1
    )
    together = sign * torch.cat([one.whole for one in found]).cpu()
    moved = torch.stack([measured, torch.cat([every[:, chosen], together], 1).T], 1)
    gap = torch.cat([end.gap for end in ends]).cpu()
    require_difference(contrasts, moved, gap)
    about = provenance(model, contrasts, metric, ablation, "gradient and exact nodes", 4 + len(moved), began, 1)
    table = Patching(
        what=what,
        direction=direction,
        rows=(*(names[unit] for unit in chosen), *whole),
        columns=COLUMNS,
        moved=moved,
        gap=gap,
        about=about,
    )
    single = moved[: len(chosen)].mean(-1)
    equal = bool((single == single[:1]).all(0).any())
    return Ranked(
        table=table,
        largest=min(n, len(order)),
        drawn=len(random),
        units=len(names),
        agreement=None if equal else agreement(single[:, 1], single[:, 0]),
        estimated=every.mean(0) / gap.mean(),
    )


def _gradients(
    model: Transformer, group: Contrast, sites: Sequence[Site], ends: Ends, metric: Metric
) -> dict[Site, Tensor]:
    """Return the gradient of each prompt's metric by sites, on the end that is changed."""
    with torch.enable_grad(), model.capture(*sites, gradients=True) as got:
        figures = metric(last_logits(model, ends.base(group)), group)
        found = torch.autograd.grad(figures.sum(), [got[site] for site in sites])
    return dict(zip(sites, found, strict=True))


def _parts(
    model: Transformer, group: Contrast, writer: Dictionary, site: Site, written: Site, ends: Ends
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Tensor | None]:
    """Return codes and errors, each as they are and as they are put, and what undoes the normalisation of rows."""
    read, scales = list[tuple[Tensor, Tensor]](), list[Tensor | None]()
    for tokens in (group.clean, group.corrupt):
        got = model.activations(tokens, [site, written])
        codes = writer.encode(got[site].flatten(0, 1).float())
        scales.append(None if codes.scale is None else codes.scale.unflatten(0, tokens.shape))
        dense = codes.dense().unflatten(0, tokens.shape)
        read.append((dense, got[written] - writer.decode(codes).unflatten(0, tokens.shape)))
    clean, corrupt = read
    if ends.direction == "denoising":
        return (corrupt[0], clean[0]), (corrupt[1], clean[1]), scales[1]
    put = [ends.ablation.values(clean[part], corrupt[part], group) for part in (0, 1)]
    return (clean[0], put[0]), (clean[1], put[1]), scales[0]


def _is_text(model: Transformer, tokens: Tensor) -> Bool[Tensor, "n pos"]:
    special = sorted(model.tokenizer.special_ids)
    return ~torch.isin(tokens, torch.tensor(special, device=tokens.device, dtype=tokens.dtype))


def _stream_at(site: Site, model: Transformer) -> Site:
    """Return the site of the residual stream that holds what is written at a site."""
    added = {"mlp_out": "resid_post", "attn_out": "resid_post" if model.config.parallel else "resid_mid"}
    component = added.get(site.component, site.component)
    if not component.startswith("resid"):
        raise InputError(
            f"Latents at {site.short} are not ranked: take a dictionary of the residual stream, or of what attention "
            "or the MLP adds to it."
        )
    return Site(site.layer, component)
