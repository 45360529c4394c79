"""Indirect object in miniature: of two names, the one that is not said again (Wang et al. 2022, arXiv:2211.00593).

A duplicate head flags the second mention; an inhibition head carries the flagged name to the end; a name mover copies
from all names but that one.
"""

from __future__ import annotations

import random

from monosema.circuits.planted.planted import Planted, planted, prompt
from monosema.circuits.planted.wiring import LETTERS, MARK, SYMBOLS, Wiring, at, same


def indirect_object(n: int = 32, seed: int = 0) -> Planted:
    """Return the model and n prompts: `aba>` and `baa>` → `b`; corrupted by three other names."""
    wiring = Wiring("indirect-object", 3)
    bos = at("token", SYMBOLS.index("<bos>"))
    itself = [((at("position", p), at("position", p)), -30.0) for p in range(1, 5)]
    flagged = [(at("token", SYMBOLS.index(one)), at("flag")) for one in LETTERS]
    doubles = [(pair, 12.0) for pair in same("token", "token")]
    wiring.head(0, 0, attend=[*doubles, *itself], copy=flagged, rest={bos: 6.0})
    wiring.head(1, 1, attend=[], copy=same("token", "carried"), rest={at("flag"): 12.0, bos: 6.0})
    others = [(pair, -12.0) for pair in same("carried", "token")]
    mark = at("token", SYMBOLS.index(MARK))
    wiring.head(2, 2, attend=others, copy=same("token", "out"), rest={bos: -12.0, mark: -12.0}, gain=4.0)
    rng, prompts = random.Random(seed), []
    for index in range(n):
        io, subject, *others_said = rng.sample(LETTERS, 5)
        abba = index % 2 == 0
        first = [io, subject] if abba else [subject, io]
        texts = ["".join([*first, subject, MARK]), "".join([*others_said, MARK])]
        prompts.append(prompt(texts, io, subject, "ABBA" if abba else "BABA"))
    edges = (
        *("embed->a0.h0<q>", "embed->a0.h0<k>", "a0.h0->a1.h1<k>", "embed->a1.h1<v>"),
        *("a1.h1->a2.h2<q>", "embed->a2.h2<k>", "embed->a2.h2<v>", "a2.h2->logits"),
    )
    return planted(wiring.model, "says the name that is not repeated", prompts, "resample", edges)
