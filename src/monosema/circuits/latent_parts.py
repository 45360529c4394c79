"""Latents of a shown graph of one prompt, put to the test: taken out of the model as it runs, alone or all but some.

    x ← x − Σ_j c_j W_dec,j    at the position of each latent, c_j its activation on the untouched prompt

Errors of dictionaries stay, and all that comes after runs free. The metric is what the graph is about: the logit of the
token that it explains less the mean of all, or less the logit of the answer that came instead.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monosema.circuits.feature_circuits import FeatureNodes
from monosema.circuits.metrics import last_logits
from monosema.circuits.parts import PartFigures
from monosema.circuits.shown import ShownGraph, ShownNode
from monosema.core import Estimate, InputError, Site, bootstrap_mean, nearest
from monosema.dictionaries import Dictionary
from monosema.models import Action, ForwardContext, LanguageModel, require_decoder

DRAWS = 10
"""Random choices of latents that the controls are the means of."""

Masks = list[Bool[Tensor, "pos latents"]]


class LatentTrial:
    """A prompt with the codes of its dictionaries, ready for tests.

    Attributes:
        shown: the graph.
    """

    def __init__(self, model: LanguageModel, shown: ShownGraph, dictionaries: Mapping[Site | str, Dictionary]) -> None:
        """Compute the prompt.

        Raises:
            InputError: the file doesn't say which prompt and answer, or they are another model's.
        """
        decoder, about = require_decoder(model), shown.about
        if "prompt" not in about or "right" not in about or not shown.tokens:
            raise InputError("This graph’s file doesn’t say which prompt and answer it can be tested with.")
        if about.get("model") not in (None, model.name):
            raise InputError(f"The graph is one of {about['model']!r}, and the run’s model is {model.name!r}.")
        ids = decoder.tokenizer.encode(str(about["prompt"]))
        if tuple(decoder.tokenizer.tokens(ids)) != shown.tokens:
            raise InputError("The prompt in the graph’s file has other tokens than the graph.")
        self.shown, self._model = shown, decoder
        self._tokens = torch.tensor([ids], device=decoder.device)
        self._nodes = FeatureNodes(decoder, dictionaries)
        self._layers = {place.layer: at for at, place in enumerate(self._nodes.places)}
        rows = decoder.activations(self._tokens, self._nodes.sites)
        special = torch.isin(self._tokens[0], torch.tensor([*decoder.tokenizer.special_ids], device=decoder.device))
        with torch.no_grad():
            codes = [self._nodes.parts(at, rows)[0][0] for at in range(len(self._nodes.places))]
        self._codes = [one.masked_fill(special[:, None], 0) for one in codes]
        self._active = [(at, *where) for at, one in enumerate(self._codes) for where in one.nonzero().tolist()]

    def test(self, size: int, nodes: Sequence[str] = ()) -> PartFigures:
        """Take latents out and measure the metric.

        Args:
            size: without `nodes`, all but the latents among so many first nodes are taken out: what these keep of the
                difference between the untouched model and one without any latent.
            nodes: these latents are taken out.

        Raises:
            InputError: a node that the graph doesn't have, or none that is a latent.
        """
        if nodes:
            return self._without(size, self._named(nodes))
        kept = [node for node in self.shown.nodes if node.kind not in ("token", "logits")][:size]
        own, everything = self._mask(self._places(kept)), [one != 0 for one in self._codes]
        n = sum(int(part.sum()) for part in own)
        drawn = [self._mask(random.Random(seed).sample(self._active, n)) for seed in range(DRAWS)]
        masks = [[whole & ~part for whole, part in zip(everything, one, strict=True)] for one in (own, *drawn)]
        whole, empty, alone, *others = self._metrics([self._mask([]), everything, *masks]).tolist()
        if abs(whole - empty) < 1e-6:
            return PartFigures(size=size, n=1, absent="Without any latent the answer is the same.")
        shares = (np.array([alone, *others]) - empty) / (whole - empty)
        return PartFigures(size=size, n=1, faithfulness=_single(shares[0]), random=bootstrap_mean(shares[1:]))

    def _without(self, size: int, nodes: Sequence[ShownNode]) -> PartFigures:
        places = self._places(nodes)
        if not places:
            raise InputError("Only latents can be taken out: mark some.")
        drawn = [self._mask(self._alike(places, seed)) for seed in range(DRAWS)]
        whole, own, *others = self._metrics([self._mask([]), self._mask(places), *drawn]).tolist()
        predicted = [node.predicted for node in nodes if node.predicted is not None]
        return PartFigures(
            size=size,
            n=1,
            predicted=sum(predicted),
            measured=_single(whole - own),
            control=bootstrap_mean(whole - np.array(others)),
        )

    def _named(self, names: Sequence[str]) -> list[ShownNode]:
        known = {node.name: node for node in self.shown.nodes}
        for name in names:
            if name not in known:
                raise InputError(f"The graph has no node {name!r}.{nearest(name, known)}")
        return [known[name] for name in names]

    def _places(self, nodes: Sequence[ShownNode]) -> list[tuple[int, ...]]:
        """Return dictionary, position and number of the latents among nodes."""
        found = list[tuple[int, ...]]()
        for node in nodes:
            if node.latent is not None and node.column is not None and node.layer in self._layers:
                found.append((self._layers[node.layer], node.column, node.latent))
        return found

    def _alike(self, places: Sequence[tuple[int, ...]], seed: int) -> list[tuple[int, ...]]:
        """Return as many other active latents of the same dictionaries, at random; fewer where there are no more."""
        rng, drawn = random.Random(seed), list[tuple[int, ...]]()
        for at in sorted({place[0] for place in places}):
            wanted = sum(place[0] == at for place in places)
            others = [one for one in self._active if one[0] == at and one not in {*places}]
            drawn += rng.sample(others, min(wanted, len(others)))
        return drawn

    def _mask(self, places: Sequence[tuple[int, ...]]) -> Masks:
        masks = [torch.zeros_like(one, dtype=torch.bool) for one in self._codes]
        for at, position, latent in places:
            masks[at][position, latent] = True
        return masks

    @torch.no_grad()
    def _metrics(self, removed: Sequence[Masks]) -> Float[Tensor, " versions"]:
        """Return the metric without each set of latents."""
        with contextlib.ExitStack() as stack:
            for at, place in enumerate(self._nodes.places):
                vectors = self._nodes.dictionaries[at].directions.detach().float()
                parts = torch.stack([(self._codes[at] * masks[at]) @ vectors for masks in removed])
                if bool(parts.any()):
                    stack.enter_context(self._model.attach(place, _less(parts)))
            logits = last_logits(self._model, self._tokens.expand(len(removed), -1)).float()
        right, wrong = self.shown.about["right"], self.shown.about.get("wrong")
        return logits[:, int(right)] - (logits.mean(-1) if wrong is None else logits[:, int(wrong)])


def _less(parts: Float[Tensor, "versions pos d"]) -> Action:
    def act(x: Tensor, _: ForwardContext) -> Tensor:
        return (x.flatten(2) - parts.to(x.dtype)).view(x.shape)

    return act


def _single(value: float) -> Estimate:
    return Estimate(float(value), float(value), float(value), 1)
