"""Parsing, and how errors of every kind end."""

from __future__ import annotations

import subprocess
import sys

import pytest

from monosema.cli import main
from monosema.core import DiskFullError, SiteError

VERBS = (
    "run",
    "capture",
    "train",
    "encode",
    "evaluate",
    "atlas",
    "report",
    "explain",
    "score",
    "search",
    "label",
    "compare",
    "causes",
    "attribute",
    "lens",
    "attention",
    "probe",
    "patch",
    "circuit",
    "graph",
    "debug",
    "experiments",
    "heads",
    "prune",
    "steer",
    "complete",
    "chat",
    "serve",
    "inspect",
    "plan",
    "doctor",
    "convert",
    "push",
    "pull",
)


def raising(error: BaseException) -> object:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_help_lists_every_verb_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    listed = [line.split()[1] for line in out.splitlines() if line.startswith("│ ") and line[2:3].isalpha()]
    assert tuple(listed) == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert f" monosema {verb}" in out.split("╭", 1)[0].replace("Usage: monosema", "", 1)
    for option in ("--json", "--seed", "--device", "--debug"):
        assert option in out


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("monosema 0.")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["rnu"], 'Did you mean "run"?'),
        (["doctor", "--jsno"], "--jsno"),
        (["doctor", "--seed", "many"], "--seed"),
        (["run", "--out"], "--out"),
        (["complete"], "PROMPT"),
        (["convert", "a"], "For instance: monosema convert runs/demo/"),
    ],
)
def test_words_that_cannot_be_parsed_exit_with_2(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert says in " ".join(captured.err.split())
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (SiteError("There is no site x."), 2, "error: There is no site x."),
        (DiskFullError("No room left."), 1, "error: No room left."),
        (ZeroDivisionError("by zero"), 1, "did not foresee: ZeroDivisionError: by zero. Add --debug"),
        (NotADirectoryError(20, "Not a directory", "a/b"), 2, "error: a/b can't be made or opened (not a directory)"),
        (PermissionError(13, "Permission denied", "a/.x.tmp"), 2, "error: a can't be made or opened (permission"),
        (
            KeyboardInterrupt(),
            130,
            "interrupted; the same command goes on from what is kept on disk, or begins anew where nothing is",
        ),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_every_error_ends_in_a_paragraph_and_a_code(
    error: BaseException, code: int, says: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monosema.runs.examine", raising(error))
    if isinstance(error, BrokenPipeError):
        monkeypatch.setattr("os.dup2", lambda *_: None)
    assert main(["doctor"]) == code
    captured = capfd.readouterr()
    assert says in " ".join(captured.err.split())
    assert "Traceback" not in captured.err


def test_debug_shows_where(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monosema.runs.examine", raising(SiteError("There is no site x.")))
    assert main(["doctor", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_the_module_is_the_command_and_help_imports_nothing_heavy() -> None:
    script = (
        "import sys, runpy\n"
        "sys.argv = ['monosema', '--help']\n"
        "try:\n    runpy.run_module('monosema', run_name='__main__')\n"
        "except SystemExit as end:\n    code = end.code\n"
        "heavy = {'torch', 'transformers', 'datasets', 'sklearn', 'nltk', 'plotly', 'duckdb', 'pyarrow'}\n"
        "print('code', code, sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert out.splitlines()[-1] == "code 0 []"
