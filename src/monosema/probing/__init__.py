"""Probes: what can be read off activations, how surely, and what reading it off proves."""

from __future__ import annotations

__all__: list[str] = []
