"""Reverse: a list is said backwards, by one head that looks at the mirrored position (RASP, Weiss et al. 2021)."""

from __future__ import annotations

import random

from monosema.circuits.planted.planted import Planted, planted, prompt
from monosema.circuits.planted.wiring import LETTERS, MARK, Wiring, at, same

_LENGTH = 4


def reverse(n: int = 32, seed: int = 0) -> Planted:
    """Return the model and n prompts: `abcd>dc` → `b`.

    Positions are the same in any corruption; what they do shows where nothing stands in for what is left out.
    """
    wiring = Wiring("reverse", 2)
    # BOS is position 0, the list 1 to _LENGTH, and the symbol after p is that at 2 · _LENGTH + 1 − p.
    mirrored = [((at("position", p), at("position", 2 * _LENGTH + 1 - p)), 8.0) for p in range(_LENGTH + 1, 9)]
    wiring.head(0, 1, attend=mirrored, copy=same("token", "out"), gain=4.0)
    rng, prompts = random.Random(seed), []
    for index in range(n):
        said = index % _LENGTH
        items, others = rng.sample(LETTERS, _LENGTH), rng.sample(LETTERS, _LENGTH)
        texts = ["".join([*one, MARK, *one[::-1][:said]]) for one in (items, others)]
        right = items[_LENGTH - 1 - said]
        wrong = rng.choice([one for one in items if one != right])
        prompts.append(prompt(texts, right, wrong, f"{said} said"))
    edges = ("embed->a0.h1<q>", "embed->a0.h1<k>", "embed->a0.h1<v>", "a0.h1->logits")
    return planted(wiring.model, "says a list backwards", prompts, "zero", edges)
