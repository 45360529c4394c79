"""Explainers: each says what latents mean, from passages that no scorer sees."""

from __future__ import annotations
