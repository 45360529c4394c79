"""What latents do to predictions: against passes written out by hand, kept with the run, and beside others."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from monosema.atlas import Atlas, open_atlas
from monosema.core import InputError, UnsupportedModelError
from monosema.interpretation.ablating import LatentAblation
from monosema.interpretation.causes import CauseFinder, all_kept_causes, drawn_beside, kept_causes
from monosema.models import LanguageModel, load_model
from monosema.runs import Run
from monosema.steering import Clamp, Edit, Latent, Steering, steered


@pytest.fixture(scope="module")
def model(finished: Run) -> LanguageModel:
    return load_model(finished.recipe.model.name, dtype="float32")


@pytest.fixture
def atlas(finished: Run, tmp_path: Path) -> Atlas:
    """An atlas that may be written to."""
    source = finished.atlas().path
    return open_atlas(shutil.copytree(source, tmp_path / "atlas", ignore=shutil.ignore_patterns("causes")))


def most_active(atlas: Atlas) -> int:
    return int(atlas.features(sort="n_active", limit=1)[0]["latent"])


def test_taking_a_latent_out_is_what_steering_it_to_zero_does(finished: Run, model: LanguageModel) -> None:
    latent, dictionary = most_active(finished.atlas()), finished.dictionary()
    passage = finished.atlas().feature(latent).top[0].token_ids
    found = LatentAblation(model, dictionary, finished.atlas().site).of(latent, [passage])
    assert found is not None
    tokens = torch.tensor([[model.tokenizer.bos_id, *passage]])
    with torch.inference_mode():
        before = model(tokens)[0].log_softmax(-1)
        with steered(model, Steering(Edit(Latent(dictionary, latent), Clamp(0.0, 0.0)))):
            after = model(tokens)[0].log_softmax(-1)
        rows = model.activations(tokens, [finished.atlas().site])[finished.atlas().site][0]
        fires = dictionary.encode(rows).dense()[:, latent].clone() != 0
    fires = fires & (torch.arange(len(fires)) > 0)
    at = fires.nonzero()[:, 0].tolist()
    assert (found.tokens, found.passages) == (len(at), 1)
    kl = sum(float((before[i].exp() * (before[i] - after[i])).sum()) for i in at) / len(at)
    assert found.figures["kl"].value == pytest.approx(kl, abs=1e-6)
    losses = [float(before[i, tokens[0, i + 1]] - after[i, tokens[0, i + 1]]) for i in at if i + 1 < tokens.shape[1]]
    assert found.figures["loss"].value == pytest.approx(sum(losses) / len(losses), abs=1e-6)
    change = (before[at].exp() - after[at].exp()).mean(0)
    assert found.raised[0] == (int(change.argmax()), pytest.approx(float(change.max()), abs=1e-6))
    assert found.lowered[0] == (int(change.argmin()), pytest.approx(float(change.min()), abs=1e-6))
    assert found.figures["random_kl"].value != found.figures["kl"].value


def test_passages_of_unlike_length_are_read_as_each_alone(finished: Run, model: LanguageModel) -> None:
    atlas = finished.atlas()
    latent = most_active(atlas)
    passages = [one.token_ids for one in atlas.feature(latent).top[:3]]
    passages[1] = passages[1][: len(passages[1]) - 3]
    ablation = LatentAblation(model, finished.dictionary(), atlas.site)
    whole = ablation.of(latent, passages)
    alone = [one for passage in passages if (one := ablation.of(latent, [passage])) is not None]
    assert whole is not None
    assert whole.tokens == sum(one.tokens for one in alone)
    kl = sum(one.figures["kl"].value * one.tokens for one in alone) / whole.tokens
    assert whole.figures["kl"].value == pytest.approx(kl, abs=1e-5)


def test_output_score_and_confidence_are_those_of_one_amplified_pass(
    finished: Run, model: LanguageModel, atlas: Atlas
) -> None:
    latent, dictionary, site = most_active(atlas), finished.dictionary(), atlas.site
    own = CauseFinder(atlas, model, dictionary).of(latent)
    tokens = torch.tensor([model.tokenizer.encode("From my experience,")])
    with torch.inference_mode():
        largest = dictionary.encode(model.activations(tokens, [site])[site][0, -1:]).dense().max()

        def push(x: torch.Tensor) -> torch.Tensor:
            x = x.clone()
            x[:, -1] += 10 * largest * dictionary.directions[latent]
            return x

        before = model(tokens)[0, -1].log_softmax(-1)
        with model.edit(site, push):
            after = model(tokens)[0, -1].log_softmax(-1)
    promoted = [one.id for one in atlas.feature(latent).promoted]
    best = after[promoted].max()
    score = (1 - int((after > best).sum()) / len(after)) * float(best.exp())
    assert own.figures["output"].value == pytest.approx(score, abs=1e-6)
    assert own.figures["confidence"].value == pytest.approx(abs(float(before.max() - after.max())), abs=1e-5)
    top = {one.passage_hash: one for one in atlas.feature(latent).top}
    share = [one.token_ids[one.peak] in promoted for one in list(top.values())[:12]]
    assert own.figures["input"].value == sum(share) / len(share)


def test_what_was_measured_is_kept_as_long_as_it_is_of_the_same_atlas(
    finished: Run, model: LanguageModel, atlas: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    latent = most_active(atlas)
    assert kept_causes(atlas, latent) is None
    finder = CauseFinder(atlas, model, finished.dictionary())
    *steps, judged = finder.steps(latent)
    assert steps == [(n, 9) for n in range(1, 10)]
    monkeypatch.setattr(LatentAblation, "of", lambda *_: pytest.fail("measured again"))
    assert finder.judged(latent) == judged == kept_causes(atlas, latent)
    of_all = all_kept_causes(atlas)
    assert judged in of_all
    assert latent not in drawn_beside(atlas, latent)
    file = atlas.path / "causes" / f"{latent}.json"
    file.write_text(file.read_text()[:40])
    assert kept_causes(atlas, latent) is None
    other = open_atlas(atlas.path)
    other.meta["tables"]["examples"]["sha256"] = "another text"
    assert all_kept_causes(other) == []


def test_another_models_figures_are_not_kept(finished: Run, model: LanguageModel, atlas: Atlas) -> None:
    CauseFinder(atlas, model, finished.dictionary(), keep=False).of(most_active(atlas))
    assert not (atlas.path / "causes").exists()


def test_a_latent_without_passages_says_why_it_has_no_figures(
    finished: Run, model: LanguageModel, atlas: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    latent = most_active(atlas)
    dead = replace(atlas.feature(latent), examples=())
    monkeypatch.setattr(Atlas, "feature", lambda *_: dead)
    own = CauseFinder(atlas, model, finished.dictionary()).of(latent)
    assert own.absent["loss"] == "the atlas has no passage on which it fires"
    assert own.tokens == 0
    assert json.loads(json.dumps(own.to_dict()))["figures"].keys() == {"output", "confidence"}


def test_a_feature_that_there_is_not_is_named(finished: Run, model: LanguageModel, atlas: Atlas) -> None:
    with pytest.raises(InputError, match="100000"):
        CauseFinder(atlas, model, finished.dictionary()).of(100_000)


def test_a_model_without_predictions_is_refused(atlas: Atlas, finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise UnsupportedModelError("it predicts no tokens")

    monkeypatch.setattr("monosema.interpretation.causes.require_logits", refuse)
    with pytest.raises(UnsupportedModelError):
        CauseFinder(atlas, object(), finished.dictionary())  # type: ignore[arg-type]
