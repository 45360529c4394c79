"""The live table: what it says of each dictionary."""

from __future__ import annotations

import pytest
from rich.console import Console

from monosema.core.progress import Pace
from monosema.runs.display import TrainingDisplay, training_display


def shown(display: TrainingDisplay) -> str:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115 - closed with the process
    with console.file:
        console.print(display)
    return console.export_text()


def test_a_line_for_each_dictionary(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("monosema.core.progress.time.monotonic", lambda: now[0])
    display = TrainingDisplay(Pace(1000, "rows"), 100)
    display.advance(200)
    now[0] = 2.0
    display.advance(200)
    display.record("k=4", {"fvu": 0.25, "l0": 4.0, "dead": 0.5})
    display.record("k=8", {"fvu": 0.125, "l0": 8.0, "dead": 0.0})
    text = shown(display)
    assert display.pace.rate == 100.0, "what an earlier process did is not counted"
    assert "4/10" in text
    assert "100 rows/s" in text
    assert "0:00:06" in text
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["k=4", "k=8"]
    assert "50.0%" in text


def test_nothing_is_shown_of_a_training_that_never_began() -> None:
    assert shown(TrainingDisplay(Pace(1000, "rows"), 100)).strip() == ""


def test_a_log_has_a_line_every_now_and_then_and_ends_with_the_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MONOSEMA_QUIET", raising=False)
    now = [0.0]
    monkeypatch.setattr("monosema.core.progress.time.monotonic", lambda: now[0])
    with training_display(20_000, "rows", 100) as display:
        for _ in range(5):
            display.advance(2000)
            display.record("", {"fvu": 0.25, "l0": 4.0, "dead": 0.5})
            now[0] += 6.0
    said = capsys.readouterr().err
    assert "train: 30%, 333 rows/s, 0:00:42 left; FVU 0.25, L0 4, dead 50.0%" in said
    assert said.count("train: ") == 2
    assert said.endswith("\n")


@pytest.mark.parametrize(("rows", "warned"), [(20_000, False), (200, True)])
def test_the_number_of_steps_is_said_and_too_few_are_warned_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, rows: int, warned: bool
) -> None:
    monkeypatch.delenv("MONOSEMA_QUIET", raising=False)
    with training_display(rows, "items", 100):
        pass
    said = " ".join(capsys.readouterr().err.split())
    assert f"Training makes {rows // 100} steps of 100 items." in said
    assert ("too short to mean anything" in said) is warned
