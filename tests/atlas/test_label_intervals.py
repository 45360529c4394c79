"""Intervals of label scores hold the truth as often as they say, where tokens of one passage go together; and are no
wider than that takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from monosema.atlas import AtlasConfig
from monosema.atlas.blocks import load_block
from monosema.atlas.code_shards import ByLatent, CodeShards
from monosema.atlas.layout import lay_out
from monosema.atlas.lookup import Labels, label_block, token_totals
from monosema.atlas.passages import segments
from monosema.atlas.statistics import token_in_train
from monosema.data import TokenBatch

VOCAB, PASSAGES, WIDTH, MISSED = 30, 150, 64, 0.002


def world(folder: Path, share: float, seed: int, bursts: float = 1.0) -> tuple[Labels, CodeShards]:
    """Latent j means token j: in a passage it is active on all of them, with probability `share`, or on none; and now
    and then on another token, but only in the share `bursts` of all passages. Tokens come in bursts, too."""
    draw = np.random.default_rng(seed)
    topics = draw.dirichlet(np.full(VOCAB, 0.5), PASSAGES)
    tokens = np.stack([draw.choice(VOCAB, WIDTH, p=topic) for topic in topics])
    active = (tokens[:, :, None] == np.arange(VOCAB)) & (draw.random((PASSAGES, 1, VOCAB)) < share)
    rate = MISSED / bursts * (draw.random((PASSAGES, 1, VOCAB)) < bursts)
    active |= (tokens[:, :, None] != np.arange(VOCAB)) & (draw.random((PASSAGES, WIDTH, VOCAB)) < rate)
    spill = CodeShards(folder / f"{share}-{bursts}-{seed}", {"seed": seed})
    for part in np.array_split(np.arange(PASSAGES), 2):
        whole = torch.ones(len(part), WIDTH, dtype=torch.bool)
        document = torch.arange(len(part))[:, None].expand(-1, WIDTH)
        place = torch.arange(WIDTH).expand(len(part), -1)
        layout = lay_out([TokenBatch(torch.from_numpy(tokens[part]), whole, document, place, whole)], WIDTH)
        latent, position = np.nonzero(active[part].reshape(-1, VOCAB).T)
        first = np.searchsorted(latent, np.arange(VOCAB + 1))
        spill.append(layout, ByLatent(first, position.copy(), np.ones(len(position), np.float32)), 1, str(part[0]))
    block = load_block(spill, 0, VOCAB, 64)
    return label_block(block, segments(block), token_totals(spill, VOCAB), AtlasConfig(label_tokens=1)), spill


def truth(share: float) -> float:
    """The balanced accuracy of "token j" for latent j, over all texts of such a world."""
    of_token, others = 1 / VOCAB, (1 - 1 / VOCAB) * MISSED
    recall = share * of_token / (share * of_token + others)
    false = (1 - share) * of_token / (1 - share * of_token - others)
    return (recall + 1 - false) / 2


@pytest.mark.parametrize(("share", "bursts"), [(0.3, 1.0), (0.6, 0.1), (0.9, 1.0), (1.0, 0.1)])
def test_intervals_hold_the_truth_and_no_more(tmp_path: Path, share: float, bursts: float) -> None:
    held: list[NDArray[np.bool_]] = []
    below: list[NDArray[np.float32]] = []
    spread: list[float] = []
    for seed in range(12):
        labels, _ = world(tmp_path, share, seed, bursts)
        own = (labels.tokens[:, 0] == np.arange(VOCAB)) & ~np.isnan(labels.score)
        score, low, high = labels.score[own], labels.low[own], labels.high[own]
        assert ((low <= score) & (score <= high)).all()
        held.append((low <= truth(share)) & (truth(share) <= high))
        below.append(score - low)
        spread += (score - truth(share)).tolist()
    assert sum(map(len, held)) > 250
    assert np.concatenate(held).mean() >= 0.9
    # Half of a 95 % interval is about two standard deviations.
    assert np.mean(np.concatenate(below)) < 3 * np.std(spread)


def test_false_positives_are_counted_by_passage(tmp_path: Path) -> None:
    """Against a count passage by passage: the variance that the interval is made of."""
    from monosema.atlas.lookup import _rates, _squares

    _, spill = world(tmp_path, 0.6, 0)
    block, totals = load_block(spill, 0, VOCAB, 64), token_totals(spill, VOCAB)
    tokens = np.stack([np.arange(VOCAB), (np.arange(VOCAB) + 1) % VOCAB], axis=1)
    tokens[::3, 1] = -1
    rates = _rates(block, segments(block), totals, tokens)
    expected = np.zeros(VOCAB)
    for shard in spill:
        layout, codes = shard.layout, shard.read(0, VOCAB)
        tested = layout.keep & ~token_in_train(layout)
        for latent in range(VOCAB):
            active = np.zeros(len(layout), np.bool_)
            active[codes.position[codes.first[latent] : codes.first[latent + 1]]] = True
            false = tested & np.isin(layout.token, tokens[latent]) & ~active
            expected[latent] += (np.bincount(layout.passage[false]) ** 2).sum()
    assert _squares(totals, tokens, rates, 1.0)[1] == pytest.approx(expected)
