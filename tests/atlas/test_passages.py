"""Selected passages against a slow twin that looks at every passage of every latent."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="module")
def twin(codes, config):
    """For each latent, its passages as (strength, peak, tokens shown), in order of the text."""
    layout, dense = codes.layout, codes.dense
    passages = [np.flatnonzero(layout.passage == number) for number in range(len(layout.passage_hash))]

    def look(latent: int) -> list[tuple[float, int, tuple[int, ...]]]:
        found = []
        for positions in passages:
            values = dense[positions, latent]
            if not (values > 0).any():
                continue
            peak = int(positions[values.argmax()])
            start, stop = max(layout.start[peak], peak - config.before), min(layout.stop[peak], peak + config.after + 1)
            found.append((float(values.max()), peak, tuple(layout.token[start:stop].tolist())))
        return found

    return look


def test_the_top_are_the_strongest_with_different_text(atlas, model, twin, config) -> None:
    for latent in range(atlas.n_latents):
        expected, texts = [], set()
        for strength, _, tokens in sorted(twin(latent), key=lambda one: (-one[0], one[1])):
            if tokens not in texts and len(expected) < config.top:
                texts.add(tokens)
                expected.append((strength, tokens))
        top = atlas.feature(latent).top
        assert all(one.tokens == tuple(model.tokenizer.tokens(one.token_ids)) for one in top)
        assert [(one.maximum, one.token_ids) for one in top] == [(pytest.approx(s), t) for s, t in expected]
        assert [one.rank for one in top] == list(range(len(top)))


def test_each_quantile_holds_passages_of_its_tenth(atlas, twin, config) -> None:
    drawn = 0
    for latent in range(atlas.n_latents):
        passages = twin(latent)
        strengths = np.array([strength for strength, _, _ in passages])
        shown = {(round(s, 5), tokens) for s, _, tokens in passages}
        for example in atlas.feature(latent).examples:
            assert (round(example.maximum, 5), example.token_ids) in shown
            if example.kind != "top":
                below = (strengths < np.float32(example.maximum)).sum()
                assert example.kind == f"q{below * 10 // len(strengths)}"
                drawn += 1
    assert drawn > 100


def test_no_text_is_shown_twice_for_a_feature(atlas) -> None:
    for latent in range(atlas.n_latents):
        examples = atlas.feature(latent).examples
        assert len({one.token_ids for one in examples}) == len(examples)
        assert len({one.passage_hash for one in examples}) == len(examples)


def test_activations_are_those_of_the_codes(atlas, codes) -> None:
    place = {
        key: n for n, key in enumerate(zip(codes.layout.document.tolist(), codes.layout.place.tolist(), strict=True))
    }
    for latent in range(atlas.n_latents):
        for example in atlas.feature(latent).examples:
            start = place[example.document, example.position] - example.peak
            expected = codes.dense[start : start + len(example.tokens), latent]
            np.testing.assert_allclose(example.activations, expected, rtol=1e-6)
            assert example.activations[example.peak] == example.maximum == max(example.activations)


def test_no_more_passages_than_asked_for(atlas, config) -> None:
    counts = atlas.sql(
        "select kind, max(n) as n from (select kind, count(*) as n from examples group by latent, kind) group by kind"
    )
    for row in counts:
        assert row["n"] <= (config.top if row["kind"] == "top" else config.per_quantile)
