"""The open list of stages, as it was after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from monosema.runs import Stage
from monosema.runs.pipeline import STAGES


@pytest.fixture
def registry() -> Iterator[list[Stage]]:
    before = list(STAGES)
    yield STAGES
    STAGES[:] = before
