"""Induction: a head that writes the symbol before, and one that looks for it (Olsson et al. 2022, arXiv:2209.11895)."""

from __future__ import annotations

import random

from monosema.circuits.planted.planted import Planted, planted, prompt
from monosema.circuits.planted.wiring import LETTERS, SYMBOLS, Wiring, at, same

_LENGTH = 5


def induction(n: int = 32, seed: int = 0) -> Planted:
    """Return the model and n prompts: `cabfd` `b` → `f`; the corruption has other symbols, and repeats none."""
    wiring = Wiring("induction", 2)
    before = [((at("position", p), at("position", p - 1)), 12.0) for p in range(1, _LENGTH + 2)]
    wiring.head(0, 0, attend=before, copy=same("token", "carried"))
    matching = [(pair, 8.0) for pair in same("token", "carried")]
    wiring.head(
        1, 1, attend=matching, copy=same("token", "out"), rest={at("token", SYMBOLS.index("<bos>")): 4.0}, gain=4.0
    )
    rng, prompts = random.Random(seed), []
    for _ in range(n):
        *drawn, stranger = rng.sample(LETTERS, 2 * _LENGTH + 1)
        which = rng.randrange(_LENGTH - 1)
        # Were the corruption to repeat a symbol too, its pattern would be that of the clean prompt.
        texts = ["".join([*drawn[:_LENGTH], drawn[which]]), "".join([*drawn[_LENGTH:], stranger])]
        right = drawn[which + 1]
        wrong = rng.choice([one for one in drawn[:_LENGTH] if one != right])
        prompts.append(prompt(texts, right, wrong))
    edges = ("embed->a0.h0<v>", "a0.h0->a1.h1<k>", "embed->a1.h1<q>", "embed->a1.h1<v>", "a1.h1->logits")
    return planted(wiring.model, "goes on as a symbol went on before", prompts, "resample", edges)
