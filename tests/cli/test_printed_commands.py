"""Every command that help, README and docs print is run on a tiny run, or parsed where it would take minutes, a network
or a key."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from monosema.cli.app import _VERBS, app
from monosema.recipes import demo
from monosema.runs import SHORT_KEYS, Run, parse_sweep, read_vector_recipe
from monosema.runs.sweeps import choices
from monosema.runs.vectors import VECTOR_KEYS

Command = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "README.ko.md", *sorted((ROOT / "docs").glob("*.md"))]
VERBS = {function.__name__: function for functions in _VERBS.values() for function in functions}
OF_RUNS = ("run", "capture", "train", "evaluate", "report", "plan")
PLACEHOLDERS = {"RUN": "runs/demo", "RUN/recipe.toml": "runs/demo/recipe.toml", "$k": "4"}
PLACEHOLDERS |= {"1493": "17", "FEATURE": "17", "FORMAT": "saelens"}
PLACEHOLDERS |= dict.fromkeys(
    ("A", "SAE", "sae", "PLACE", "layers.15", "jumprelu.npz"), "runs/demo/dictionaries/3.resid_post-topk"
)


def printed(text: str) -> Iterator[str]:
    """Yield the commands of a text: those on lines of their own, without the remarks beside them, and quoted ones."""
    text = re.sub(r"\s*\\\n\s*", " ", text)
    for line in re.findall(r"^ {4,}((?:\S+=\S+ |torchrun .*-m )*monosema \S.*)$", text, re.MULTILINE):
        yield re.split(r" {3,}|  +#|   …| &$", line)[0].strip()
    yield from re.findall(r"`(monosema [^`]+)`", text)


def words_of(command: str) -> list[str]:
    return [PLACEHOLDERS.get(word, word) for word in shlex.split(command.partition("monosema ")[2])]


def of_help() -> list[str]:
    return list(dict.fromkeys(command for verb in VERBS.values() for command in printed(verb.__doc__ or "")))


def of_pages() -> list[str]:
    own = [page for page in PAGES if page.name != "extending.md"]  # its commands are of its own extensions
    return list(dict.fromkeys(command for page in own for command in printed(page.read_text(encoding="utf-8"))))


ALL = list(dict.fromkeys(of_help() + of_pages()))
WHOLE = [
    command for command in ALL if len(words_of(command)) > 1 and words_of(command)[-1] not in ("…", "--activations")
]


def runs_here(command: str) -> bool:
    """True for commands that read a run, or add little to it, and need neither a network nor a key."""
    verb, *rest = words_of(command)
    if "torchrun" in command or any(word.startswith(("--client", "EleutherAI", "google/", "local:")) for word in rest):
        return False
    if verb in ("atlas", "search", "inspect", "convert", "encode"):
        return "films" not in command and "dictionaries/mine" not in command
    if verb == "label":
        return "--remove" not in rest and "none" not in rest and "--of" not in rest
    return verb in ("evaluate", "report") or (verb == "train" and "runs/demo" in rest and "--architecture" in rest)


@pytest.fixture(scope="module")
def world(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands name."""
    home = tmp_path_factory.mktemp("world")
    copy = Path(shutil.copytree(finished.folder, home / "runs" / "demo"))
    (copy / "dictionaries" / "3.resid_post-topk").symlink_to(copy / "dictionaries" / "1.resid_post-topk")
    for name in ("small", "films", "mine"):
        (home / "runs" / name).symlink_to(copy)
    (home / "runs" / "llama").mkdir()
    demo().write(home / "runs" / "llama" / "recipe.toml")
    np.save(home / "vectors.npy", np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32))
    return home


def test_there_is_much_to_try() -> None:
    assert len(of_help()) > 40
    assert len(of_pages()) > 40
    assert sum(map(runs_here, WHOLE)) > 15


@pytest.mark.parametrize("command", ALL)
def test_the_verb_exists(command: str) -> None:
    assert words_of(command)[0].split("/")[0] in {*VERBS, "VERB", "--help", "--install-completion"}


@pytest.mark.parametrize("command", [command for command in WHOLE if not runs_here(command)])
def test_flags_and_keys_exist(command: str, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    if words_of(command)[0] == "VERB":
        return
    function, bound, _ = app.parse_args(words_of(command), print_error=False, exit_on_error=False)
    verb, given = function.__name__, bound.arguments
    if verb not in OF_RUNS:
        return
    from monosema.cli.common import DEFAULTS
    from monosema.cli.verbs.run import read_request

    keys = (*bound.args, *(given["wanted"].words() if "wanted" in given else ()))
    sweep = parse_sweep(given.get("sweep") or [])
    if "activations" in given:
        choices(read_vector_recipe(keys), sweep, VECTOR_KEYS)
    else:
        recipe, _ = read_request(keys, given.get("out"), DEFAULTS)
        choices(recipe, sweep, SHORT_KEYS)


@pytest.mark.parametrize("line", [command for command in WHOLE if runs_here(command)])
def test_a_command_works(line: str, world: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.chdir(world)

    code, _, err = command(*words_of(line))
    assert code == 0, err
