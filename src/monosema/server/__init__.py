"""The web app: pages and a JSON API over runs on disk, for the browser on the same machine."""

from __future__ import annotations

from monosema.server.app import create_app

__all__ = ["create_app"]
