"""The atlas: all features of a dictionary on a text, as tables on disk, and their reading."""

from __future__ import annotations

from monosema.atlas.build import build_atlas, dictionary_digest
from monosema.atlas.config import AtlasConfig
from monosema.atlas.feature import (
    PERSON,
    Example,
    Explanation,
    Feature,
    Histogram,
    Neighbour,
    Score,
    SiteShare,
    TokenWeight,
    Vote,
)
from monosema.atlas.firing import FiredText, Firing, fires_on
from monosema.atlas.judging import label, unlabel, vote, withdraw
from monosema.atlas.query import Atlas, open_atlas
from monosema.atlas.recording import record, remove
from monosema.atlas.tables import check_tables

__all__ = [
    "PERSON",
    "Atlas",
    "AtlasConfig",
    "Example",
    "Explanation",
    "Feature",
    "FiredText",
    "Firing",
    "Histogram",
    "Neighbour",
    "Score",
    "SiteShare",
    "TokenWeight",
    "Vote",
    "build_atlas",
    "check_tables",
    "dictionary_digest",
    "fires_on",
    "label",
    "open_atlas",
    "record",
    "remove",
    "unlabel",
    "vote",
    "withdraw",
]
