"""Alignment: which subspace carries the answer, where it is known and in this model, and what speaks against it?

Distributed alignment search (Geiger et al. 2024, arXiv:2303.02536) on indirect objects: prompt and source differ in the
second mention of a name, which turns the answer round. With the source's value in a subspace of the last word's
activation, the model should answer as the source does; the share of held-out prompts on which it does is the
interchange intervention accuracy (IIA), of prompts on which it does not anyway. Beside the search stand the whole
vector (the ceiling), the principal and random subspaces of the same size, the same search in a model of random weights,
and, at the MLP's hidden values, which one matrix reads, the subspace's part inside of that matrix's row space and
outside of it (the illusion of Makelov et al. 2024, arXiv:2311.17030). The model where it is known has its weights
written by hand: a head carries the repeated name to the end, so the search must find it there.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from monosema.circuits.alignment import Alignment, AlignmentConfig, align, swapped
from monosema.circuits.contrast import Contrasts, contrasts
from monosema.circuits.planted import indirect_object
from monosema.circuits.planted.planted import prompt
from monosema.circuits.planted.wiring import LETTERS, MARK
from monosema.core import Site, derive_seed, progress_bar
from monosema.data.tasks import Task, ioi
from monosema.models import LanguageModel
from monosema.pages.experiment import ExperimentPage, Table
from monosema.runs.experiments.experiment import Experiment, Work, register_experiment

STEPS = 60
PLANTED_SITE, PLANTED_DIMS = Site(1, "resid_post"), len(LETTERS)
"""Where the head of the planted model has written the name, and the values that it has."""


def run(work: Work) -> ExperimentPage:
    """Search in the planted model and at each site of this one, and compare with the controls."""
    sites = [
        site for place in work.sites((work.model.n_layers // 2,)) for site in (place, Site(place.layer, "mlp.post"))
    ]
    found = []
    with progress_bar("align", 1 + len(sites), "sites") as bar:
        found.append(work.part("planted", lambda: _planted(work)))
        bar.advance(1)
        train, test = (_prompts(work, split) for split in ("train", "test"))
        for site in sites:

            def searched(site: Site = site) -> dict[str, Any]:
                return _searched(work, work.model, train, test, site, work.config.dims)

            found.append(work.part(site.short.replace(".", "-"), searched))
            bar.advance(1)
    return _page(work, found)


def _planted(work: Work) -> dict[str, Any]:
    model = indirect_object().model
    train, test = (swapped(contrasts(_letters(work, part), model)) for part in ("train", "test"))
    return _searched(work, model, train, test, PLANTED_SITE, PLANTED_DIMS)


def _letters(work: Work, part: str) -> Task:
    """Return prompts `aba>` and `baa>` with sources in which the other letter is said again.

    No pair of letters is in both parts: on a circle of letters in random order, those of a training prompt are an odd
    number of steps apart, and those of a test prompt an even one.
    """
    circle, n = random.Random(derive_seed(work.config.seed, "letters")).sample(LETTERS, len(LETTERS)), len(LETTERS)
    steps, prompts = range(1 if part == "train" else 2, n // 2, 2), []
    for index in range(work.config.prompts):
        lap, at = divmod(index, n)
        pair = circle[at], circle[(at + steps[lap % len(steps)]) % n]
        answer, twice = pair if (at + lap) % 2 else pair[::-1]
        first = [answer, twice] if (at // 2 + lap) % 2 else [twice, answer]
        clean, source = ("".join([*first, again, MARK]) for again in (twice, answer))
        prompts.append(prompt([clean, source], answer, twice))
    return Task(name="letters", metric="logit_difference", split="test", prompts=tuple(prompts))


def _prompts(work: Work, split: Any) -> Contrasts:
    rng = random.Random(derive_seed(work.config.seed, "alignment", split))
    return swapped(contrasts(ioi.prompts(rng, work.config.prompts, split, corruption="s2"), work.model))


def _searched(
    work: Work, model: LanguageModel, train: Contrasts, test: Contrasts, site: Site, dims: int
) -> dict[str, Any]:
    config = AlignmentConfig(dims=dims, steps=STEPS, seed=work.config.seed)
    found = align(model, train, test, site, config=config)
    return {"model": model.name, "prompts": {"train": len(train), "test": len(test)}, **_plain(found, dims)}


def _plain(found: Alignment, dims: int) -> dict[str, Any]:
    rows = {
        row.name: {
            "accuracy": row.accuracy.to_dict(),
            "recovered": None if row.recovered is None else row.recovered.to_dict(),
            "share": row.share,
        }
        for row in found.rows
    }
    return {
        "site": found.site.short,
        "dims": dims,
        "rows": rows,
        "row space": found.row_space,
        "verdict": found.verdict,
    }


def _page(work: Work, found: Sequence[dict[str, Any]]) -> ExperimentPage:
    planted, *here = found
    best = max(here, key=lambda one: (one["verdict"].startswith("Yes"), one["rows"]["search"]["accuracy"]["value"]))
    known = planted["rows"]["search"]["accuracy"]
    holds = "finds" if known["value"] >= 0.99 else "does not find"
    return ExperimentPage(
        title=f"Alignment: {work.model.name}, and the planted model {planted['model']} as control",
        question="Which subspace of the last word's activation carries the name that is the answer?",
        verdict=(
            f"In the planted model {planted['model']} the search {holds} the subspace (IIA {_said(known)} on held-out "
            f"prompts, random {_accuracy(planted, 'random')}). In {work.model.name} a subspace of size {best['dims']} "
            f"at {best['site']} has an IIA of {_accuracy(best, 'search')}, "
            f"random ones {_accuracy(best, 'random')}, the same search in a "
            f"model of random weights {_accuracy(best, 'randomised model')}. {best['verdict']}"
        ),
        method=__doc__.partition("\n\n")[2].replace("\n", " ").strip(),
        tables=[_table(one) for one in found],
        notes=[
            *(f"{one['model']}, {one['site']}: {one['verdict']}" for one in found),
            "Of the way is what the logit difference moves, as a share of what the whole source moves it.",
            f"The planted name is one of {PLANTED_DIMS} letters, so its subspace has as many dimensions, and a search "
            "needs as many prompts.",
            f"{STEPS} steps a search; no pair of names, or of the planted model's letters, is both in training prompts "
            "and in those that are measured on. The IIA is of those on which the untouched model does not answer as "
            "the source does.",
        ],
        values={"model": work.model.name, "found": list(found), "settings": work.config.to_dict()},
    )


def _table(one: dict[str, Any]) -> Table:
    inside = "" if one["row space"] is None else f"; {one['row space']:.2f} of the search's lies in the row space"
    rows = [
        [
            name,
            _said(row["accuracy"]),
            "–" if row["recovered"] is None else _said(row["recovered"]),
            f"{row['share']:.2f}",
        ]
        for name, row in one["rows"].items()
    ]
    head = ["exchanged", "IIA", "of the way", "share of the difference"]
    prompts = f"{one['prompts']['train']} training prompts, {one['prompts']['test']} held out"
    return Table(f"{one['model']}, {one['site']}, dimensions: {one['dims']}; {prompts}{inside}.", head, rows)


def _accuracy(one: dict[str, Any], name: str) -> str:
    return _said(one["rows"][name]["accuracy"])


def _said(one: dict[str, float]) -> str:
    value, low, high = (f"{round(one[key], 2) + 0.0:.2f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


register_experiment(Experiment("align", "which subspace carries an answer, beside what would expose an illusion", run))
