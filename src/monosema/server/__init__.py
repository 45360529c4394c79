"""The web app: a JSON API over the same calls as the command line, and the pages."""

from __future__ import annotations

__all__: list[str] = []
