"""Removal of a bias by features: a classifier is trained on texts in which an unwanted cue always goes with the label;
latents that answer to the cue are ablated (SHIFT; Marks et al. 2024, arXiv:2403.19647, § 4).

The classifier is a logistic regression on the mean residual stream of a text, two thirds up the model. Latents are
those of dictionaries at layers up to there with the largest effect on it. In place of a person a rule judges them: a
latent is unwanted where its mean activation changes more when the cue alone is exchanged than when the label alone is;
these twins have no labels. What else knows the twins stands beside: deletion of the tokens that are not in the twin,
erasure of the cue where the classifier reads by the difference of means and by LEACE, and neurons under the same rule;
and as many other latents at random.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monosema.circuits.memory import rows_within, text_bytes
from monosema.core import (
    InputError,
    Site,
    derive_seed,
    digest,
    numpy_generator,
    progress_bar,
)
from monosema.dictionaries import Dictionary, Neurons
from monosema.interventions import splice
from monosema.models import Action, LanguageModel
from monosema.pages.experiment import ExperimentPage
from monosema.probing.erasure import erasing, leace, mean_difference
from monosema.runs.experiments.biased import BIASES, Bias, Biased, Rows, balanced, biased, rows_of
from monosema.runs.experiments.experiment import Experiment, Work, register_experiment
from monosema.runs.experiments.shift_page import (
    CHANCE,
    DELETED,
    DIFFERENCE,
    FAIR,
    HAND,
    LEACE,
    NEURONS,
    RULE,
    UNTOUCHED,
    shift_page,
)
from monosema.runs.experiments.trained import Member, captured, sparse_name, trained

TRAINING = 8
"""Texts to train a classifier on for each prompt of a group to measure on."""
LAYERS = 5
"""Layers with dictionaries, from the first to where the classifier reads, unless others are named."""
CANDIDATES = 100
"""Latents of the largest effect on the classifier, which are judged."""
JUDGED_ON = 100
"""Texts of the training set that effects and twins are read on."""
BATCH = 64
READABLE = 0.75
"""Balanced accuracy at which label and cue count as readable."""


def run(work: Work) -> ExperimentPage:
    """Train dictionaries and classifiers, take the cue out in each way, and compare on balanced texts."""
    read = 2 * work.model.n_layers // 3
    sites = work.sites(tuple(dict.fromkeys(round(read * step / (LAYERS - 1)) for step in range(LAYERS))))
    place = Site(max(read, *(site.layer or 0 for site in sites)), "resid_post")
    n_latents = work.config.training.ratio * work.model.site_width(sites[0])
    chosen = latents_named(work.config.latents, sites, n_latents)
    store = captured(work.reader, sites, work.config.training, work.folder / "activations")
    members = trained(store, work.config.training, work.folder / "dictionaries", work.device)
    together: dict[tuple[float, int], list[Member]] = {}
    for member in members:
        together.setdefault((member.alpha, member.seed), []).append(member)
    found: dict[str, dict[str, Any]] = {}
    with progress_bar("shift", len(BIASES) * (len(together) + 1), "steps") as bar:
        for bias in BIASES:
            case = _Case(work.model, bias, sites, place, work.config.prompts, work.config.seed)
            own = work.part(bias.name, case.without_dictionaries)
            bar.advance(1)
            for (alpha, seed), some in together.items():
                by_rule = functools.partial(case.by_rule, some, seed)
                for how, one in work.part(f"{bias.name}-{alpha:g}-{seed}", by_rule).items():
                    own[f"{sparse_name(alpha)}, {how} (seed {seed})"] = one
                bar.advance(1)
            if chosen:
                alpha, seed = next((key for key in together if key[0] > 0), next(iter(together)))
                by_hand = functools.partial(case.by_hand, together[alpha, seed], chosen)
                key = f"{bias.name}-by-hand-{digest(work.config.latents)[:8]}"
                own[f"{sparse_name(alpha)}, {HAND} (seed {seed})"] = work.part(key, by_hand)
            found[bias.name] = own
    about = " ".join(__doc__.partition("The classifier is")[1:]).replace("\n", " ").strip()
    method = (
        f"{TRAINING * work.config.prompts} biased texts to train a classifier, {4 * work.config.prompts} balanced ones "
        f"of other words to measure. {about}"
    )
    return shift_page(work, sites, place, found, method)


def latents_named(names: Sequence[str], sites: Sequence[Site], n_latents: int) -> list[tuple[Site, int]]:
    """Return latents by their names, LAYER.LATENT. Raises InputError for one that there is not."""
    known, found = {str(site.layer): site for site in sites}, []
    for name in names:
        layer, _, latent = name.partition(".")
        if layer not in known or not latent.isdecimal() or int(latent) >= n_latents:
            raise InputError(
                f"--latents {name} is not valid: give LAYER.LATENT, of layers {', '.join(known)} and latents 0 to "
                f"{n_latents - 1}."
            )
        found.append((known[layer], int(latent)))
    return found


Latents = Mapping[Site, Sequence[int]]
"""Latents of the dictionaries of some sites."""
Dictionaries = Mapping[Site, Dictionary]


@dataclass(frozen=True, eq=False)
class _Classifier:
    """A logistic regression on pooled rows: their weights in the model's units, and its decision."""

    weight: Float[Tensor, " d"]
    decide: Callable[[np.ndarray], np.ndarray]


def _fitted(rows: Float[Tensor, "n d"], labels: Sequence[bool]) -> _Classifier:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x = rows.double().cpu().numpy()
    scaler = StandardScaler().fit(x)
    fit = LogisticRegression(C=0.1, max_iter=500).fit(scaler.transform(x), np.asarray(labels))
    weight = torch.from_numpy(fit.coef_[0] / scaler.scale_).float()
    return _Classifier(weight, lambda other: fit.predict(scaler.transform(other)))


@dataclass(frozen=True)
class _Judged:
    """Latents that the rule finds unwanted, all others with an effect, and what the rule saw of those it judged."""

    unwanted: list[tuple[Site, int]]
    others: list[tuple[Site, int]]
    shown: list[dict[str, Any]]


class _Case:
    """One bias on one model: its texts, its biased classifier, and what becomes of it."""

    def __init__(
        self, model: LanguageModel, bias: Bias, sites: Sequence[Site], read: Site, prompts: int, seed: int
    ) -> None:
        self.model, self.bias, self.sites, self.read = model, bias, sites, read
        seeds = [derive_seed(seed, "shift", bias.name, part) for part in ("train", "test", "fair")]
        self.train = biased(bias, TRAINING * prompts, seeds[0])
        self.test = balanced(bias, 4 * prompts, seeds[1])
        self.fair = balanced(bias, TRAINING * prompts, seeds[2], "train")
        self.rows, self.new, self.others = (
            rows_of(model, [one.text for one in texts]) for texts in (self.train, self.test, self.fair)
        )
        self.labels = [one.label for one in self.train]
        self.plain = self.pooled(self.rows)
        self.classifier = _fitted(self.plain, self.labels)
        some = self.train[:JUDGED_ON]
        self.twins = {
            "own": rows_of(model, [one.text for one in some]),
            "cue": rows_of(model, [one.other_cue for one in some]),
            "label": rows_of(model, [one.other_label for one in some]),
        }

    def without_dictionaries(self) -> dict[str, Any]:
        """Measure what needs no dictionary."""
        fair = self.pooled(self.others)
        self._require_readable(fair)
        deleted, new = (
            rows_of(self.model, [one.text for one in texts], [one.other_cue for one in texts])
            for texts in (self.train, self.test)
        )
        found = {UNTOUCHED: self._measured(None), DELETED: self._measured(None, deleted, new)}
        rows, cues = self._cued()
        for name, eraser in {DIFFERENCE: mean_difference(rows, cues), LEACE: leace(rows, cues)}.items():
            found[name] = self._measured(functools.partial(self.model.attach, self.read, erasing(eraser)), taken=1)
        mlps = [Site(site.layer, "mlp.post") for site in self.sites]
        neurons = {site: Neurons(self.model.site_width(site)) for site in mlps}
        found[NEURONS] = self._ablated(neurons, self.judge(neurons).unwanted)
        plain = self.pooled(self.new)
        trained_fairly = _fitted(fair, [one.label for one in self.fair])
        found[FAIR] = {"as it is": self._right(trained_fairly, plain), "taken": 0}
        return found

    def by_rule(self, members: Sequence[Member], seed: int) -> dict[str, Any]:
        """Ablate the latents that the rule finds unwanted, and as many of the others at random."""
        dictionaries = self._opened(members)
        judged = self.judge(dictionaries)
        order = numpy_generator(seed, "shift", self.bias.name).permutation(len(judged.others))
        drawn = [judged.others[index] for index in order[: len(judged.unwanted)]]
        chosen = {RULE: judged.unwanted, CHANCE: drawn}
        found = {how: self._ablated(dictionaries, latents) for how, latents in chosen.items()}
        found[RULE]["shown"] = judged.shown
        return found

    def by_hand(self, members: Sequence[Member], latents: Sequence[tuple[Site, int]]) -> dict[str, Any]:
        """Ablate the latents that a person chose."""
        return self._ablated(self._opened(members), latents)

    def _opened(self, members: Sequence[Member]) -> Dictionaries:
        return {member.site: member.open().to(self.model.device) for member in members}

    def _ablated(self, dictionaries: Dictionaries, latents: Sequence[tuple[Site, int]]) -> dict[str, Any]:
        by_site: dict[Site, list[int]] = {}
        for site, latent in latents:
            by_site.setdefault(site, []).append(latent)
        return self._measured(lambda: _without(self.model, dictionaries, by_site), taken=len(latents))

    def judge(self, dictionaries: Dictionaries) -> _Judged:
        """Judge the latents of the largest effect on the biased classifier by the twins."""
        effects, shown = self._effects(dictionaries), list[dict[str, Any]]()
        least = torch.cat([*effects.values()]).sort(descending=True).values[:CANDIDATES][-1]
        for site, dictionary in dictionaries.items():
            shown += self._shown(dictionary, site, effects[site], max(float(least), 1e-9))
        shown.sort(key=lambda one: -one["effect"])
        by_name = {site.short: site for site in dictionaries}
        unwanted = [(by_name[one["site"]], one["latent"]) for one in shown if one["unwanted"]]
        acting = [(site, latent) for site, one in effects.items() for latent in one.nonzero().flatten().tolist()]
        return _Judged(unwanted, [one for one in acting if one not in {*unwanted}], shown)

    def _shown(self, dictionary: Dictionary, site: Site, effects: Tensor, least: float) -> list[dict[str, Any]]:
        """Return what the rule sees of a site's latents with an effect of at least this."""
        codes, rows = self._codes(dictionary, site, "own"), self.twins["own"]
        cue, label = (_mean(self._codes(dictionary, site, name), self.twins[name].text) for name in ("cue", "label"))
        by_cue, by_label = ((_mean(codes, rows.text) - one).abs().mean(0) for one in (cue, label))
        chosen = (effects >= least).nonzero().flatten()
        most = codes[rows.text][:, chosen].topk(4, dim=0).indices.T
        tokens = [self.model.tokenizer.tokens(rows.tokens[rows.text][places].tolist()) for places in most]
        return [
            {
                "site": site.short,
                "latent": latent,
                "effect": float(effects[latent]),
                "by cue": float(by_cue[latent]),
                "by label": float(by_label[latent]),
                "tokens": list(dict.fromkeys(said)),
                "unwanted": bool(by_cue[latent] > by_label[latent]),
            }
            for latent, said in zip(chosen.tolist(), tokens, strict=True)
        ]

    def _effects(self, dictionaries: Dictionaries) -> dict[Site, Float[Tensor, " latents"]]:
        """Return each latent's effect on the biased classifier: |activation × gradient|, the mean over texts."""
        by_site: dict[Site | str, Dictionary] = {}
        by_site.update(dictionaries.items())
        total = {site: torch.zeros(one.n_latents, device=self.model.device) for site, one in dictionaries.items()}
        rows, weight = self.twins["own"], self.classifier.weight.to(self.model.device)
        for some in torch.arange(len(rows.tokens)).split(self._rows_at_once(rows, kept=True)):
            with (
                torch.enable_grad(),
                splice(self.model, by_site, error="keep") as parts,
                self.model.capture(self.read, gradients=True) as got,
            ):
                self.model(rows.tokens[some], rows.mask[some])
            _mean(got[self.read].float(), rows.text[some]).matmul(weight).sum().backward()
            for site, sums in total.items():
                part, values = parts[site], parts[site].codes.values
                assert values.grad is not None
                codes = replace(part.codes, values=values.detach() * values.grad).dense().float()
                by_text = codes.new_zeros(len(some), codes.shape[1]).index_add_(0, part.where.nonzero()[:, 0], codes)
                sums += by_text.abs().sum(0) / len(rows.tokens)
        return total

    def _rows_at_once(self, rows: Rows, *, kept: bool = False) -> int:
        return min(BATCH, rows_within(text_bytes(self.model, rows.tokens.shape[1], kept=kept)))

    @torch.no_grad()
    def _codes(self, dictionary: Dictionary, site: Site, twin: str) -> Float[Tensor, "n pos latents"]:
        rows = self.twins[twin]
        x = self.model.activations(rows.tokens, [site], rows.mask)[site]
        codes = torch.zeros(*x.shape[:2], dictionary.n_latents, device=x.device)
        codes[rows.text] = dictionary.encode(x[rows.text].float()).dense().float()
        return codes

    @torch.no_grad()
    def _cued(self) -> tuple[Float[Tensor, "rows d"], Float[Tensor, " rows"]]:
        """Return activations of texts and of their twins with the other cue, and the cue of each."""
        found, cues = [], []
        for name in ("own", "cue"):
            rows = self.twins[name]
            found.append(self.model.activations(rows.tokens, [self.read], rows.mask)[self.read][rows.text].float())
            cue = torch.tensor([one.cue == (name == "own") for one in self.train[:JUDGED_ON]])
            cues.append(cue.float().unsqueeze(1).expand(rows.text.shape)[rows.text.cpu()].to(found[-1].device))
        return torch.cat(found), torch.cat(cues)

    @torch.no_grad()
    def pooled(
        self, rows: Rows, around: Callable[[], AbstractContextManager[Any]] | None = None
    ) -> Float[Tensor, "n d"]:
        """Return the mean activation of each text where the classifier reads."""
        found = []
        for some in torch.arange(len(rows.tokens)).split(self._rows_at_once(rows)):
            with (around or nullcontext)():
                got = self.model.activations(rows.tokens[some], [self.read], rows.mask[some])[self.read]
            found.append(_mean(got.float(), rows.text[some]))
        return torch.cat(found)

    def _measured(
        self,
        around: Callable[[], AbstractContextManager[Any]] | None,
        rows: Rows | None = None,
        new: Rows | None = None,
        taken: int = 0,
    ) -> dict[str, Any]:
        """Return which balanced texts the classifier gets right, as it is and trained anew."""
        measured = self.pooled(new or self.new, around)
        anew = _fitted(self.pooled(rows or self.rows, around), self.labels)
        return {
            "as it is": self._right(self.classifier, measured),
            "trained anew": self._right(anew, measured),
            "chosen with": self._right(self.classifier, self.pooled(self.others, around), self.fair),
            "taken": taken,
        }

    def _right(self, classifier: _Classifier, rows: Tensor, texts: Sequence[Biased] | None = None) -> list[int]:
        said = classifier.decide(rows.double().cpu().numpy())
        return [int(one == text.label) for one, text in zip(said, texts or self.test, strict=True)]

    def _require_readable(self, fair: Float[Tensor, "n d"]) -> None:
        measured = self.pooled(self.new).double().cpu().numpy()
        for what, name in (("label", self.bias.label), ("cue", self.bias.cue)):
            classifier = _fitted(fair, [getattr(one, what) for one in self.fair])
            share = float(np.mean(classifier.decide(measured) == [getattr(one, what) for one in self.test]))
            if share < READABLE:
                raise InputError(
                    f"A classifier at {self.read.short} of {self.model.name} tells {name} in {share:.0%} of balanced "
                    "texts only, so there is no bias to remove. Take a model that tells it, or another layer."
                )


def _mean(values: Float[Tensor, "n pos d"], where: Bool[Tensor, "n pos"]) -> Float[Tensor, "n d"]:
    return torch.where(where.unsqueeze(-1), values, 0).sum(1) / where.sum(1, keepdim=True)


@contextlib.contextmanager
def _without(model: LanguageModel, dictionaries: Dictionaries, latents: Latents) -> Iterator[None]:
    """Run the model with latents of dictionaries ablated at all positions, errors kept."""

    def ablate(gone: Sequence[int]) -> Action:
        return lambda codes, _: codes.index_fill(-1, torch.tensor(gone, dtype=torch.int64, device=codes.device), 0)

    some: dict[Site | str, Dictionary] = {site: dictionaries[site] for site in latents}
    with splice(model, some, error="keep", latents={site: ablate(gone) for site, gone in latents.items()}):
        yield


register_experiment(Experiment("shift", "latents that answer to an unwanted cue are taken out of a classifier", run))
