"""The atlas: all features of a dictionary on a text, as tables on disk, and their reading."""

from __future__ import annotations

from monosema.atlas.build import build_atlas, dictionary_digest
from monosema.atlas.config import AtlasConfig
from monosema.atlas.feature import Example, Explanation, Feature, Histogram, Neighbour, Score, TokenWeight
from monosema.atlas.query import Atlas, open_atlas

__all__ = [
    "Atlas",
    "AtlasConfig",
    "Example",
    "Explanation",
    "Feature",
    "Histogram",
    "Neighbour",
    "Score",
    "TokenWeight",
    "build_atlas",
    "dictionary_digest",
    "open_atlas",
]
