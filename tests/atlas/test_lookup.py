from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monosema.atlas import build_atlas, lookup
from monosema.atlas.lookup import MIN_PASSAGES
from monosema.atlas.statistics import passage_in_train, token_in_train


def test_planted_tokens_are_found_and_scored(model, planted, text, config, tmp_path) -> None:
    atlas = build_atlas(model, planted, "embed", text(), tmp_path / "planted", config)
    for latent, piece in enumerate(("e", "t", "g", " ")):
        feature = atlas.feature(latent)
        assert feature.label == f"{piece!r} (100 %)"
        assert feature.top_tokens[0].token == piece
        assert feature.top_tokens[0].weight == pytest.approx(1)
        assert feature.label_score.value == pytest.approx(1)
        assert feature.label_score.high == pytest.approx(1)
        assert 0.5 < feature.label_score.low < 1
        assert feature.promoted[0].token == piece
        assert feature.scores[0].control <= 0.5
    dead = atlas.feature(4)
    assert (dead.alive, dead.label, dead.label_score, dead.histogram, dead.examples) == (False, None, None, None, ())
    assert not [pair for pair in dead.neighbours if pair.kind == "decoder"]


def test_a_score_is_the_balanced_accuracy_on_passages_of_other_text(atlas, model, codes) -> None:
    layout = codes.layout
    tested = layout.keep & ~token_in_train(layout)
    scored = 0
    for latent in range(atlas.n_latents):
        feature = atlas.feature(latent)
        active = codes.dense[tested, latent] > 0
        passages = len(np.unique(layout.passage[tested][active]))
        if feature.label is None or passages < MIN_PASSAGES:
            assert feature.label_score is None
            continue
        wanted = label_tokens(feature.label, model)
        fires = np.isin(layout.token[tested], wanted)
        expected = (fires[active].mean() + (~fires[~active]).mean()) / 2
        assert feature.label_score.value == pytest.approx(expected, rel=1e-5)
        assert feature.label_score.low <= feature.label_score.value <= feature.label_score.high
        assert feature.label_score.n == passages
        scored += 1
    assert scored > 20


def test_labels_are_the_best_prefix_of_the_tokens_with_most_mass_on_their_side(atlas, model, codes, config) -> None:
    layout = codes.layout
    mine = layout.keep & token_in_train(layout)
    token = layout.token[mine]
    for latent in range(atlas.n_latents):
        value = codes.dense[mine, latent]
        mass = np.bincount(token, weights=value, minlength=model.vocab)
        order = np.lexsort((np.arange(len(mass)), -mass))[: config.label_tokens]
        order = order[mass[order] > 0]
        if not len(order):
            continue
        order = order[(mass[order] >= config.label_share * mass.sum()) | (order == order[0])]
        active = value > 0
        accuracy = []
        for length in range(1, len(order) + 1):
            fires = np.isin(token, order[:length])
            accuracy.append(fires[active].mean() + (~fires[~active]).mean())
        best = order[: int(np.argmax(np.round(accuracy, 12))) + 1]
        assert label_tokens(atlas.feature(latent).label, model) == best.tolist()


def test_top_tokens_are_shares_of_the_whole_mass(atlas, model, codes) -> None:
    kept = codes.layout.keep
    for latent in (0, 11, 39):
        value = codes.dense[kept, latent]
        mass = np.bincount(codes.layout.token[kept], weights=value, minlength=model.vocab) / max(value.sum(), 1e-9)
        for one in atlas.feature(latent).top_tokens:
            assert one.weight == pytest.approx(mass[model.tokenizer.id(one.token)], rel=1e-5)


def test_no_text_is_on_both_sides(codes) -> None:
    side = passage_in_train(codes.layout.passage_hash)
    assert 0.2 < side.mean() < 0.8
    texts: dict[int, set[tuple[int, ...]]] = {False: set(), True: set()}
    for number in range(len(codes.layout.passage_hash)):
        texts[bool(side[number])].add(tuple(codes.layout.token[codes.layout.passage == number].tolist()))
    assert not texts[False] & texts[True]


def test_shuffled_labels_score_at_chance(atlas) -> None:
    control = atlas.sql("select avg(control) as mean, count(control) as n from scores")[0]
    real = atlas.sql("select avg(value) as mean from scores")[0]
    assert control["n"] > 20
    assert abs(control["mean"] - 0.5) < 0.06 < real["mean"] - 0.5


def label_tokens(label: str, model) -> list[int]:
    import ast

    pieces = ast.literal_eval("[" + __import__("re").sub(r" \(\d+ %\)", "", label) + "]")
    return [model.tokenizer.id(piece) for piece in pieces]


@given(
    entries=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.sampled_from([0.5, 1.0, 2.0])), max_size=60),
    k=st.integers(1, 7),
)
def test_the_strongest_tokens_are_those_of_the_whole_matrix(entries, k) -> None:
    n, vocab = 5, 7
    latent, token, value = (np.array(column) for column in zip(*entries, strict=True)) if entries else [np.zeros(0)] * 3
    keys = latent.astype(np.int64) * vocab + token.astype(np.int64)
    tokens, share, hits = lookup._strongest(keys, value.astype(np.float32), n, vocab, k)
    mass = np.bincount(keys, value, n * vocab).reshape(n, vocab)
    count = np.bincount(keys, minlength=n * vocab).reshape(n, vocab)
    for row in range(n):
        best = [at for at in np.lexsort((np.arange(vocab), -mass[row])) if mass[row, at] > 0][:k]
        assert tokens[row].tolist() == [*best, *[-1] * (k - len(best))]
        assert hits[row, : len(best)].tolist() == count[row, best].tolist()
        np.testing.assert_allclose(share[row, : len(best)], mass[row, best] / max(mass[row].sum(), 0.5), rtol=1e-6)
        assert not share[row, len(best) :].any()
