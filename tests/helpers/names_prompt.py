"""A prompt with names that the embedded model continues, and its counterfactual twin."""

from __future__ import annotations

PROMPT = "Long ago Kevin and Nicholas shared a room near the office, and Nicholas lent a coin to"
TWIN = "Long ago Anthony and Thomas shared a room near the office, and Alan lent a coin to"
