"""The runs that the app may read: those in the folders that were named when it was started, and no others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

from monosema.core import RunError, nearest
from monosema.server.described import Described
from monosema.server.errors import NotFoundError

if TYPE_CHECKING:
    from monosema.atlas import Atlas
    from monosema.dictionaries import Dictionary
    from monosema.pages.bundle import ReportBundle
    from monosema.pages.report import ReportData
    from monosema.runs import Run

RECIPE = "recipe.toml"
"""File that makes a folder a run."""


class ServedRun:
    """A run that the app serves; what it holds is opened when first asked for, and again when it has changed.

    Attributes:
        name: its name in addresses.
        folder: where it is.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self._lock = RLock()
        self._run: tuple[int, Run] | None = None
        self._atlas: Atlas | None = None
        self._dictionary: tuple[tuple[int, ...], Dictionary] | None = None
        self._described: Described | None = None
        self._report: tuple[tuple[float, str], tuple[ReportData, ReportBundle]] | None = None

    @property
    def changed(self) -> float:
        """Time of the newest of its records, in seconds since 1970."""
        return max(map(_time, (self.folder / RECIPE, self.folder / "stages.json"))) / 1e9

    @property
    def run(self) -> Run:
        """The run as it is on disk by now. Raises MonosemaError where it is damaged."""
        from monosema.runs import Run

        with self._lock:
            seen = _time(self.folder / RECIPE)
            if self._run is None or self._run[0] != seen:
                self._run = seen, Run.open(self.folder)
            return self._run[1]

    @property
    def atlas(self) -> Atlas:
        """The atlas, open. Raises RunError where it isn't built yet."""
        from monosema.atlas import open_atlas

        with self._lock:
            if self._atlas is None:
                run = self.run
                done = run.stages.get("atlas")
                if done is None or done.state != "done":
                    raise RunError(f"The run {self.name} has no atlas yet. Make it with: monosema run {self.folder}")
                self._atlas = open_atlas(self.folder / "atlas" / run.recipe.dictionary_name, checksums=False)
            return self._atlas

    @property
    def described(self) -> Described:
        """The features as they are by now, in memory. Raises RunError where there is no atlas yet."""
        with self._lock:
            state = self.atlas.state
            if self._described is None or self._described.tables.state != state:
                self.close()
                self._described = Described(self.atlas, self._described)
                self._described.prepare()
            return self._described

    def close(self) -> None:
        """Give up what is being made in the background."""
        if self._described is not None:
            self._described.close()

    @property
    def report(self) -> tuple[ReportData, ReportBundle]:
        """The content of the run's report, without its features. Raises MonosemaError where a stage is not made yet."""
        from monosema.pages.bundle import overview
        from monosema.runs.context import RunContext
        from monosema.runs.report_data import report_data

        with self._lock:
            seen = self.changed, self.atlas.state
            if self._report is None or self._report[0] != seen:
                data = report_data(RunContext(self.run.recipe, self.folder))
                self._report = seen, (data, overview(self.atlas))
            return self._report[1]

    @property
    def metrics_path(self) -> Path:
        """The lines that training wrote, one every few steps."""
        return self.folder / "dictionaries" / self.run.recipe.dictionary_name / "metrics.jsonl"

    @property
    def live(self) -> bool:
        """True while a process works on it: the one that its lock names is there."""
        import psutil

        with contextlib.suppress(OSError, ValueError):
            return psutil.pid_exists(int((self.folder / ".lock-owner").read_text(encoding="utf-8")))
        return False

    @property
    def dictionary(self) -> Dictionary:
        """The dictionary, read again where its files have changed. Raises RunError where there is none yet."""
        with self._lock:
            run = self.run
            folder = self.folder / "dictionaries" / run.recipe.dictionary_name
            seen = tuple(sorted(_time(path) for path in folder.glob("*.safetensors")))
            if self._dictionary is None or self._dictionary[0] != seen:
                self._dictionary = seen, run.dictionary()
            return self._dictionary[1]


class Library:
    """Runs by name, from folders that are runs and folders that hold runs.

    What a folder of runs holds is looked up anew each time, so a run that was begun meanwhile is there.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        """Raises RunError where a folder is no run and holds none."""
        self._roots = [Path(folder) for folder in folders]
        self._open: dict[Path, ServedRun] = {}
        self._lock = RLock()
        for root in self._roots:
            if not root.is_dir():
                raise RunError(f"The folder {root} does not exist. Make a run with: monosema run --out {root}")
            if not any(_runs_in(root)):
                raise RunError(
                    f"The folder {root} is no run (it has no {RECIPE}) and holds none. Name the folder of a run, or "
                    "one that holds runs. Make a run with: monosema run"
                )

    def runs(self) -> list[ServedRun]:
        """Return all runs, the newest first."""
        with self._lock:
            found: dict[str, Path] = {}
            for root in self._roots:
                for folder in _runs_in(root):
                    if folder not in found.values():
                        found[_unused(folder.name, found)] = folder
            for name, folder in found.items():
                if folder not in self._open or self._open[folder].name != name:
                    self._open[folder] = ServedRun(name, folder)
            served = [self._open[folder] for folder in found.values()]
        return sorted(served, key=lambda one: one.changed, reverse=True)

    def close(self) -> None:
        """Give up what is being made in the background."""
        for one in self._open.values():
            one.close()

    def __getitem__(self, name: str) -> ServedRun:
        """Return the run of this name. Raises NotFoundError."""
        for one in list(self._open.values()):
            if (
                one.name == name and (one.folder / RECIPE).is_file()
            ):  # as it was when the folders were last looked through
                return one
        runs = self.runs()
        for one in runs:
            if one.name == name:
                return one
        names = [one.name for one in runs]
        raise NotFoundError(
            f"There is no run {name[:80]!r} here.{nearest(name[:80], names)} There is: {', '.join(names)}."
        )


def _runs_in(root: Path) -> Iterator[Path]:
    """Yield the folder itself where it is a run, else the runs that it holds; links that lead out of it are none."""
    root = root.resolve()
    if (root / RECIPE).is_file():
        yield root
        return
    for child in sorted(root.iterdir()):
        if (child / RECIPE).is_file() and child.resolve().parent == root:
            yield child.resolve()


def _unused(name: str, taken: dict[str, Path]) -> str:
    """Return the name, with a number behind it where another run has it."""
    numbered = [name, *(f"{name}-{number}" for number in range(2, len(taken) + 2))]
    return next(one for one in numbered if one not in taken)


def _time(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime_ns
    return 0
