"""Causes: what a latent does to the model's predictions, beside other latents of its dictionary drawn at random.

    input        share of its strongest passages whose token at the peak is one of those that its direction promotes
    output       (1 − r / V) · max p(t) over the tokens t that it promotes: r is the best rank of one of them, and p
                 what the model expects after a neutral beginning at which the latent is amplified
    confidence   |C(p′) − C(p)|, C(p) = −log max p, in nats, of the same amplification
    loss         −log p(next) without the latent, less that with it
    kl           KL(with ‖ without) of the next token

Input and output scores are those of Arad et al. 2025 (arXiv 2505.20063), confidence is Δ token confidence with k = 1
of Wang et al. 2025 (arXiv 2510.03659); departure: both its directions count. Tokens that a direction promotes are those
of the atlas.

For loss and kl the latent is taken out of its strongest passages (see `ablating`), beside a random direction. What is
measured is kept beside the atlas, and valid as long as that is of the same model, dictionary and text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monosema.atlas import Atlas, Feature
from monosema.core import (
    Estimate,
    MonosemaError,
    digest,
    numpy_generator,
    read_json,
    wilson,
    write_json,
)
from monosema.dictionaries import Dictionary
from monosema.interpretation.ablating import LatentAblation
from monosema.models import LanguageModel, require_logits
from monosema.steering.amplifying import Amplified

PASSAGES = 12
"""Strongest passages of a latent that are read."""
OTHERS = 8
"""Latents drawn at random that stand beside."""
FOLDER = "causes"
"""Where figures are kept in the folder of an atlas, one file for each latent."""
_FORM = 1

TokenChange = tuple[str, float]
"""Text of a token, and the points of probability that the latent gives it."""


@dataclass(frozen=True, kw_only=True)
class Causes:
    """Figures of one latent.

    Attributes:
        latent: its number.
        figures: by name: input, output, confidence, loss, kl, random_loss and random_kl; what could not be computed is
            left out. Those of one forward pass, output and confidence, have no interval: n is 1.
        raised, lowered: tokens whose probability the latent raises, or lowers, most, on the tokens where it fires.
        absent: why figures are left out, by name.
        tokens, passages: number of tokens on which it fires, and of the passages that they are in.
    """

    latent: int
    figures: Mapping[str, Estimate]
    raised: tuple[TokenChange, ...] = ()
    lowered: tuple[TokenChange, ...] = ()
    absent: Mapping[str, str]
    tokens: int = 0
    passages: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        figures = {name: figure.to_dict() for name, figure in self.figures.items()}
        lists = {"raised": [*map(list, self.raised)], "lowered": [*map(list, self.lowered)]}
        counts = {"tokens": self.tokens, "passages": self.passages}
        return {"latent": self.latent, "figures": figures, **lists, "absent": dict(self.absent), **counts}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Causes:
        """Make them of plain values again."""
        figures = {name: Estimate(**figure) for name, figure in values["figures"].items()}
        lists = {name: tuple((text, change) for text, change in values[name]) for name in ("raised", "lowered")}
        return cls(**{**values, "figures": figures, **lists})


@dataclass(frozen=True, kw_only=True)
class JudgedCauses:
    """Figures of a latent beside those of others, drawn at random among those that fire.

    Attributes:
        own: the latent's.
        others: those of the others.
    """

    own: Causes
    others: tuple[Causes, ...]

    def above(self, name: str) -> int:
        """Return how many of the others have a smaller figure. Raises KeyError where the latent itself has none."""
        own = self.own.figures[name].value
        return sum(other < own for other in self.control(name))

    def control(self, name: str) -> list[float]:
        """Return the others' figures, the smallest first, without those that have none."""
        return sorted(one.figures[name].value for one in self.others if name in one.figures)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: the latent's, and in `others` each figure of the others."""
        names = dict.fromkeys(name for one in (self.own, *self.others) for name in one.figures)
        drawn = [one.latent for one in self.others]
        return {**self.own.to_dict(), "others": {name: self.control(name) for name in names}, "drawn": drawn}


def kept_causes(atlas: Atlas, latent: int) -> JudgedCauses | None:
    """Return what was measured of a latent and of the others beside it; None where some of it was not."""
    own = _kept(atlas, latent)
    others = [_kept(atlas, one) for one in drawn_beside(atlas, latent)] if own else []
    known = tuple(one for one in others if one is not None)
    return None if own is None or len(known) < len(others) else JudgedCauses(own=own, others=known)


def all_kept_causes(atlas: Atlas) -> list[JudgedCauses]:
    """Return the causes of all latents of which they are kept, by latent."""
    latents = sorted(int(path.stem) for path in (atlas.path / FOLDER).glob("*.json") if path.stem.isdigit())
    kept = {latent: one for latent in latents if (one := _kept(atlas, latent)) is not None}
    drawn = _drawn(atlas) if kept else []
    beside = {latent: _others(drawn, latent) for latent in kept}
    return [
        JudgedCauses(own=own, others=tuple(kept[one] for one in beside[latent]))
        for latent, own in kept.items()
        if kept.keys() >= {*beside[latent]}
    ]


def drawn_beside(atlas: Atlas, latent: int) -> list[int]:
    """Return the latents that stand beside one: the same for all, but for itself."""
    return _others(_drawn(atlas), latent)


def _drawn(atlas: Atlas) -> list[int]:
    alive = [row["latent"] for row in atlas.sql("select latent from features where alive order by latent")]
    return [int(one) for one in numpy_generator(0, "latents beside causes").permutation(alive)[: OTHERS + 1]]


def _others(drawn: Sequence[int], latent: int) -> list[int]:
    return [one for one in drawn if one != latent][:OTHERS]


class CauseFinder:
    """Measures causes of an atlas's latents; what was measured before is taken from its folder."""

    def __init__(self, atlas: Atlas, model: LanguageModel, dictionary: Dictionary, keep: bool = True) -> None:
        """
        Args:
            model: in float32, as small differences of passes are lost in fewer bits.
            keep: take what is kept in the atlas's folder, and keep what is measured; not for another model.

        Raises:
            UnsupportedModelError: the model predicts no tokens.
        """
        require_logits(model)
        self._atlas, self._model, self._keep = atlas, model, keep
        self._ablation = LatentAblation(model, dictionary.to(model.device), atlas.site)
        self._neutral = Amplified(model, dictionary, atlas.site)

    def steps(self, latent: int) -> Iterator[tuple[int, int] | JudgedCauses]:
        """Measure a latent and the others beside it: how many are done, of all, after each, and in the end the causes.

        Raises InputError for a latent that there is not.
        """
        wanted, found = [latent, *drawn_beside(self._atlas, latent)], list[Causes]()
        for one in wanted:
            found.append(self.of(one))
            yield len(found), len(wanted)
        yield JudgedCauses(own=found[0], others=tuple(found[1:]))

    def judged(self, latent: int) -> JudgedCauses:
        """Return the causes of a latent beside others. Raises InputError for a latent that there is not."""
        *_, found = self.steps(latent)
        assert isinstance(found, JudgedCauses)
        return found

    def of(self, latent: int) -> Causes:
        """Return the causes of one latent alone. Raises InputError for a latent that there is not."""
        kept = _kept(self._atlas, latent) if self._keep else None
        if kept is not None:
            return kept
        measured = self._measured(self._atlas.feature(latent))
        if self._keep:
            (self._atlas.path / FOLDER).mkdir(exist_ok=True)
            write_json(_path(self._atlas, latent), {"of": _key(self._atlas), **measured.to_dict()})
        return measured

    def _measured(self, feature: Feature) -> Causes:
        figures, absent = dict[str, Estimate](), dict[str, str]()
        promoted = [one.id for one in feature.promoted]
        passages = list({one.passage_hash: one for one in feature.top}.values())[:PASSAGES]
        if not passages:
            absent |= dict.fromkeys(("input", "loss", "kl"), "the atlas has no passage on which it fires")
        if not promoted:
            why = self._atlas.absent.get("promoted", "the atlas has no tokens that it promotes")
            absent |= dict.fromkeys(("input", "output"), why)
        elif passages:
            figures["input"] = wilson(sum(one.token_ids[one.peak] in promoted for one in passages), len(passages))
        figures |= self._amplified(feature.latent, promoted)
        changes: dict[str, Any] = {}
        if passages:
            taken = self._ablation.of(feature.latent, [one.token_ids for one in passages])
            if taken is None:
                absent |= dict.fromkeys(("loss", "kl"), "it fires on none of its passages when they are read alone")
            else:
                figures |= taken.figures
                texts = {"raised": self._texts(taken.raised), "lowered": self._texts(taken.lowered)}
                changes = {**texts, "tokens": taken.tokens, "passages": taken.passages}
        return Causes(latent=feature.latent, figures=figures, absent=absent, **changes)

    def _texts(self, changes: Sequence[tuple[int, float]]) -> tuple[TokenChange, ...]:
        texts = self._model.tokenizer.tokens([id for id, _ in changes])
        return tuple((text, value) for text, (_, value) in zip(texts, changes, strict=True))

    def _amplified(self, latent: int, promoted: Sequence[int]) -> dict[str, Estimate]:
        logs = self._neutral.after([latent])[0]
        found = {"confidence": _single(float((self._neutral.plain.max() - logs.max()).abs()))}
        if promoted:
            best = logs[list(promoted)].max()
            found["output"] = _single(float((1 - (logs > best).sum() / len(logs)) * best.exp()))
        return found


def _single(value: float) -> Estimate:
    return Estimate(value, value, value, 1, "one pass")


def _path(atlas: Atlas, latent: int) -> Path:
    return atlas.path / FOLDER / f"{latent}.json"


def _key(atlas: Atlas) -> str:
    """Return what the figures belong to."""
    meta = atlas.meta
    return digest([_FORM, meta["model"], meta["dictionary"], meta["tables"]["examples"]["sha256"]])


def _kept(atlas: Atlas, latent: int) -> Causes | None:
    try:
        values = read_json(_path(atlas, latent))
        return Causes.from_dict(values) if values.pop("of") == _key(atlas) else None
    except (MonosemaError, OSError, KeyError, TypeError, ValueError):
        return None  # none, or another version's: it is measured again
