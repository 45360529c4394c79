"""Attribution: what in the input, and what in the model, an answer comes from."""

from __future__ import annotations

__all__: list[str] = []
