"""The training loop: a batch depends on (seed, step) alone, phases follow measures, a resumed run is the same run."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

import monosema
from monosema.core.errors import ConfigError, InputError
from specimen import training
from specimen.main import main
from specimen.phases import PHASES, Phase, phases_named
from specimen.text import SOURCES, SPECIAL, VOCABULARY, Corpus, Mix, batch, required_words
from specimen.training import Settings, model_config, train

SHIPPED = Path(monosema.__file__).parent / "models" / "specimen"
MIX = Mix(repeats=0.3, uniform=0.5, periods=(3, 6), skills={"ioi": 0.2, "brackets": 0.2})


@pytest.fixture(scope="module")
def corpus():
    rng = np.random.default_rng(0)
    names = (*SOURCES, "books_validation", "code_validation")
    sources = {name: rng.integers(3, VOCABULARY, size=3000).astype(np.uint16) for name in names}
    frequencies = np.full(VOCABULARY, 1 / (VOCABULARY - len(SPECIAL)))
    frequencies[: len(SPECIAL)] = 0
    tokenizer = Tokenizer.from_file(str(SHIPPED / "tokenizer.json"))
    return Corpus(tokenizer=tokenizer, sources=sources, frequencies=frequencies)


def test_batches_depend_on_seed_and_step_alone(corpus):
    first = batch(corpus, MIX, 6, 32, seed=1, step=4)
    assert first.shape == (6, 33)
    assert (first[:, 0] == corpus.bos).all()
    np.testing.assert_array_equal(first, batch(corpus, MIX, 6, 32, seed=1, step=4))
    assert (first != batch(corpus, MIX, 6, 32, seed=1, step=5)).any()


def test_every_required_word_is_one_token(corpus):
    for word in required_words():
        assert len(corpus.tokenizer.encode(word, add_special_tokens=False).ids) == 1, word


def test_years_split_into_pairs_of_digits(corpus):
    assert corpus.tokenizer.encode(" 1732", add_special_tokens=False).tokens == ["Ġ17", "32"]


def test_text_survives_the_tokenizer(corpus):
    text = "Then, Mary\n\n\tsaid: “naïve” 日本 x_1 = {'a': [1732, 5]}  # so"
    assert corpus.tokenizer.decode(corpus.tokenizer.encode(text).ids) == text


def test_a_phase_ends_by_its_measure_or_its_greatest_steps():
    phase = Phase(name="x", shapes=((1, 8),), mix=MIX, steps=(10, 20), until=(("loss", 1.0, "below"),), measure_every=5)
    assert not phase.done(5, {"loss": 0.1})
    assert phase.done(10, {"loss": 0.1})
    assert not phase.done(15, {"loss": 2.0})
    assert phase.done(20, {"loss": 2.0})
    assert not PHASES[-1].done(10**9, {})


def test_a_run_can_leave_phases_out():
    assert phases_named(None) == PHASES
    assert [phase.name for phase in phases_named(["text and skills", "induction"])] == ["induction", "text and skills"]
    with pytest.raises(ConfigError, match=r"no phase facts2; there are: induction, skills"):
        phases_named(["facts2"])


def test_learning_rate_warms_up_stays_and_falls():
    settings = Settings(tokens=1000)
    assert settings.rate(0, 0) == pytest.approx(settings.learning_rate / settings.warmup)
    assert settings.rate(500, 400) == settings.learning_rate
    assert settings.rate(500, 1000) == pytest.approx(settings.learning_rate * settings.final_share)


def test_settings_and_mixes_are_validated():
    with pytest.raises(ConfigError, match="tokens"):
        Settings(tokens=0)
    with pytest.raises(ConfigError, match="shares"):
        Mix(repeats=0.9, uniform=0.0, periods=(1, 2), skills={"ioi": 0.2})


def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(corpus, tmp_path, monkeypatch):
    phases = (
        Phase(name="a", shapes=((2, 16),), mix=MIX, steps=(2, 2), until=(("loss", 0.0, "below"),), measure_every=2),
        Phase(name="b", shapes=((2, 16), (1, 24)), mix=MIX, steps=(0, 0), until=(), measure_every=2),
    )
    small = model_config(corpus)
    small.update({"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 4})
    monkeypatch.setattr(training, "model_config", lambda _: small)
    monkeypatch.setattr(training, "measure", lambda *_: {"loss": 1.0})
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    for folder in (whole, halves):
        folder.mkdir()
    settings = Settings(tokens=10_000, phases=phases)
    train(corpus, whole, settings, compiled=False, stop_after=5)
    train(corpus, halves, settings, compiled=False, stop_after=3)
    state = train(corpus, halves, settings, compiled=False, stop_after=2)
    assert state.step == 5
    assert state.phase == 1
    assert state.history == [{"phase": "a", "steps": 2, "end": 64, **phases[0].record()}]
    one, other = (torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (whole, halves))
    for name, value in one["model"].items():
        assert torch.equal(value, other["model"][name]), name
    assert len((halves / "metrics.jsonl").read_text().splitlines()) == 2
    assert json.loads((halves / "metrics.jsonl").read_text().splitlines()[0])["phase"] == "a"


def test_a_run_can_begin_with_exported_weights(corpus, tmp_path):
    run = training.Run(corpus, tmp_path, Settings(), start=SHIPPED)
    shipped = LlamaForCausalLM.from_pretrained(SHIPPED, dtype=torch.float32).state_dict()
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, shipped[name]), name
    assert run.state.earlier["tokens"] == run.state.tokens > 10_000_000
    assert run.phase.name == "text and skills"
    with pytest.raises(InputError, match=r"no exported weights"):
        training.Run(corpus, tmp_path, Settings(), start=tmp_path)


def test_the_command_line_says_what_is_missing(capsys, tmp_path):
    assert main(["--corpus", str(tmp_path)]) == InputError.exit_code
    assert "--out is missing" in capsys.readouterr().err


def test_skill_rows_come_from_the_training_split(corpus):
    rows = batch(corpus, Mix(repeats=0.0, uniform=0.0, periods=(1, 2), skills={"ioi": 1.0}), 4, 64, seed=0, step=0)
    text = corpus.tokenizer.decode(rows[0].tolist())
    assert any(f" {name}" in text for name in random.Random(0).sample(_names(), 149))


def _names():
    from monosema.data.tasks.names import NAMES

    return list(NAMES)
