"""Sites of a recipe: a list in the configuration, one readable text in TOML and on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from monosema.core import ConfigError, Site
from monosema.dictionaries import DictionaryConfig


def _one(value: Any) -> Any:
    return Site.parse(value) if isinstance(value, str) else value


def _several(value: Any) -> Any:
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(map(_one, parts)) if isinstance(parts, Sequence) else value


def site_text(sites: Sequence[Site]) -> str:
    """Return the short forms of sites, separated by commas."""
    return ",".join(site.short for site in sites)


OneSite = Annotated[Site, BeforeValidator(_one), PlainSerializer(lambda site: site.short)]
"""A site; in TOML its short form."""
SiteList = Annotated[tuple[Site, ...], BeforeValidator(_several), PlainSerializer(site_text)]
"""One site or several; in TOML their short forms, separated by commas."""


def sites_of(read: tuple[Site, ...], output_site: Site | None, config: DictionaryConfig) -> tuple[Site, ...]:
    """Return the sites that stand side by side in a row of the training stream: of a transcoder the one it reads and
    the one it writes, of a crosscoder all of them.

    Raises:
        ConfigError: another number of sites than the architecture takes.
    """
    takes = config.preset.sites
    if takes == "several" and (len(read) < 2 or len(set(read)) < len(read)):
        raise ConfigError("A crosscoder needs two different sites at least: --site 2.resid_post,3.resid_post.")
    if takes != "several" and len(read) > 1:
        raise ConfigError(
            f"{config.title} reads one site, not {site_text(read)}. Take --architecture crosscoder, or one site."
        )
    if (takes == "read and written") != (output_site is not None):
        raise ConfigError(
            "A transcoder needs the site that it writes: --output-site 3.mlp_out, say."
            if output_site is None
            else f"--output-site is a transcoder's, not of {config.title}. Take --architecture transcoder."
        )
    return read if output_site is None else (*read, output_site)


def in_both_models(sites: tuple[Site, ...]) -> tuple[Site, ...]:
    """Return the sites of two models: those that are named, or where all are the first's, the same in the second
    behind them.

    Raises:
        ConfigError: none of the first model's.
    """
    if all(site.other for site in sites):
        raise ConfigError(
            f"Both models of a comparison need a site, and {site_text(sites)} names the other's alone. "
            "Leave out @other."
        )
    others = () if any(site.other for site in sites) else (replace(site, other=True) for site in sites)
    return (*sites, *others)
