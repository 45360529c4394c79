"""The allocator's settings: taken where the C library knows them, harmless elsewhere."""

from __future__ import annotations

import sys

import pytest

from monosema.core import give_back_free_memory, keep_large_blocks


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_settings_are_taken_on_linux() -> None:
    assert isinstance(keep_large_blocks(), bool)
    give_back_free_memory()


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_large_blocks.__wrapped__()
    give_back_free_memory()
