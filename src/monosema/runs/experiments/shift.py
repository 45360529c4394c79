"""Removal of a bias by features: a classifier is trained on texts in which an unwanted cue always goes with the label;
latents that answer to the cue are ablated (SHIFT; Marks et al. 2024, arXiv:2403.19647, § 4).

The classifier is a logistic regression on the mean residual stream of a text, two thirds up the model. Latents are
those of dictionaries in a lower layer with the largest effect on it. In place of a person a rule judges them: a latent
is unwanted where its mean activation changes more when the cue alone is exchanged than when the label alone is; these
twins have no labels. What else knows the twins stands beside: deletion of the tokens that are not in the twin, erasure
of the cue by the difference of means and by LEACE, neurons under the same rule; and as many other latents at random.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monosema.circuits.erasure import erasing, leace, mean_difference
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
from monosema.models import ForwardContext, LanguageModel
from monosema.pages.experiment import ExperimentPage
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
CANDIDATES = 100
"""Latents of the largest effect on the classifier, which are judged."""
JUDGED_ON = 100
"""Texts of the training set that effects and twins are read on."""
BATCH = 64
READABLE = 0.75
"""Balanced accuracy at which label and cue count as readable."""


def run(work: Work) -> ExperimentPage:
    """Train dictionaries and classifiers, take the cue out in each way, and compare on balanced texts."""
    (site, *more) = work.sites((work.model.n_layers // 3,))
    if more:
        raise InputError("The experiment shift has its dictionaries in one layer: give --layers one number.")
    read = Site(max(site.layer or 0, 2 * work.model.n_layers // 3), "resid_post")
    store = captured(work.reader, [site], work.config.training, work.folder / "activations")
    members = trained(store, work.config.training, work.folder / "dictionaries", work.device)
    found: dict[str, dict[str, Any]] = {}
    with progress_bar("shift", len(BIASES) * (len(members) + 1), "steps") as bar:
        for bias in BIASES:
            case = _Case(work.model, bias, site, read, work.config.prompts, work.config.seed)
            own = work.part(bias.name, case.without_dictionaries)
            bar.advance(1)
            for member in members:
                by_rule = functools.partial(case.by_rule, member)
                for how, one in work.part(f"{bias.name}-{member.alpha:g}-{member.seed}", by_rule).items():
                    own[f"{sparse_name(member.alpha)}, {how} (seed {member.seed})"] = one
                bar.advance(1)
            if latents := work.config.latents:
                first = next((member for member in members if member.alpha > 0), members[0])
                by_hand = functools.partial(case.by_hand, first, latents)
                own[f"{sparse_name(first.alpha)}, {HAND} (seed {first.seed})"] = work.part(
                    f"{bias.name}-by-hand-{digest(latents)[:8]}", by_hand
                )
            found[bias.name] = own
    method = (
        f"{TRAINING * work.config.prompts} biased texts to train a classifier, {4 * work.config.prompts} balanced ones "
        f"of other words to measure. {' '.join(__doc__.partition('classifier is')[1:]).replace(chr(10), ' ').strip()}"
    )
    return shift_page(work, site, read, found, method)


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

    unwanted: list[int]
    others: list[int]
    shown: list[dict[str, Any]]


class _Case:
    """One bias on one model: its texts, its biased classifier, and what becomes of it."""

    def __init__(self, model: LanguageModel, bias: Bias, site: Site, read: Site, prompts: int, seed: int) -> None:
        self.model, self.bias, self.site, self.read = model, bias, site, read
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
            found[name] = self._measured(functools.partial(self.model.attach, self.site, erasing(eraser)), taken=1)
        mlp = Site(self.site.layer, "mlp.post")
        neurons = Neurons(self.model.site_width(mlp))
        unwanted = self.judge(neurons, mlp).unwanted
        found[NEURONS] = self._measured(lambda: _without(self.model, mlp, neurons, unwanted), taken=len(unwanted))
        plain = self.pooled(self.new)
        trained_fairly = _fitted(fair, [one.label for one in self.fair])
        found[FAIR] = {"as it is": self._right(trained_fairly, plain), "taken": 0}
        return found

    def by_rule(self, member: Member) -> dict[str, Any]:
        """Ablate the latents that the rule finds unwanted, and as many of the others at random."""
        dictionary = member.open().to(self.model.device)
        judged = self.judge(dictionary, self.site)
        drawn = numpy_generator(member.seed, "shift", self.bias.name).permutation(judged.others)
        chosen = {RULE: judged.unwanted, CHANCE: drawn[: len(judged.unwanted)].tolist()}
        found = {how: self._ablated(dictionary, latents) for how, latents in chosen.items()}
        found[RULE]["shown"] = judged.shown
        return found

    def by_hand(self, member: Member, latents: Sequence[int]) -> dict[str, Any]:
        """Ablate the latents that a person chose."""
        dictionary = member.open().to(self.model.device)
        if wrong := [latent for latent in latents if not 0 <= latent < dictionary.n_latents]:
            raise InputError(
                f"--latents {wrong[0]} is not valid: these dictionaries have latents 0 to {dictionary.n_latents - 1}."
            )
        return self._ablated(dictionary, latents)

    def _ablated(self, dictionary: Dictionary, latents: Sequence[int]) -> dict[str, Any]:
        return self._measured(lambda: _without(self.model, self.site, dictionary, latents), taken=len(latents))

    def judge(self, dictionary: Dictionary, site: Site) -> _Judged:
        """Judge the latents of the largest effect on the biased classifier by the twins."""
        effects = self._effects(dictionary, site)
        codes, rows = self._codes(dictionary, site, "own"), self.twins["own"]
        own, cue, label = (
            _mean(self._codes(dictionary, site, name), self.twins[name].text) for name in ("own", "cue", "label")
        )
        by_cue, by_label = (own - cue).abs().mean(0), (own - label).abs().mean(0)
        order = effects.argsort(descending=True)[:CANDIDATES]
        order = order[effects[order] > 0]
        most = codes[rows.text][:, order].topk(4, dim=0).indices.T
        tokens = [self.model.tokenizer.tokens(rows.tokens[rows.text][places].tolist()) for places in most]
        shown = [
            {
                "latent": latent,
                "effect": float(effects[latent]),
                "by cue": float(by_cue[latent]),
                "by label": float(by_label[latent]),
                "tokens": list(dict.fromkeys(said)),
                "unwanted": bool(by_cue[latent] > by_label[latent]),
            }
            for latent, said in zip(order.tolist(), tokens, strict=True)
        ]
        unwanted = [one["latent"] for one in shown if one["unwanted"]]
        return _Judged(unwanted, sorted({*effects.nonzero().flatten().tolist()} - {*unwanted}), shown)

    def _effects(self, dictionary: Dictionary, site: Site) -> Float[Tensor, " latents"]:
        """Return each latent's effect on the biased classifier: |activation × gradient|, the mean over texts."""
        total = torch.zeros(dictionary.n_latents, device=self.model.device)
        rows, weight = self.twins["own"], self.classifier.weight.to(self.model.device)
        for some in torch.arange(len(rows.tokens)).split(BATCH):
            with (
                torch.enable_grad(),
                splice(self.model, {site: dictionary}, error="keep") as parts,
                self.model.capture(self.read, gradients=True) as got,
            ):
                self.model(rows.tokens[some], rows.mask[some])
            _mean(got[self.read].float(), rows.text[some]).matmul(weight).sum().backward()
            part, values = parts[site], parts[site].codes.values
            assert values.grad is not None
            codes = replace(part.codes, values=values.detach() * values.grad)
            by_text = torch.zeros(len(some), dictionary.n_latents, device=self.model.device)
            total += by_text.index_add_(0, part.where.nonzero()[:, 0], codes.dense().float()).abs().sum(0)
        return total / len(rows.tokens)

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
            found.append(self.model.activations(rows.tokens, [self.site], rows.mask)[self.site][rows.text].float())
            cue = torch.tensor([one.cue == (name == "own") for one in self.train[:JUDGED_ON]])
            cues.append(cue.float().unsqueeze(1).expand(rows.text.shape)[rows.text.cpu()].to(found[-1].device))
        return torch.cat(found), torch.cat(cues)

    @torch.no_grad()
    def pooled(
        self, rows: Rows, around: Callable[[], AbstractContextManager[Any]] | None = None
    ) -> Float[Tensor, "n d"]:
        """Return the mean activation of each text where the classifier reads."""
        found = []
        for some in torch.arange(len(rows.tokens)).split(BATCH):
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
def _without(model: LanguageModel, site: Site, dictionary: Dictionary, latents: Sequence[int]) -> Iterator[None]:
    """Run the model with latents of a dictionary ablated at all positions, its error kept."""
    if not latents:
        yield
        return

    def ablate(codes: Tensor, _: ForwardContext) -> Tensor:
        return codes.index_fill(-1, torch.tensor(latents, device=codes.device), 0)

    with splice(model, {site: dictionary}, error="keep", latents={site: ablate}):
        yield


register_experiment(Experiment("shift", "latents that answer to an unwanted cue are taken out of a classifier", run))
