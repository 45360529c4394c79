"""Crosscoder: one code for several sites (Lindsey et al. 2024, "Sparse Crosscoders for Cross-Layer Features and Model
Diffing", Transformer Circuits).

    c = activation(Σ_s W_enc,s (x_s − b_s) + b_enc),   x̂_s = W_dec,sᵀ c + b_s,   s = 1 … sites

Sites stand side by side in a row: layers of one model, or the same site of two models. The error is summed over sites.
relu: penalty λ Σ_i c_i Σ_s ‖W_dec,s,i‖ as in the paper, decoder norms are free. topk: k latents a row, and all of a
latent's decoder rows together have norm 1. For the losses see `several_sites`.

Which sites a latent belongs to is read from the norms of its decoder rows (`relative_norms`): for two models, 0 or 1 is
exclusive, about ½ is shared.

Departures. b_s is taken from the input, which changes what b_enc means and not what can be learned. topk and
batch_topk are not in the paper. Decoder rows start towards data points, and encoder rows as these times the factor that
reconstructs best.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from monosema.core import ConfigError, VectorError
from monosema.dictionaries.protocol import StepContext
from monosema.dictionaries.resampling import resample_towards_residuals
from monosema.dictionaries.several_sites import SeveralSites, SeveralSitesConfig
from monosema.dictionaries.terms import batch_variance


class CrosscoderConfig(SeveralSitesConfig):
    """What a crosscoder is."""

    d_in: int = Field(0, ge=0)
    """Width of a row: n_sites × width, which 0 stands for."""
    n_sites: int = Field(2, gt=0)
    """Sites side by side in a row."""
    width: int = Field(gt=0)
    """Values of each site."""
    scales: tuple[float, ...] = ()
    """What each site's activations were multiplied with in training, once that is folded in; empty is 1 for all."""

    @model_validator(mode="before")
    @classmethod
    def _with_d_in(cls, values: Any) -> Any:
        sites, width = values.get("n_sites", 2), values.get("width")
        if values.get("d_in") or not isinstance(sites, int) or not isinstance(width, int):
            return values
        return {**values, "d_in": sites * width}


class Crosscoder(SeveralSites):
    """A crosscoder; see the module's equation. Its input and output rows are all sites' side by side."""

    def __init__(self, config: CrosscoderConfig, *arguments: Any, **named: Any) -> None:
        """Random start. Raises ConfigError where widths or the number of scales don't fit together."""
        if config.d_in != config.n_sites * config.width:
            raise ConfigError(
                f"CrosscoderConfig.d_in = {config.d_in} is not valid: {config.n_sites} sites of width {config.width} "
                f"make {config.n_sites * config.width}."
            )
        if len(config.scales) not in (0, config.n_sites):
            raise ConfigError(f"CrosscoderConfig.scales needs {config.n_sites} values, not {len(config.scales)}.")
        super().__init__(config, *arguments, **named)

    def sides(self, rows: Float[Tensor, "n row_width"]) -> tuple[Float[Tensor, "n d_in"], Float[Tensor, "n d_out"]]:
        """The same rows twice: all sites are read and written."""
        rows = self._checked(rows)
        return rows, rows

    @property
    def site_directions(self) -> Float[Tensor, "n_latents n_sites width"]:
        """What each latent adds at each site when its activation is 1."""
        return self._by_site(self.directions)

    def relative_norms(self) -> Float[Tensor, "n_latents n_sites"]:
        """Each site's share of the sum of a latent's decoder norms, in training units, where sites are alike in size.

        Near 1 / n_sites: shared; near 1 at one site: exclusive to it. A latent without any norm has equal shares.
        """
        norms = torch.linalg.vector_norm(self.site_directions, dim=2) * self.site_scales
        total = norms.sum(dim=1, keepdim=True)
        return torch.where(total > 0, norms / total, 1 / self.config.n_sites)

    @torch.no_grad()
    def fvu_of_sites(self, rows: Float[Tensor, "n row_width"]) -> Float[Tensor, " n_sites"]:
        """Share of variance left unexplained at each site: Σ‖x_s − x̂_s‖² / Σ‖x_s − x̄_s‖²."""
        error = self._by_site(rows - self(rows)).square().sum(dim=(0, 2))
        return error / torch.stack([batch_variance(site) for site in self._by_site(rows).unbind(dim=1)])

    def resample(self, x: Float[Tensor, "n row_width"], context: StepContext) -> Int[Tensor, " latents"]:
        """But for relu: give silent latents a new start at the chosen points of the run."""
        points = self.config.resample_at if self._unit else ()
        return resample_towards_residuals(self, x, context, points, self._averaged)

    def folded(self, mean: Float[Tensor, " row_width"], scale: float | Float[Tensor, " row_width"]) -> Crosscoder:
        """The crosscoder for inputs x whose training form was (x − mean) · scale, with a scale for each site.

        Codes come out divided by the mean s̄ of the sites' scales. Where these differ, a site's decoder rows change by
        s̄ / s_s, its encoder rows by s_s / s̄; `relative_norms` stay as they were.

        Raises:
            VectorError: the scale is not constant within a site.
        """
        factors = torch.as_tensor(scale, device=mean.device, dtype=mean.dtype).expand_as(mean)
        of_sites = factors.view(self.config.n_sites, -1)
        if bool((of_sites != of_sites[:, :1]).any()):
            raise VectorError("The scale of activations must be one value within each site of a crosscoder.")
        middle = of_sites[:, 0].mean()
        scales = tuple((self.site_scales * of_sites[:, 0]).tolist())
        out = type(self)(self.config.replace(scales=scales), self.metadata).to(self.W_dec.device)
        with torch.no_grad():
            out.load_state_dict(self.state_dict())
            out.W_enc.mul_(factors / middle)
            out.b_enc.div_(middle)
            if out.threshold is not None:
                out.threshold.div_(middle)
            out.W_dec.mul_(middle / factors)
            out.b_dec.div_(factors).add_(mean)
        return out

    def _by_site(self, rows: Float[Tensor, "n row_width"]) -> Float[Tensor, "n n_sites width"]:
        return rows.view(len(rows), self.config.n_sites, self.config.width)

    def _decoder_norms(self) -> Float[Tensor, " n_latents"]:
        return torch.linalg.vector_norm(self._by_site(self.W_dec), dim=2).sum(dim=1)

    @property
    def site_scales(self) -> Float[Tensor, " n_sites"]:
        """What each site's activations are multiplied with to be in training units."""
        return self.W_dec.new_tensor(self.config.scales or [1.0] * self.config.n_sites)
