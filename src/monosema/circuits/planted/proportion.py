"""Proportion: one head averages over all positions, and an MLP compares the share with a half (RASP's histogram)."""

from __future__ import annotations

import random

from monosema.circuits.planted.planted import Planted, planted, prompt
from monosema.circuits.planted.wiring import MARK, SYMBOLS, Wiring, at

_LENGTH = 7
_COUNTED, _OTHER, _MANY, _FEW = "a", "b", "k", "f"


def proportion(n: int = 32, seed: int = 0) -> Planted:
    """Return the model and n prompts: more `a` than `b` in `aabaab>` → `k`, fewer → `f`."""
    wiring = Wiring("proportion", 2)
    flag, token = at("flag"), at("token")
    counted = [(token + SYMBOLS.index(_COUNTED), flag)]
    wiring.head(0, 2, attend=[], copy=counted, gain=float(_LENGTH + 2))  # The mean over all positions, as a count.
    many, few = at("out", SYMBOLS.index(_MANY)), at("out", SYMBOLS.index(_FEW))
    half = _LENGTH / 2
    wiring.mlp(
        1,
        [
            ({flag: 1.0}, -half, {many: 1.0, few: -1.0}),
            ({flag: -1.0}, half, {many: -1.0, few: 1.0}),
        ],
    )
    rng, prompts = random.Random(seed), []
    for index in range(n):
        more = index % 2 == 0
        texts = [_list(rng, more), _list(rng, not more)]
        right, wrong = (_MANY, _FEW) if more else (_FEW, _MANY)
        prompts.append(prompt(texts, right, wrong, right))
    edges = ("embed->a0.h2<v>", "a0.h2->m1", "m1->logits")
    return planted(wiring.model, "says of which symbol there are more", prompts, "resample", edges)


def _list(rng: random.Random, more: bool) -> str:
    most = rng.randint(_LENGTH // 2 + 1, _LENGTH)
    count = most if more else _LENGTH - most
    symbols = [_COUNTED] * count + [_OTHER] * (_LENGTH - count)
    rng.shuffle(symbols)
    return "".join([*symbols, MARK])
