"""The verbs in the order of the walk, and the entry: every error becomes one paragraph and an exit code."""

from __future__ import annotations

import importlib
import itertools
import os
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

from cyclopts import App, CycloptsError, Group

from monosema.cli.help import TranslatedFormatter, optional_words
from monosema.cli.process import settle
from monosema.cli.verbs import (
    atlas,
    attention,
    attribute,
    causes,
    chat,
    circuit,
    compare,
    complete,
    convert,
    debug,
    doctor,
    encode,
    experiments,
    explain,
    graph,
    heads,
    inspect,
    label,
    lens,
    patch,
    plan,
    probe,
    prune,
    run,
    score,
    search,
    serve,
    steer,
    train,
)
from monosema.core import ConfigError, MonosemaError
from monosema.core.language import LANGUAGES, speaking, translate

_HELP = """See inside a language model: text → tokens → activations → dictionary → features → meaning.

`monosema run` walks the whole line on the embedded model and ends with a report.
`monosema VERB --help` explains a verb, with an example.
"""
_VERBS: dict[str, tuple[Callable[..., Any], ...]] = {
    "The walk": (run.run, run.capture, train.train, encode.encode, run.evaluate, atlas.atlas, run.report),
    "Meaning": (explain.explain, score.score, search.search, label.label, compare.compare),
    "Cause": (
        causes.causes,
        attribute.attribute,
        lens.lens,
        attention.attention,
        probe.probe,
        patch.patch,
        circuit.circuit,
        graph.graph,
        debug.debug,
        experiments.experiments,
        heads.heads,
        prune.prune,
    ),
    "Control": (steer.steer, complete.complete, chat.chat),
    "Look around": (serve.serve, inspect.inspect, plan.plan, doctor.doctor),
    "Dictionaries elsewhere": (convert.convert, convert.push, convert.pull),
}
_GROUPS: dict[str, Group] = {}
_FAILED, _BAD_INPUT, _INTERRUPTED = 1, 2, 130
_FILLER = "\ue000"
EXTENSIONS = "monosema.extensions"
"""Group of entry points whose modules are imported before the words are parsed; MONOSEMA_EXTENSIONS names others."""

_FORMATTER = TranslatedFormatter()
app = App(
    name="monosema",
    help=_HELP,
    help_format="markdown",
    help_formatter=_FORMATTER,
    version=lambda: f"monosema {version('monosema')}",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
app.register_install_completion_command(help="Install completion by the TAB key, for bash, zsh or fish, and stop.")


def register_verb(function: Callable[..., Any], group: str) -> None:
    """Add a verb behind those of its group; see `monosema.cli.register_verb`."""
    heading = _GROUPS.setdefault(group, Group(group, sort_key=len(_GROUPS)))
    app.command(function, group=heading, sort_key=len(list(app)))
    _FORMATTER.optional[function.__name__] = optional_words(function)


for _group, _functions in _VERBS.items():
    for _function in _functions:
        register_verb(_function, _group)


def load_extensions() -> None:
    """Import the modules that extend monosema: those of installed packages, then those of the environment.

    Raises:
        ConfigError: a module of the environment that can't be imported.
    """
    for point in entry_points(group=EXTENSIONS):
        point.load()
    for name in os.environ.get("MONOSEMA_EXTENSIONS", "").replace(",", " ").split():
        sys.path.insert(0, os.getcwd())
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(
                f"MONOSEMA_EXTENSIONS names {name!r}, which can't be imported ({error}). Name modules that Python "
                "finds, or that lie in this folder, without .py and with spaces between them."
            ) from error
        finally:
            sys.path.pop(0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see `monosema.cli.main`."""
    if arguments is None:
        settle()
    words = list(sys.argv[1:] if arguments is None else arguments)
    with speaking(_asked(words)):
        return _run(words)


def _asked(words: Sequence[str]) -> str | None:
    """Return the language that the words ask for, before they are parsed: errors of parsing speak it too."""
    said = [word.removeprefix("--language=") for word in words if word.startswith("--language=")]
    said += [after for word, after in itertools.pairwise(words) if word == "--language"]
    return next((code for code in said if code in LANGUAGES), None)


def _run(words: list[str]) -> int:
    try:
        load_extensions()
        code = app(words)
    except KeyboardInterrupt:
        return _say(
            "interrupted; the same command goes on from what is kept on disk, or begins anew where nothing is",
            _INTERRUPTED,
        )
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except CycloptsError as error:
        return _say(f"{error} See `monosema {_verb(words)}--help`.{_example(words)}", _BAD_INPUT, error, words)
    except MonosemaError as error:
        return _say(str(error), error.exit_code, error, words)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError, PermissionError) as error:
        path = Path(str(error.filename or error))
        named = path.parent if path.name.startswith(".") else path
        why = (error.strerror or "no permission").lower()
        return _say(f"{named} can't be made or opened ({why}). Choose another path.", _BAD_INPUT, error, words)
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
    paragraph = translate(prefix) + translate(" ".join(message.split()))
    told = sys.stderr.isatty() or "COLUMNS" in os.environ
    width = min(100, shutil.get_terminal_size((100, 24)).columns) if told else 100
    # Letters of Korean are two columns wide: while lines are filled, a filler stands behind each.
    filled = "".join(letter + _FILLER * (east_asian_width(letter) in "WF") for letter in paragraph)
    lines = textwrap.fill(filled, width, break_long_words=False, break_on_hyphens=False)
    print(lines.replace(_FILLER, ""), file=sys.stderr)
    return code


def _example(words: Sequence[str]) -> str:
    """Return the first command of a verb's help; nothing for another word."""
    if not _verb(words):
        return ""
    lines = (app[words[0]].help or "").splitlines()
    return next((f" For instance: {line.strip()}" for line in lines if line.strip().startswith("monosema ")), "")


def _verb(words: Sequence[str]) -> str:
    known = {name for name in app if not name.startswith("-")}
    return f"{words[0]} " if words and words[0] in known else ""
