"""Explainers without a language model, on a model and a dictionary whose latents follow known rules."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from worlds import WORDS, word_tokenizer

from monosema.core import Site
from monosema.dictionaries import Codes, Metadata
from monosema.interpretation import ScoringConfig, ScoringSession
from monosema.interpretation.explainers.neuron2graph import Neuron2GraphConfig, Neuron2GraphExplainer, pattern_text
from monosema.interpretation.explainers.token_lookup import TokenLookupExplainer
from monosema.interpretation.probe import LatentProbe
from monosema.interpretation.rules import Pattern, Patterns, rule_from_json
from monosema.interpretation.samples import KINDS, Samples

SITE = Site.parse("0.resid_post")
VOCAB, WIDTH = 101, 14
A, B, C, D, E, F = range(1, 7)
RULES = {0: ("A or B", [{A, B}]), 1: ("C after D", [{C}, {D}]), 2: ("E two after F", [{E}, None, {F}])}


class Windows:
    """A model whose activation is the last three tokens, one after the other; the next token is any of the first
    twenty, those of one pair (1 and 2, 3 and 4, …) side by side."""

    name, vocab, device = "windows", VOCAB, torch.device("cpu")
    tokenizer = word_tokenizer()
    digest, d_model, n_layers, n_heads, context, dtype = "windows", 3 * VOCAB, 1, 1, WIDTH, torch.float32

    def _none(self, *values, **settings):
        raise NotImplementedError

    sites = site_width = capture = edit = attach = unembed = generate = stream = _none

    def activations(self, tokens, sites, mask=None):
        one = torch.nn.functional.one_hot(tokens, VOCAB).float()
        back = [torch.nn.functional.pad(one, (0, 0, n, 0))[:, : one.shape[1]] for n in range(3)]
        return {SITE: torch.cat(back, dim=2)}

    def __call__(self, tokens):
        logits = torch.zeros(*tokens.shape, VOCAB)
        logits[..., 1:21] = 20 - torch.arange(20.0)
        return logits


class Planted:
    """Latent i is 2 where rule i holds, and 0 elsewhere."""

    n_latents, d_in, d_out, metadata = len(RULES), 3 * VOCAB, 3 * VOCAB, Metadata()
    directions = torch.zeros(len(RULES), 3 * VOCAB)

    def to(self, device: object) -> object:
        return self

    def encode(self, x, matmul_dtype=None):
        steps = x.view(len(x), 3, VOCAB)
        dense = torch.full((len(x), self.n_latents), 2.0)
        for latent, (_, rule) in RULES.items():
            for back, allowed in enumerate(rule):
                if allowed is not None:
                    dense[:, latent] *= steps[:, back, sorted(allowed)].sum(dim=1)
        return Codes.from_dense(dense)

    def decode(self, codes):
        return codes.dense() @ self.directions

    def __call__(self, x):
        return self.decode(self.encode(x))


@pytest.fixture(scope="module")
def samples():
    """Each rule in 60 passages, and 90 passages in which its tokens stand in another order."""
    draw, rows = random.Random(0), []
    for latent, (_, rule) in RULES.items():
        for number in range(150):
            text = draw.choices(range(21, VOCAB), k=WIDTH)
            place = draw.randrange(4, WIDTH)
            for back, allowed in enumerate(rule):
                if allowed is not None and (number < 60 or len(rule) > 1):
                    text[place - back if number < 60 else back] = draw.choice(sorted(allowed))
            kind = ("top", "random", "q3")[number % 3] if number < 60 else "inactive"
            rows.append((latent, KINDS.index(kind), number % 2 == 0, text))
    ids = np.array([row[3] for row in rows], np.int32)
    codes = Planted().encode(Windows().activations(torch.tensor(ids).long(), [SITE])[SITE].flatten(0, 1)).dense()
    owner = np.array([row[0] for row in rows])
    activations = codes.view(len(rows), WIDTH, -1).numpy()[np.arange(len(rows)), :, owner]
    kind = np.array([row[1] for row in rows])
    assert ((activations > 0).any(axis=1) == (kind < KINDS.index("inactive"))).all()
    return Samples(
        ids=ids,
        hashes=np.arange(len(rows), dtype=np.uint64),
        latents=np.array(sorted(RULES)),
        maximum=np.full(len(RULES), 2.0, np.float32),
        first=np.searchsorted(owner, np.arange(len(RULES) + 1)),
        passage=np.arange(len(rows)),
        kind=kind,
        test=np.array([row[2] for row in rows]),
        activations=activations.astype(np.float32),
    )


@pytest.fixture(scope="module")
def probe():
    return LatentProbe(Windows(), Planted(), SITE)


@pytest.fixture(scope="module")
def graphs(samples, probe):
    return Neuron2GraphExplainer(probe, Windows.tokenizer, Neuron2GraphConfig(passages=8)).explain(samples)


def rule_of(explanation):
    return rule_from_json(explanation.program)


def test_neuron2graph_finds_the_rules(graphs):
    """Every path is the rule: no token too many, none too few."""
    for latent, (_, rule) in RULES.items():
        for one in rule_of(graphs[latent]).patterns:
            assert len(one.tokens) == len(rule)
            for at, allowed in zip(one.tokens, rule, strict=True):
                assert (at is None) == (allowed is None)
                assert at is None or set(at) <= allowed
            assert one.weight == pytest.approx(2.0)
    assert {token for one in rule_of(graphs[0]).patterns for token in one.tokens[0]} == {A, B}


def test_neuron2graph_reads_as_a_pattern(graphs):
    assert graphs[1].text == f"“{WORDS[C - 1]}” after “{WORDS[D - 1]}”"
    assert graphs[2].text == f"“{WORDS[E - 1]}” after “{WORDS[F - 1]}” …"
    assert graphs[0].text == f"“{WORDS[A - 1]}”, “{WORDS[B - 1]}”"


def test_context_is_worth_something(graphs, samples):
    """Neuron2Graph explains the latents that need context; a token lookup cannot."""
    lookups = TokenLookupExplainer(Windows.tokenizer).explain(samples)
    session, scorers = ScoringSession(samples), ScoringConfig().make()
    ours = {one.scorer: one for one in session.scores(graphs, scorers) if one.part != "detail"}
    theirs = {one.scorer: one for one in session.scores(lookups, scorers)}
    for name, one in ours.items():
        assert min(score.value for score in one.estimates.values()) >= 0.95, name
        assert one.above() == sorted(RULES)
    assert theirs["detection"].estimates[0].value >= 0.95
    assert max(theirs["detection"].estimates[latent].value for latent in (1, 2)) <= 0.6


def test_equal_texts_go_through_the_model_once():
    probe = LatentProbe(Windows(), Planted(), SITE)
    texts = np.array([[A], [B], [A], [C]] * 5)
    found = probe.last(texts, np.zeros(20, np.int64))
    assert found.tolist() == [2.0, 2.0, 2.0, 0.0] * 5
    assert probe.tokens == 3
    assert probe.proposals(np.array([[A, B]]), 2).tolist() == [[[-1, -1], [1, 2]]]


def test_lookup_says_what_carries_the_mass(samples):
    shares = {1: [(" by", 0.6), (" hand", 0.2), (" rare", 0.01)]}
    made = TokenLookupExplainer(Windows.tokenizer, shares=shares).explain(samples)
    assert rule_of(made[0]).weights == {A: 2.0, B: 2.0}
    assert set(made[0].text) >= set(WORDS[A - 1])
    assert "%" in made[0].text
    assert made[1].text == "“by” (60 %), “hand”"


def test_patterns_with_one_context_are_shown_together():
    paths = [((C,), (D,)), ((E,), (D,)), ((A,),), ((B,), None, (F,))]
    text = pattern_text([Pattern(path, 1.0) for path in paths], Windows.tokenizer.tokens, 2)
    assert text == f"“{WORDS[C - 1]}”, “{WORDS[E - 1]}” after “{WORDS[D - 1]}”; “{WORDS[A - 1]}”; and 1 more"
    assert isinstance(Patterns(()).to_json(), str)


def test_a_blank_token_is_shown_as_a_sign():
    from monosema.models import random_model

    tokenizer = random_model().tokenizer
    assert pattern_text([Pattern(((tokenizer.id(" "),),), 1.0)], tokenizer.tokens, 2) == "“␣”"


def test_a_context_is_read_as_people_read_it():
    names = ["<0xED>", "<0x95>", "<0x9C>", " New", " Los", " York", "k"]

    def tokens(ids):
        return [names[one] for one in ids]

    def text(*path):
        return pattern_text([Pattern(path, 1.0)], tokens)

    assert text((2,), (1,), (0,)) == "“한”"
    assert text((2,), (1,), (0,), (3,)) == "“한” after “New”"
    assert text((2,), (4,)) == "byte 9C after “Los”"
    assert text((4,), (1,)) == "“Los” after byte 95"
    assert text((5,), (3, 4)) == "“York” after “New” or “Los”"
    assert text((5,), None, (3,), (6,)) == "“York” after “-k New” …"


def test_a_model_without_logits_proposes_nothing():
    encoder = Windows()
    encoder.gives_logits = False
    assert (LatentProbe(encoder, Planted(), SITE).proposals(np.zeros((2, 5), np.int64), 3) == -1).all()
