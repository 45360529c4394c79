"""The command line's entry: parse, call, and turn every error into one paragraph and an exit code."""

from __future__ import annotations

import os
import sys
import textwrap
import traceback
from collections.abc import Sequence

from cyclopts import CycloptsError

from monosema.cli.app import app
from monosema.cli.process import settle
from monosema.core import MonosemaError

_FAILED, _BAD_INPUT, _INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after ``monosema``; those of this process when None.

    Returns:
        The exit code: 0 done, 1 failed, 2 bad input, 130 interrupted.
    """
    if arguments is None:
        settle()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(words)
    except KeyboardInterrupt:
        return _say("interrupted; the same command goes on from here", _INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except CycloptsError as error:
        return _say(f"{error} See `monosema {_verb(words)}--help`.", _BAD_INPUT, error, words)
    except MonosemaError as error:
        return _say(str(error), error.exit_code, error, words)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        return _say(
            f"Something failed that monosema did not foresee: {what}. Add --debug to the command to see where.",
            _FAILED,
            error,
            words,
        )
    return code if isinstance(code, int) else 0


def _say(message: str, code: int, error: BaseException | None = None, words: Sequence[str] = ()) -> int:
    if error is not None and "--debug" in words:
        traceback.print_exception(error)
    prefix = "" if code == _INTERRUPTED else "error: "
    width = min(100, os.get_terminal_size().columns) if sys.stderr.isatty() else 100
    paragraph = " ".join(message.split())
    print(textwrap.fill(prefix + paragraph, width, break_long_words=False, break_on_hyphens=False), file=sys.stderr)
    return code


def _verb(words: Sequence[str]) -> str:
    known = {name for name in app if not name.startswith("-")}
    return f"{words[0]} " if words and words[0] in known else ""
