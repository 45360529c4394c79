"""Erasure of gender by one direction: a latent of a sparse dictionary against the difference of means, LEACE and random
directions, with what each costs on text that has nothing to do with it (Cunningham et al. 2023, arXiv:2309.08600).

Each map of rank 1 is fitted on activations of training prompts, from the subject to the last token, and holds at all
positions. Measured on held-out prompts: the model's choice between "he" and "she"; whether a linear probe, trained anew
on erased activations of all these positions, still reads the gender; and on neutral held-out text the divergence from
the untouched model. A latent is the one that tells the classes of the training prompts apart best, by its AUC; the
dictionary of the verdict is the one whose latent lowers the log odds of these prompts most. Held-out prompts choose
nothing.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from monosema.circuits.contrast import Contrast, Contrasts, contrasts
from monosema.circuits.memory import rows_within, text_bytes
from monosema.circuits.metrics import last_logits, metric_of
from monosema.core import Estimate, InputError, Site, bootstrap_mean, derive_seed, progress_bar, wilson
from monosema.data.tasks import gender
from monosema.pages.charts import Axis, Series, xy
from monosema.pages.experiment import ExperimentPage, Figure, Table
from monosema.probing.erasure import Eraser, along, erasing, leace, mean_difference, random_direction
from monosema.runs.experiments.experiment import Experiment, Work, register_experiment
from monosema.runs.experiments.trained import Member, captured, sparse_name, text_of, trained

FITTED, MEASURED, NEUTRAL = 200, 100, 6_000
"""Prompts to fit on, prompts to measure on, tokens of neutral text."""
DRAWS = 5
"""Random directions."""
ABLE = 0.75
"""Share of prompts that the model must answer rightly."""
HER = " she"
UNTOUCHED, DIFFERENCE, LEACE, RANDOM = "untouched", "mean difference", "LEACE", "random direction"


def run(work: Work) -> ExperimentPage:
    """Fit on training prompts, measure on held-out ones and on neutral text, and compare."""
    (site, *more) = work.sites((work.model.n_layers // 4,))
    if more:
        raise InputError("The experiment erasure is about one layer: give --layers one number.")
    fitted_on, measured_on = (_prompts(work, split, n) for split, n in (("train", FITTED), ("test", MEASURED)))
    store = captured(work.reader, [site], work.config.training, work.folder / "activations")
    members = trained(store, work.config.training, work.folder / "dictionaries", work.device)
    rows, labels, _ = _rows(work, site, fitted_on)
    erasers = _erasers(rows, labels, members)
    found = {}
    with progress_bar("erase", len(erasers) + 1, "maps") as bar:
        for name, eraser in {UNTOUCHED: None, **erasers}.items():
            measured = functools.partial(_measured, work, site, eraser, fitted_on, measured_on)
            found[name] = work.part(name.replace(" ", "-"), measured)
            bar.advance(1)
            if name == UNTOUCHED and found[name]["accuracy"]["value"] < ABLE:
                raise InputError(
                    f"{work.model.name} takes the right pronoun in {found[name]['accuracy']['value']:.0%} of prompts "
                    "only, so there is nothing to erase. Take a model that can do the task."
                )
    return _page(work, site, found)


def _prompts(work: Work, split: Any, n: int) -> Contrasts:
    rng = random.Random(derive_seed(work.config.seed, "gender", split))
    return contrasts(gender.prompts(rng, n, split), work.model)


def _parts(work: Work, prompts: Contrasts) -> Iterator[Contrast]:
    """Return prompts in parts that fit in a pass."""
    for group in prompts:
        yield from group.chunks(rows_within(text_bytes(work.model, group.clean.shape[1])))


@torch.no_grad()
def _rows(
    work: Work, site: Site, prompts: Contrasts
) -> tuple[Float[Tensor, "rows d"], Float[Tensor, " rows"], Int[Tensor, " rows"]]:
    """Return activations from the subject to the last token, 1 where she is right, and the prompt of each row."""
    rows, labels, owners, before = [], [], [], 0
    for group in _parts(work, prompts):
        there = work.model.activations(group.clean, [site])[site].float()
        place = torch.arange(group.clean.shape[1], device=there.device)
        within = place >= group.positions["SUBJECT"].unsqueeze(1)
        her = torch.tensor([float(HER in prompt.correct) for prompt in group.prompts], device=there.device)
        owner = before + torch.arange(len(group), device=there.device)
        rows.append(there[within])
        labels.append(her.unsqueeze(1).expand_as(within)[within])
        owners.append(owner.unsqueeze(1).expand_as(within)[within])
        before += len(group)
    return torch.cat(rows), torch.cat(labels), torch.cat(owners)


def _erasers(rows: Tensor, labels: Tensor, members: list[Member]) -> dict[str, Eraser]:
    made = {}
    for member in members:
        dictionary = member.open().to(rows.device)
        codes = dictionary.encode(rows).dense()
        auc = _auc(codes, labels)
        latent = int((auc - 0.5).abs().argmax())
        name = f"{sparse_name(member.alpha)}, latent {latent} (seed {member.seed})"
        made[name] = along(dictionary.directions[latent].detach().float(), rows.mean(0))
    made[DIFFERENCE], made[LEACE] = mean_difference(rows, labels), leace(rows, labels)
    for draw in range(DRAWS):
        made[f"{RANDOM} {draw + 1}"] = random_direction(rows, draw)
    return made


def _auc(codes: Float[Tensor, "n latents"], labels: Float[Tensor, " n"]) -> Float[Tensor, " latents"]:
    """Return each latent's AUC for label 1, ties counted half."""
    distinct, where = [], []
    for column in codes.T:
        values, inverse, counts = column.unique(return_inverse=True, return_counts=True)
        ranks = counts.cumsum(0) - (counts - 1) / 2
        distinct.append(len(values))
        where.append(ranks[inverse][labels == 1].sum())
    ones = float(labels.sum())
    return (torch.stack(where).double() - ones * (ones + 1) / 2) / (ones * (len(labels) - ones))


def _measured(
    work: Work, site: Site, eraser: Eraser | None, fitted_on: Contrasts, measured_on: Contrasts
) -> dict[str, Any]:
    chosen, values = (_log_odds(work, site, eraser, prompts) for prompts in (fitted_on, measured_on))
    divergence = np.zeros(1) if eraser is None else _damage(work, site, eraser)
    return {
        "accuracy": wilson(int((values > 0).sum()), len(values)).to_dict(),
        "log odds": bootstrap_mean(values).to_dict(),
        "log odds, training prompts": float(chosen.mean()),
        "probe": _probe(work, site, eraser, fitted_on, measured_on).to_dict(),
        "damage": bootstrap_mean(divergence).to_dict(),
    }


@torch.no_grad()
def _log_odds(work: Work, site: Site, eraser: Eraser | None, prompts: Contrasts) -> Float[np.ndarray, " n"]:
    metric = metric_of(prompts, work.model)
    with nullcontext() if eraser is None else work.model.attach(site, erasing(eraser)):
        sure = torch.cat([metric(last_logits(work.model, one.clean), one) for one in _parts(work, prompts)])
    return np.asarray(sure.double().cpu())


@torch.no_grad()
def _damage(work: Work, site: Site, eraser: Eraser) -> Float[np.ndarray, " windows"]:
    """Return KL(untouched ‖ erased) of each window of neutral text, the mean over its tokens."""
    found = list[float]()
    for batch in text_of(work.model, work.config.training, NEUTRAL, "heldout"):
        length = batch.tokens.shape[1]
        # Both runs' logits at all positions are held at once.
        rows = rows_within(2 * text_bytes(work.model, length, logits=length))
        parts = (part.to(work.model.device).split(rows) for part in (batch.tokens, batch.attention_mask, batch.keep))
        for tokens, mask, kept in zip(*parts, strict=True):
            plain = work.model(tokens, mask).float().log_softmax(-1)
            with work.model.attach(site, erasing(eraser)):
                erased = work.model(tokens, mask).float().log_softmax(-1)
            divergence = (plain.exp() * (plain - erased)).sum(-1)
            found += (torch.where(kept, divergence, 0).sum(1) / kept.sum(1).clamp_min(1)).tolist()
    return np.asarray(found)


def _probe(work: Work, site: Site, eraser: Eraser | None, fitted_on: Contrasts, measured_on: Contrasts) -> Estimate:
    """Return the share of a prompt's rows of which a logistic regression, fitted after erasing, reads the gender."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    (x, y, _), (x_new, y_new, owners) = (
        [np.asarray(part.double().cpu()) for part in (rows if eraser is None else eraser(rows), labels, owner)]
        for rows, labels, owner in (_rows(work, site, prompts) for prompts in (fitted_on, measured_on))
    )
    scaler = StandardScaler().fit(x)
    probe = LogisticRegression(C=0.1, max_iter=300).fit(scaler.transform(x), y)
    right = probe.predict(scaler.transform(x_new)) == y_new
    return bootstrap_mean([right[owners == one].mean() for one in np.unique(owners)])


def _page(work: Work, site: Site, found: Mapping[str, dict[str, Any]]) -> ExperimentPage:
    latents = [name for name in found if name.startswith("sparse") and "α = 0," not in name]
    best = min(latents, key=lambda name: found[name]["log odds, training prompts"])
    rows = [
        [name, *(_said(one[key]) for key in ("accuracy", "log odds", "probe", "damage"))] for name, one in found.items()
    ]
    mine, other, least = (found[name] for name in (best, DIFFERENCE, LEACE))
    erases = mine["accuracy"]["high"] < found[UNTOUCHED]["accuracy"]["low"]
    cheaper = mine["damage"]["high"] < min(other["damage"]["low"], least["damage"]["low"])
    as_well = mine["log odds"]["low"] <= max(other["log odds"]["high"], least["log odds"]["high"])
    holds = "holds here" if erases and cheaper and as_well else "does not hold here"
    groups = {"sparse": latents, "α = 0": [n for n in found if "α = 0," in n], DIFFERENCE: [DIFFERENCE], LEACE: [LEACE],
              RANDOM: [n for n in found if n.startswith(RANDOM)]}  # fmt: skip
    series = [
        Series(
            name,
            [(found[one]["damage"]["value"], found[one]["log odds"]["value"]) for one in members],
            [f"{one}: {_said(found[one]['damage'])} nats, log odds {_said(found[one]['log odds'])}" for one in members],
            line=False,
        )
        for name, members in groups.items()
        if members
    ]
    spec = xy("Pronoun against damage", Axis("KL on neutral text, nats a token"), Axis("Log odds of the right pronoun"),
              series, size=(520, 340))  # fmt: skip
    return ExperimentPage(
        title=f"Erasure of gender: {work.model.name}, {site.short}",
        question=(
            "Does one direction of a sparse dictionary take a subject's gender out, and at what cost to all else?"
        ),
        verdict=(
            f"Untouched the model takes the right pronoun in {found[UNTOUCHED]['accuracy']['value']:.0%} of held-out "
            f"prompts; without {best} in {mine['accuracy']['value']:.0%}, without the mean difference in "
            f"{other['accuracy']['value']:.0%}, after LEACE in {least['accuracy']['value']:.0%}; damage on other text "
            f"{mine['damage']['value']:.2g}, {other['damage']['value']:.2g} and {least['damage']['value']:.2g} nats a "
            f"token. That one sparse direction erases as well as these at less damage {holds}."
        ),
        method=__doc__.partition("\n\n")[2].replace("\n", " ").strip(),
        figures=[Figure("damage", spec, "Each point is a map of rank 1; lower and further left is better.")],
        tables=[
            Table(
                "Held-out prompts and neutral text, with 95 % intervals. Log odds are in nats; a probe that reads "
                "nothing is right about half of the time.",
                ["taken out", "right pronoun", "log odds", "probe", "KL on neutral text"],
                rows,
            )
        ],
        notes=[
            f"The latent in the sentence is that of {len(latents)} with the lowest log odds on training prompts; the "
            "others stand in the table."
        ],
        values={"model": work.model.name, "site": str(site), "found": dict(found), "settings": work.config.to_dict()},
    )


def _said(one: Mapping[str, float]) -> str:
    return f"{one['value']:.3g} [{one['low']:.3g}, {one['high']:.3g}]"


register_experiment(Experiment("erasure", "one direction takes gender out, and what that costs", run))
