"""Progress in a log, and numbers of things."""

from __future__ import annotations

import pytest

from monosema.core import counted, progress_bar


def test_a_log_has_a_line_every_now_and_then_and_a_last_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MONOSEMA_QUIET", raising=False)
    now = [0.0]
    monkeypatch.setattr("monosema.core.progress.time.monotonic", lambda: now[0])
    with progress_bar("capture", 1000, "tokens") as bar:
        for _ in range(10):
            now[0] += 4.0
            bar.advance(100)
            bar.note(kept=0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "capture: 30%, 25 tokens/s, 0:00:28 left; kept 0.5"
    assert lines[-1].startswith("capture: 100%, 25 tokens/s")
    assert len(lines) == 4


def test_bars_can_be_silenced(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("capture", 10, "tokens") as bar:
        bar.advance(10)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("n", "noun", "said"),
    [(1, "row", "1 row"), (1200, "row", "1,200 rows"), (2, "batch", "2 batches"), (0, "entry", "0 entries")],
)
def test_one_thing_and_several(n: int, noun: str, said: str) -> None:
    assert counted(n, noun) == said
