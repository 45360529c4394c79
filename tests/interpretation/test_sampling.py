"""Samples: disjoint sides, inactive where it is said, near where it is said, the same for the same seed."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monosema.atlas import AtlasConfig, build_atlas
from monosema.core import CorpusError, DamagedFileError, Site
from monosema.data import Document, TextConfig, token_batches
from monosema.dictionaries import RandomDirections
from monosema.interpretation import Subject
from monosema.interpretation.explainers.logit_effect import LogitEffectExplainer
from monosema.interpretation.pool import read_pool
from monosema.interpretation.samples import KINDS, Samples
from monosema.interpretation.sampling import SampleConfig, draw_samples, latents_of, pool_of, too_few
from monosema.models import quoted, random_model

SITE = Site.parse("0.resid_post")


class Sentences:
    """Random sentences, every third of them the same."""

    name, digest = "sentences", "0123456789abcdef"

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def documents(self):
        draw = random.Random(self.seed)
        for number in range(40):
            words = draw.choices("a the cat dog house runs sleeps sees old red and not".split(), k=12)
            yield Document(number, "the same old red cat sees it." if number % 3 == 0 else " ".join(words), "sentences")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    model = random_model()

    def batches(seed):
        return token_batches(Sentences(seed), model.tokenizer, TextConfig(window=48, batch=4, split="all"))

    rows = torch.cat([model.activations(batch.tokens, [SITE])[SITE][batch.keep] for batch in batches(0)])
    dictionary = RandomDirections.fit(rows.detach(), 40, 3)
    config = AtlasConfig(passage=32, before=9, after=4, top=6, per_quantile=2, neighbours=4, effects=3)
    atlas = build_atlas(model, dictionary, SITE, batches(0), tmp_path_factory.mktemp("atlas") / "it", config)
    subject = Subject(model, dictionary, atlas)
    pool = pool_of(subject, batches(1), SampleConfig())
    return SimpleNamespace(model=model, dictionary=dictionary, atlas=atlas, subject=subject, batches=batches, pool=pool)


def draw(world, latents=None, **config):
    return draw_samples(world.subject, world.pool, SampleConfig(**config), latents)


@settings(max_examples=6)
@given(st.integers(0, 2**63), st.integers(0, 6), st.integers(0, 6), st.integers(0, 4))
def test_no_latent_has_a_passage_on_both_sides(world, seed, active, inactive, near):
    samples = draw(world, seed=seed, random=active, inactive=inactive, near=near)
    for latent in samples.latents.tolist():
        entries = samples.entries(latent)
        names = samples.hashes[samples.passage[entries]]
        texts = {tuple(row) for row in samples.ids[samples.passage[entries]].tolist()}
        assert len(set(names.tolist())) == len(names) == len(texts)
    wanted = {"random": active, "inactive": inactive, "inactive near decoder": near, "inactive near firing": near}
    for kind, most in wanted.items():
        here = samples.kind == KINDS.index(kind)
        assert np.bincount(samples.row[here] * 2 + samples.test[here], minlength=1).max() <= most


def test_activations_are_those_of_the_latent(world):
    """Of pool passages the codes are computed again, in the rows they were cut from."""
    samples = draw(world)
    dense = np.zeros((*world.pool.ids.shape, world.dictionary.n_latents), np.float32)
    latent = np.repeat(np.arange(world.dictionary.n_latents), np.diff(world.pool.first))
    dense.reshape(-1, world.dictionary.n_latents)[world.pool.slot, latent] = world.pool.value
    place = {name: index for index, name in enumerate(world.pool.hashes.tolist())}
    checked = 0
    for entry in np.flatnonzero(samples.kind >= KINDS.index("random")):
        index = place[int(samples.hashes[samples.passage[entry]])]
        own = dense[index, :, samples.latents[samples.row[entry]]]
        assert np.array_equal(samples.activations[entry], own)
        assert (own > 0).any() == samples.active[entry]
        checked += not samples.active[entry]
    assert checked > 100


def test_the_pool_holds_what_the_dictionary_says(world):
    """Codes of a passage, found anew from the text, are those of the pool."""
    batch = next(iter(world.batches(1)))
    with torch.inference_mode():
        x = world.model.activations(batch.tokens, [SITE])[SITE]
        codes = world.dictionary.encode(x.flatten(0, 1)).dense().view(*batch.tokens.shape, -1).numpy()
    row = batch.tokens[0].tolist()
    text = world.pool.ids[0][world.pool.ids[0] >= 0].tolist()
    start = next(i for i in range(len(row)) if row[i : i + len(text)] == text)
    active = world.pool.active(np.arange(world.dictionary.n_latents))[:, 0]
    assert np.array_equal(active, (codes[0, start : start + len(text)] > 0).any(axis=0))


def test_near_passages_have_a_neighbour_that_is_active(world):
    samples = draw(world)
    active = world.pool.active(np.arange(world.dictionary.n_latents))
    place = {name: index for index, name in enumerate(world.pool.hashes.tolist())}
    for kind, name in (("inactive near decoder", "decoder"), ("inactive near firing", "coactivation")):
        entries = np.flatnonzero(samples.kind == KINDS.index(kind))
        assert len(entries)
        for entry in entries[:10]:
            latent = int(samples.latents[samples.row[entry]])
            others = [one.other for one in world.atlas.feature(latent).neighbours if one.kind == name]
            assert active[others, place[int(samples.hashes[samples.passage[entry]])]].any()


def test_the_seed_decides(world):
    first, again, other = draw(world), draw(world), draw(world, seed=1)
    for name in type(first).__dataclass_fields__:
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.passage, other.passage)


def test_latents_by_choice(world):
    few = latents_of(world.atlas, 5)
    assert len(few) == 5
    assert set(few) <= set(latents_of(world.atlas).tolist())
    alone, among = draw(world, few), draw(world)
    for latent in few.tolist():
        names = [{int(s.hashes[s.passage[e]]) for e in s.entries(latent)} for s in (alone, among)]
        assert names[0] == names[1]
    counts = np.bincount(among.row[among.active], minlength=len(among.latents))
    assert too_few(among, 10).tolist() == among.latents[counts < 10].tolist()


def test_logit_effect_names_what_is_promoted(world):
    samples = draw(world)
    said = LogitEffectExplainer(world.atlas, named=2).explain(samples)
    assert set(said) == set(samples.latents.tolist())
    latent = int(samples.latents[0])
    promoted = [quoted(one.token) for one in world.atlas.feature(latent).promoted[:2]]
    assert said[latent].text == f"promotes {', '.join(promoted)}"
    assert said[latent].program is None


def test_samples_survive_a_file(world, tmp_path):
    samples = draw(world)
    samples.save(tmp_path / "samples.safetensors")
    again = Samples.load(tmp_path / "samples.safetensors")
    for name in type(samples).__dataclass_fields__:
        assert np.array_equal(getattr(samples, name), getattr(again, name))
    (tmp_path / "samples.safetensors").write_bytes(b"no")
    with pytest.raises(DamagedFileError, match="can't be read"):
        Samples.load(tmp_path / "samples.safetensors")


def test_a_text_without_passages_is_refused(world):
    with pytest.raises(CorpusError, match="99 tokens"):
        read_pool(world.model, world.dictionary, SITE, world.batches(1), 100, 99)


def test_memory_ends_the_pool(world):
    pool = read_pool(world.model, world.dictionary, SITE, list(world.batches(1)) * 50, 14, memory_mb=1)
    assert not pool.cut
    many = read_pool(
        world.model, world.dictionary, SITE, (b for seed in range(400) for b in world.batches(seed)), 14, memory_mb=1
    )
    assert many.cut
    assert len(many.value) < 30_000
