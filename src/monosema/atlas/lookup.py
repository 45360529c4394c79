"""A first label without a language model: the tokens that carry most of a feature's activation, and how well they
predict it.

Label. On the passages that labels are made from, each token's share of the feature's activation mass is

    share(t) = Σ_{i: token_i = t} a_i / Σ_i a_i.

The label is the shortest list of the tokens with the greatest shares, of at most `label_tokens` with at least
`label_share` each, that has the highest balanced accuracy there as a rule "the feature fires where the token is one of
these". (Without a least share a label fills up with rare tokens, which help the rule a little and a reader not.)

Score. The same rule's balanced accuracy ½ (TPR + TNR) on all kept tokens of the other passages, none of which has the
same text as one that the label was made from. Both rates are ratios over passages, and tokens of one passage are not
independent, so each has a Wilson interval with the effective sample size of clusters (Kish 1965), rate (1 − rate) /
var; Newcombe's (1998) square-and-add rule joins them. With c_p occurrences of the label's tokens in a passage, h_p of
them hits, and N negatives in all T passages, the variance of the false positive rate comes from

    Σ_p (c_p − h_p)² = Σ_p c_p² − 2 Σ_p c_p h_p + Σ_p h_p²,    var = (Σ_p (c_p − h_p)² − (Σ_p (c_p − h_p))² / T) / N².

Where mistakes are few, how they go together can't be seen. So the effective size of the false positive rate is at most
N Σ_p c_p / Σ_p c_p², as if a passage's occurrences were wrong all or none; and where every active token, or none, was
found, that of the true positive rate is (Σ_p a_p)² / Σ_p a_p², with a_p active tokens in a passage.

Control. The score of another feature's label, drawn at random, on the same feature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from monosema.atlas.blocks import Block
from monosema.atlas.code_shards import CodeShards
from monosema.atlas.config import AtlasConfig
from monosema.atlas.passages import Segments
from monosema.atlas.statistics import passage_in_train, token_in_train
from monosema.core import numpy_generator, wilson_ends
from monosema.core.groups import ranks

MIN_PASSAGES = 5
"""A label is scored where at least so many test passages activate the feature."""
_CELLS = 4_194_304


@dataclass(frozen=True)
class TokenTotals:
    """How often each token occurs among the kept tokens.

    Attributes:
        label: occurrences in the passages that labels are made from.
        test: occurrences in the others.
        test_passages: number of the others, with at least one kept token.
        text: where they were counted.
    """

    label: Int[np.ndarray, " vocab"]
    test: Int[np.ndarray, " vocab"]
    test_passages: int
    text: CodeShards


@dataclass(frozen=True)
class Labels:
    """Token lookup for the latents of a block; NaN and -1 where there is nothing.

    Attributes:
        top, top_share: the tokens with the greatest shares over the whole text, strongest first; -1 after the last.
        tokens, share: those of the label, likewise, and their shares in the passages it was made from.
        score, low, high: balanced accuracy on test passages, and its interval.
        n: test passages that activate the latent.
        control: score of another feature's label.
    """

    top: Int[np.ndarray, "n top"]
    top_share: Float[np.ndarray, "n top"]
    tokens: Int[np.ndarray, "n most"]
    share: Float[np.ndarray, "n most"]
    score: Float[np.ndarray, " n"]
    low: Float[np.ndarray, " n"]
    high: Float[np.ndarray, " n"]
    n: Int[np.ndarray, " n"]
    control: Float[np.ndarray, " n"]


def token_totals(shards: CodeShards, vocab: int) -> TokenTotals:
    """Count tokens on both sides, shard by shard."""
    label, test = np.zeros(vocab, np.int64), np.zeros(vocab, np.int64)
    passages = 0
    for shard in shards:
        layout = shard.layout
        train = passage_in_train(layout.passage_hash)[layout.passage]
        label += np.bincount(layout.token[layout.keep & train], minlength=vocab)
        tested = layout.keep & ~train
        test += np.bincount(layout.token[tested], minlength=vocab)
        passages += len(np.unique(layout.passage[tested]))
    return TokenTotals(label, test, passages, shards)


def label_block(block: Block, parts: Segments, totals: TokenTotals, config: AtlasConfig) -> Labels:
    """Label and score all latents of a block.

    Args:
        config: `top_tokens`, `label_tokens`, `label_share` and `seed` are used.
    """
    top_tokens, top_share, tokens, share = _carriers(block, totals, config)
    rates = _rates(block, parts, totals, tokens)
    control = _rates(block, parts, totals, _shuffled(tokens, config.seed, block.low))
    figures = (rates.accuracy, *_ends(block, totals, tokens, rates))
    score, low, high = (np.where(rates.known, figure, np.nan).astype(np.float32) for figure in figures)
    other = np.where(control.known, control.accuracy, np.nan).astype(np.float32)
    return Labels(top_tokens, top_share, tokens, share, score, low, high, rates.passages, other)


def _carriers(
    block: Block, totals: TokenTotals, config: AtlasConfig
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Tokens with the greatest shares over all passages, and the label from the training split."""
    n, vocab = block.high - block.low, len(totals.label)
    keys = block.latent.astype(np.int64) * vocab + block.token
    top_tokens, top_share, _ = _strongest(keys, block.value, n, vocab, min(config.top_tokens, vocab))
    keys, value = keys[block.train], block.value[block.train]
    tokens, share, hits = _strongest(keys, value, n, vocab, min(config.label_tokens, vocab))
    positives = np.bincount(keys // vocab, minlength=n)[:, None]
    seen = np.where(tokens >= 0, totals.label[tokens], 0)
    negatives = np.maximum(totals.label.sum() - positives / block.share, 1)
    true, false = hits.cumsum(axis=1), (seen - hits / block.share).cumsum(axis=1)
    tokens[:, 1:][share[:, 1:] < config.label_share] = -1
    accuracy = np.where(tokens >= 0, true / np.maximum(positives, 1) - false / negatives, -np.inf)
    length = accuracy.argmax(axis=1)[:, None] + 1
    inside = np.arange(tokens.shape[1]) < length
    return top_tokens, top_share, np.where(inside, tokens, -1), np.where(inside, share, 0)


def _strongest(
    keys: NDArray[np.int64], value: NDArray[np.float32], n: int, vocab: int, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Of each latent the k tokens with the greatest mass, their shares and how often they activate it; of equals the
    lower id first, -1 where there are fewer.

    A latent is active on few tokens of the vocabulary, so those that occur are sorted, and no matrix is made of all.

    Args:
        keys: latent · vocab + token of each activation.
    """
    pairs, place = np.unique(keys, return_inverse=True)
    mass, count = np.bincount(place, value, len(pairs)), np.bincount(place, minlength=len(pairs))
    latent = pairs // vocab
    order = np.lexsort((pairs, -mass, latent))
    rank = ranks(latent[order])
    order, rank = order[rank < k], rank[rank < k]
    tokens, hits, share = np.full((n, k), -1, np.int64), np.zeros((n, k), np.int64), np.zeros((n, k), np.float32)
    total = np.bincount(latent, mass, n)
    at = (latent[order], rank)
    tokens[at], hits[at], share[at] = pairs[order] % vocab, count[order], mass[order] / total[latent[order]]
    return tokens, share, hits


def _shuffled(tokens: NDArray[np.int64], seed: int, low: int) -> NDArray[np.int64]:
    """Each labelled latent gets the label of another; nobody keeps its own. With fewer than two, there are none."""
    labelled = np.flatnonzero(tokens[:, 0] >= 0)
    shuffled = np.full_like(tokens, -1)
    if len(labelled) > 1:
        order = numpy_generator(seed, "shuffled labels", low).permutation(labelled)
        shuffled[order] = tokens[np.roll(order, 1)]
    return shuffled


@dataclass(frozen=True)
class _Rates:
    """What a rule gets right on the test split, for each latent of a block; hits and actives also for each segment.

    Attributes:
        known: where there is a label and enough to score it on.
        recall, missed: TPR, and FPR = 1 − TNR.
        negatives: tokens on which the latent is inactive.
        passages: test passages that activate the latent.
        latent, actives, hits: of each segment of the test split, its latent, active tokens, and those the rule finds.
        passage: its number in the whole text.
    """

    known: NDArray[np.bool_]
    recall: NDArray[np.float64]
    missed: NDArray[np.float64]
    negatives: NDArray[np.float64]
    passages: NDArray[np.int64]
    latent: NDArray[np.integer]
    actives: NDArray[np.int64]
    hits: NDArray[np.int64]
    passage: NDArray[np.int64]

    @property
    def accuracy(self) -> NDArray[np.float64]:
        return (self.recall + 1 - self.missed) / 2


def _rates(block: Block, parts: Segments, totals: TokenTotals, tokens: NDArray[np.int64]) -> _Rates:
    """How often labels are right on the test split."""
    n, vocab = len(tokens), len(totals.test)
    starts = parts.start[:-1]
    tested = ~block.train[starts] if len(block.train) else np.zeros(0, np.bool_)
    latent = parts.latent[tested]
    actives, hits = (_per_segment(parts, tested, which) for which in (None, _hits(block, tokens, vocab)))
    passages = np.bincount(latent, minlength=n)
    positives, found = np.bincount(latent, actives, n), np.bincount(latent, hits, n)
    known = (tokens[:, 0] >= 0) & (passages >= MIN_PASSAGES) & (totals.test.sum() > positives / block.share)
    recall = np.divide(found, positives, out=np.zeros(n), where=known)
    seen = np.where(tokens >= 0, totals.test[tokens], 0).sum(axis=1)
    negatives = np.maximum(totals.test.sum() - positives / block.share, 1)
    missed = np.clip((seen - found / block.share) / negatives, 0, 1)
    passage = block.passage[starts[tested]] if len(tested) else np.zeros(0, np.int64)
    return _Rates(known, recall, missed, negatives, passages, latent, actives, hits, passage)


def _ends(
    block: Block, totals: TokenTotals, tokens: NDArray[np.int64], rates: _Rates
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the interval of the balanced accuracy."""
    n, known = len(tokens), rates.known
    positives = np.bincount(rates.latent, rates.actives, n)
    spread = np.bincount(rates.latent, (rates.hits - rates.recall[rates.latent] * rates.actives) ** 2, n)
    variance = np.divide(spread, positives**2, out=np.zeros(n), where=known)
    false, test_passages = rates.missed * rates.negatives, max(totals.test_passages, 1)
    occurring, wrong = _squares(totals, tokens, rates, block.share)
    seen = np.where(tokens >= 0, totals.test[tokens], 0).sum(axis=1)
    false_variance = np.maximum(wrong - false**2 / test_passages, 0) / rates.negatives**2
    together = positives**2 / np.maximum(np.bincount(rates.latent, rates.actives**2, n), 1)
    recall = _wilson(rates.recall, variance, np.where(variance > 0, positives, together))
    missed = _wilson(rates.missed, false_variance, rates.negatives * seen / np.maximum(occurring, 1))
    low = rates.accuracy - np.hypot(rates.recall - recall[0], missed[1] - rates.missed) / 2
    high = rates.accuracy + np.hypot(recall[1] - rates.recall, rates.missed - missed[0]) / 2
    return np.maximum(low, 0), np.minimum(high, 1)


def _squares(
    totals: TokenTotals, tokens: NDArray[np.int64], rates: _Rates, share: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Σ_p c_p² and Σ_p (c_p − h_p)² of each latent, shard by shard; where passages were drawn, what hits take off is
    scaled up."""
    from scipy.sparse import csr_array

    n, vocab = len(tokens), len(totals.test)
    row, column = np.nonzero(tokens >= 0)
    rule = csr_array((np.ones(len(row)), (tokens[row, column], row)), shape=(vocab, n))
    squares, taken = np.zeros(n), np.zeros(n)
    for shard in totals.text:
        layout = shard.layout
        tested = layout.keep & ~token_in_train(layout)
        places = (layout.passage[tested], layout.token[tested])
        count = csr_array((np.ones(len(places[0])), places), shape=(shard.passages, vocab))
        mine = (rates.passage >= shard.first_passage) & (rates.passage < shard.first_passage + shard.passages)
        segment = (rates.passage[mine] - shard.first_passage, rates.latent[mine])
        hits = csr_array((rates.hits[mine].astype(np.float64), segment), shape=(shard.passages, n))
        step = max(1, _CELLS // max(shard.passages, 1))
        for low in range(0, n, step):
            part = slice(low, min(low + step, n))
            occurs, found = count @ rule[:, part], hits[:, part]
            squares[part] += occurs.multiply(occurs).sum(axis=0)
            taken[part] += 2 * occurs.multiply(found).sum(axis=0) - found.multiply(found).sum(axis=0)
    return squares, np.maximum(squares - taken / share, 0)


def _hits(block: Block, tokens: NDArray[np.int64], vocab: int) -> NDArray[np.bool_]:
    """Whether the token of each activation is one of its latent's label."""
    hits = np.empty(len(block.value), np.bool_)
    step = max(1, 8 * _CELLS // vocab)
    for low in range(0, len(tokens), step):
        high = min(low + step, len(tokens))
        member = np.zeros((high - low, vocab), np.bool_)
        row, column = np.nonzero(tokens[low:high] >= 0)
        member[row, tokens[low:high][row, column]] = True
        part = slice(int(block.first[low]), int(block.first[high]))
        latent = np.repeat(np.arange(high - low), np.diff(block.first[low : high + 1]))
        hits[part] = member[latent, block.token[part]]
    return hits


def _per_segment(parts: Segments, which: NDArray[np.bool_], hits: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    """Activations of each segment, or those of them that are hits."""
    if hits is None:
        return np.diff(parts.start)[which]
    if not len(hits):
        return np.zeros(0, np.int64)
    return np.add.reduceat(hits, parts.start[:-1], dtype=np.int64)[which]


def _wilson(
    rate: NDArray[np.float64], variance: NDArray[np.float64], ceiling: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson's interval with the effective sample size of clusters, at most so many."""
    with np.errstate(divide="ignore", invalid="ignore"):
        n = np.where(variance > 0, rate * (1 - rate) / variance, np.inf)
    n = np.clip(np.nan_to_num(n, nan=1.0, posinf=np.inf), 1.0, np.maximum(ceiling, 1))
    return wilson_ends(rate, n)
