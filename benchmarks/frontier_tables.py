"""Curves, tables and drawings of the points that `frontier.py` measures.

    python benchmarks/frontier_tables.py FOLDER

draws every table FOLDER/NAME.csv again, beside it: NAME-fvu.svg, NAME-dead.svg and, where there are such figures,
NAME-loss-recovered.svg.
"""

from __future__ import annotations

import csv
import itertools
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

ARCHITECTURES = ("l1", "gated", "jumprelu", "p_anneal", "topk", "batch_topk", "matryoshka")
LIBRARIES = ("monosema", "saelens", "dictionary_learning")
FIGURES = ("fvu", "l0", "alive", "seconds", "loss_recovered")

Point = dict[str, Any]


def cells(points: list[Point], library: str, architecture: str) -> list[Point]:
    """Means over seeds by setting and learning rate, of seconds the median; only those with as many seeds as the one
    that has most."""
    found: dict[tuple[float, Any], list[Point]] = defaultdict(list)
    for point in points:
        if (point["library"], point["architecture"]) == (library, architecture) and "fvu" in point:
            found[point["setting"], point["rate"]].append(point)
    most = max(map(len, found.values()), default=0)
    means = []
    for (setting, rate), cell in found.items():
        if len(cell) < most:
            continue
        mean: Point = {"setting": setting, "rate": rate, "seeds": len(cell)}
        for name in FIGURES:
            values = [point[name] for point in cell if point.get(name) is not None]
            middle = statistics.median if name == "seconds" else statistics.fmean
            mean[name] = middle(values) if values else None
        mean["spread"] = statistics.stdev(point["fvu"] for point in cell) if len(cell) > 1 else math.nan
        means.append(mean)
    return sorted(means, key=lambda mean: (mean["l0"], mean["fvu"]))


def curve(points: list[Point], library: str, architecture: str) -> list[Point]:
    """The cells by rising L0, without those that another betters in both L0 and FVU."""
    means = cells(points, library, architecture)
    return [mean for number, mean in enumerate(means) if all(mean["fvu"] < other["fvu"] for other in means[:number])]


def unexplained(point: Point) -> float:
    """FVU of a point."""
    return float(point["fvu"])


def lost(point: Point) -> float:
    """The share of the loss that a point does not recover."""
    return max(1e-5, 1.0 - float(point["loss_recovered"]))


def alive(point: Point) -> float:
    """The share of latents that fire."""
    return float(point["alive"])


def at(line: list[Point], l0: float, value: Callable[[Point], float] = unexplained) -> float | None:
    """A figure of a curve at an L0, between its points on logarithmic scales; None beyond its ends."""
    for left, right in itertools.pairwise(line):
        if left["l0"] <= l0 <= right["l0"]:
            share = math.log(l0 / left["l0"]) / max(math.log(right["l0"] / left["l0"]), 1e-9)
            return math.exp((1 - share) * math.log(value(left)) + share * math.log(value(right)))
    near = [point for point in line if abs(point["l0"] / l0 - 1) < 0.03]
    return value(near[0]) if near else None


def ratios(points: list[Point], architecture: str, library: str, value: Callable[[Point], float]) -> list[float]:
    """Monosema's figure at the L0 of each point of a peer, over the peer's; only where its own points reach."""
    ours, theirs = curve(points, "monosema", architecture), curve(points, library, architecture)
    found = ((at(ours, point["l0"], value), value(point)) for point in theirs)
    return [there / own for there, own in found if there is not None]


def summary(points: list[Point]) -> str:
    """For each architecture and peer, how monosema's figures stand to the peer's at the same L0, in Markdown."""
    lossy = any(point.get("loss_recovered") is not None for point in points)
    lines = [
        "| architecture | peer | points | FVU ÷ theirs at the same L0: mean, worst |"
        + " lost loss ÷ theirs: mean, worst |" * lossy
        + " alive ÷ theirs: mean, worst |",
        "|---" * (5 + lossy) + "|",
    ]
    for architecture in ARCHITECTURES:
        for library in LIBRARIES[1:]:
            found = ratios(points, architecture, library, unexplained)
            if not found:
                continue
            cell = f" {_mean(found):.2f}, {max(found):.2f} |"
            if lossy:
                of_loss = ratios(points, architecture, library, lost)
                cell += f" {_mean(of_loss):.2f}, {max(of_loss):.2f} |"
            living = ratios(points, architecture, library, alive)
            cell += f" {_mean(living):.2f}, {min(living):.2f} |"
            lines.append(f"| {architecture} | {library} | {len(found)} |{cell}")
    return "\n".join(lines)


def _mean(ratios: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, ratios)))


def table(points: list[Point]) -> str:
    """Every point of every curve, in Markdown; then what failed."""
    lossy = any(point.get("loss_recovered") is not None for point in points)
    lines = [
        f"| architecture | library | setting | rate | seeds | L0 | FVU ± sd | {'loss recovered | ' * lossy}alive | "
        "seconds | monosema at this L0 ÷ FVU |",
        "|---" * (10 + lossy) + "|",
    ]
    for architecture in ARCHITECTURES:
        ours = curve(points, "monosema", architecture)
        for library in LIBRARIES:
            for point in curve(points, library, architecture):
                there = None if library == "monosema" else at(ours, point["l0"])
                ratio = "" if library == "monosema" else "–" if there is None else f"{there / point['fvu']:.2f}"
                rate = "rule" if point["rate"] is None else f"{point['rate']:g}"
                recovered = "" if not lossy else f"{_percent(point['loss_recovered'])} | "
                lines.append(
                    f"| {architecture} | {library} | {point['setting']:g} | {rate} | {point['seeds']} | "
                    f"{point['l0']:.1f} | {point['fvu']:.4f} ± {point['spread']:.4f} | {recovered}"
                    f"{point['alive']:.0%} | {point['seconds']:.0f} | {ratio} |"
                )
    failed = [point for point in points if "error" in point]
    lines += [f"\n{p['library']} {p['architecture']} at {p['setting']:g} failed: {p['error']}" for p in failed]
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def draw(points: list[Point], folder: Path, prefix: str = "") -> None:
    """A sheet for each figure against L0, with a plot for each architecture: FVU, share of dead latents, and the loss
    recovered where it was measured."""
    from monosema.pages.charts import Axis, Series, sheet, xy
    from monosema.pages.svg import write_svg

    drawn: dict[str, tuple[str, Callable[[Point], float | None]]] = {
        "fvu": ("FVU", lambda mean: mean["fvu"]),
        "dead": ("dead latents", lambda mean: 1 - mean["alive"]),
        "loss-recovered": ("loss recovered", lambda mean: mean["loss_recovered"]),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, (label, value) in drawn.items():
        charts = []
        for architecture in ARCHITECTURES:
            curves = {library: curve(points, library, architecture) for library in LIBRARIES}
            # A library without points keeps its colour on the sheet.
            series = []
            for library, line in curves.items():
                known = [(mean["l0"], figure) for mean in line if (figure := value(mean)) is not None]
                labels = [f"{library}: L0 {l0:.1f}, {label} {figure:.3g}" for l0, figure in known]
                series.append(Series(library, known, labels))
            if any(one.points for one in series):
                y = Axis(label, logarithmic=name == "fvu", format="~g" if name == "fvu" else "~p")
                charts.append(xy(architecture, Axis("L0", logarithmic=True), y, series, size=(400, 260)))
        if charts:
            write_svg(sheet(f"{label} against L0, held out, by architecture", charts), folder / f"{prefix}{name}.svg")


def read(path: Path) -> list[Point]:
    """Read a table of points, means over seeds as they stand there."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = ("setting", "fvu", "l0", "alive", "seconds", "loss_recovered")
    return [{**row, **{key: float(row[key]) if row[key] else None for key in numbers}} for row in rows]


if __name__ == "__main__":
    for table_path in sorted(Path(sys.argv[1]).glob("*.csv")):
        draw(read(table_path), table_path.parent, f"{table_path.stem}-")
