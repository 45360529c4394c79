"""Interventions: reconstructions in the place of activations, with gradients; nothing else puts one into a model."""

from __future__ import annotations

from monosema.interventions.splice import TEXT, Spliced, put_rows, splice

__all__ = ["TEXT", "Spliced", "put_rows", "splice"]
