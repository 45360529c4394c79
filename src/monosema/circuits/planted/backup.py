"""Backup: a head that does the task, and another that does it where the first is silent.

Either is a circuit that does the task alone, and knocking out one of them changes nothing: only the test of
completeness finds the other (Wang et al. 2022, § 4; McGrath et al. 2023, arXiv:2307.15771).
"""

from __future__ import annotations

import random

from monosema.circuits.planted.planted import Planted, planted, prompt
from monosema.circuits.planted.wiring import LETTERS, MARK, SYMBOLS, Wiring, at, same


def backup(n: int = 32, seed: int = 0) -> Planted:
    """Return the model and n prompts: `cab>` → `c`, the first symbol."""
    wiring = Wiring("backup", 2)
    first = at("position", 1)
    spoken = [(at("token", SYMBOLS.index(one)), at("flag")) for one in LETTERS]
    wiring.head(0, 1, attend=[], copy=[*same("token", "out"), *spoken], rest={first: 12.0}, gain=4.0)
    silent = ((at("flag"), first), -6.0)  # The flag is 4 where the first head spoke.
    bos = at("token", SYMBOLS.index("<bos>"))
    wiring.head(1, 2, attend=[silent], copy=same("token", "out"), rest={first: 16.0, bos: 6.0}, gain=4.0)
    rng, prompts = random.Random(seed), []
    for _ in range(n):
        drawn = rng.sample(LETTERS, 6)
        texts = ["".join([*one, MARK]) for one in (drawn[:3], drawn[3:])]
        prompts.append(prompt(texts, drawn[0], rng.choice(drawn[1:3])))
    circuits = ([f"embed->{head}<k>", f"embed->{head}<v>", f"{head}->logits"] for head in ("a0.h1", "a1.h2"))
    return planted(wiring.model, "says the first symbol, by one head or by the other", prompts, "zero", *circuits)
