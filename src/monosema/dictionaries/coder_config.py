"""Configuration of a sparse coder, whatever its activation, and the facts that go together."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from pydantic import Field, field_validator

from monosema.core import Config, ConfigError
from monosema.dictionaries.activation_functions.activation import Activation
from monosema.dictionaries.losses import prefix_sizes

Normalisation = Literal["none", "layer_norm", "rescale"]


class CoderConfig(Config):
    """Facts of a coder that any activation can have, and its start."""

    dead_after: int = Field(10_000_000, gt=0)
    """Vectors without activity after which a latent counts as dead (Gao et al. 2024, appendix A.2)."""
    start: Literal["data", "random", "orthogonal", "weights"] = "data"
    """Decoder rows at first: towards data points, random, random orthogonal in blocks of d_in, or along `given` ones,
    such as a model's own weights. The encoder starts as their transpose in any case."""
    centre: Literal["mean", "median"] = "mean"
    """First value of b_dec: the mean of a sample, or its geometric median."""
    centre_input: bool = True
    """True takes b_dec from the input; transcoders never do."""
    skip: bool = False
    """True adds a linear map of x to the output; transcoders only."""
    prefixes: tuple[float, ...] = ()
    """Sizes of nested prefixes, as shares of all latents, each of which must reconstruct alone; the last is 1. Empty
    asks the whole dictionary alone."""
    scales: tuple[float, ...] = ()
    """Factor of each site's activations in training, once that is folded in; empty is 1 for all."""

    @field_validator("prefixes")
    @classmethod
    def _rising(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        rises = all(below < above for below, above in zip((0.0, *shares), shares, strict=False))
        if shares and (shares[-1] != 1.0 or not rises):
            raise ValueError("give shares above 0 that rise and end at 1")
        return shares


@runtime_checkable
class Sizes(Protocol):
    """Facts of a coder that must go together; see `SparseCoder`."""

    activation: Activation
    config: CoderConfig
    d_in: int
    d_out: int
    n_latents: int
    n_sites: int
    has_separate_target: bool
    normalisation: Normalisation


def require_fit(coder: Sizes, shards: int) -> None:
    """Raise ConfigError for facts that don't go together.

    Args:
        shards: equal parts that processes divide the latents into, of which the coder is one.
    """
    config, separate = coder.config, coder.has_separate_target
    if min(coder.d_in, coder.d_out, coder.n_latents, coder.n_sites) < 1:
        raise ConfigError(
            f"A coder of {coder.n_latents} latents, {coder.d_in} values that are read, {coder.d_out} that are written "
            f"and {coder.n_sites} sites is not possible: all must be at least 1."
        )
    coder.activation.check(coder.n_latents * shards)
    require_prefixes(config.prefixes, coder.n_latents * shards)
    if separate and (coder.n_sites > 1 or coder.activation.ties or not coder.activation.learns_b_dec):
        raise ConfigError(f"A transcoder has one site, and no {coder.activation.title}: it reads and writes apart.")
    if separate and config.start not in ("data", "random"):
        raise ConfigError(f"start = {config.start!r} is not valid for a transcoder: choose data or random.")
    if config.skip and not separate:
        raise ConfigError("skip = True is a transcoder's: an autoencoder would copy its input.")
    if separate and coder.normalisation != "none":
        raise ConfigError("A transcoder's input can't be normalised: its output is no row of the input's site.")
    if coder.d_in % coder.n_sites or len(config.scales) not in (0, coder.n_sites):
        raise ConfigError(
            f"A row of {coder.d_in} values with {len(config.scales)} scales doesn't fit {coder.n_sites} sites: "
            "widths must be equal, and there is a scale for each site or none."
        )


def require_prefixes(prefixes: tuple[float, ...], n_latents: int) -> None:
    """Raise ConfigError for prefixes of which two are of one size."""
    sizes = prefix_sizes(prefixes, n_latents)
    if len(set(sizes)) < len(sizes):
        raise ConfigError(
            f"prefixes are {sizes} of {n_latents} latents; they must differ. Give fewer prefixes, or more latents."
        )
