"""Choices of a latent beside baselines: the planted latent wins, and the sentences are those of the numbers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from monosema.core import ConfigError, Estimate, InputError, Site
from monosema.dictionaries import SparseCoder
from monosema.models import Transformer
from monosema.steering import (
    BASELINES,
    Baseline,
    Comparison,
    ComparisonConfig,
    Concept,
    SweepConfig,
    compare_choices,
    comparison_steps,
    probe_direction,
    register_baseline,
)
from monosema.steering.comparison import Entry
from monosema.steering.sweep import Sample, SweepPoint

CONFIG = ComparisonConfig(kl=(0.8,), sweep=SweepConfig(max_new_tokens=12, seeds=(0, 1, 2)))


@pytest.fixture(scope="module")
def compared(byte_model: Transformer, planted: SparseCoder, letter: Concept) -> Comparison:
    return compare_choices(byte_model, planted, letter, CONFIG)


def test_every_method_stands_at_every_divergence_that_it_reaches(compared: Comparison) -> None:
    expected = {"input", "output", "confidence", "effect", "mean difference", "probe", "random latent"}
    for kl in CONFIG.kl:
        assert expected <= {entry.method for entry in compared.entries if entry.kl == kl}
    words = compared.at("prompt", None)
    assert words is not None
    assert words.point.figures["kl"].value > 0
    assert compared.prompts == 4


def test_what_writes_the_concept_is_the_best_latent(compared: Comparison) -> None:
    best = compared.best("latent")
    assert best is not None
    assert best.about == "latent 9"
    assert best.point.figures["effect_gain"].value > 0.3
    assert compared.sentences[0].startswith("At 0.8 nats a token the best choice of a latent, by ")
    assert all(name in " ".join(compared.sentences) for name in BASELINES)


def test_it_is_plain_values_and_a_table(compared: Comparison) -> None:
    values = json.loads(json.dumps(compared.to_dict()))
    assert values["sentences"] == compared.sentences
    assert {entry["method"] for entry in values["entries"]} >= {"prompt", "effect"}
    table = compared.markdown().splitlines()
    assert sum(line.startswith("| ") for line in table) == len(compared.entries) + 3


def test_a_probe_points_where_the_texts_part(byte_model: Transformer, letter: Concept) -> None:
    direction = probe_direction(byte_model, "1.resid_post", letter.positive, letter.negative)
    means = [byte_model.activations(text, ["1.resid_post"])["1.resid_post"][0, 1:].mean(0) for text in ("zzz", "yyy")]
    assert direction.vector @ means[0] > direction.vector @ means[1]
    with pytest.raises(InputError, match="probe needs texts"):
        probe_direction(byte_model, "1.resid_post", [], ["a"])


def test_a_baseline_of_ones_own_is_a_line(byte_model: Transformer, planted: SparseCoder, letter: Concept) -> None:
    register_baseline(Baseline("none", "nothing at all", lambda evidence, seed: [None]))
    try:
        config = CONFIG.replace(choices=("output",), baselines=("none",), kl=(0.5,))
        found = compare_choices(byte_model, planted, letter, config)
        assert [(entry.method, entry.kl) for entry in found.entries] == [("output", 0.5), ("none", None)]
        with pytest.raises(ConfigError, match="already"):
            register_baseline(BASELINES["none"])
    finally:
        del BASELINES["none"]


def test_what_can_not_be_compared_is_an_error_or_absent(
    byte_model: Transformer, planted: SparseCoder, letter: Concept
) -> None:
    for config in (CONFIG.replace(choices=("outpt",)), CONFIG.replace(baselines=("outpt",))):
        with pytest.raises(InputError, match="'outpt'"):
            compare_choices(byte_model, planted, letter, config)
    with pytest.raises(InputError, match="two beginnings"):
        compare_choices(byte_model, planted, replace(letter, prompts=("a",)), CONFIG)
    far = compare_choices(byte_model, planted, letter, CONFIG.replace(choices=("output",), baselines=(), kl=(1e6,)))
    assert far.entries == ()
    assert far.absent == {"output at 1e+06": "no strength moves predictions by 1e+06 nats"}
    assert far.sentences[0].startswith("No latent")


def test_to_close_it_is_to_cancel_it(byte_model: Transformer, planted: SparseCoder, letter: Concept) -> None:
    steps = comparison_steps(byte_model, planted, letter, CONFIG.replace(choices=("input",), baselines=()))
    assert next(steps).total > 0
    steps.close()
    assert len(byte_model.hooks) == 0


def test_sentences_say_what_is_lost() -> None:
    def line(method: str, kind: str, kl: float | None, effects: list[float], lost: float = 0.0) -> Entry:
        samples = tuple(Sample(prompt, 0, "", 1, "length", effect) for prompt, effect in enumerate(effects))
        gain, price = (Estimate(value, value, value, 4) for value in (sum(effects) / 4, lost))
        return Entry(
            method, kind, "x", kl, SweepPoint(method, None, {"effect_gain": gain, "skills_lost": price}, samples)
        )

    entries = (
        line("output", "latent", 1.0, [0.4, 0.4, 0.4, 0.4], 0.3),
        line("output", "latent", 0.5, [0.35, 0.35, 0.35, 0.35], 0.1),
        line("input", "latent", 1.0, [0.1, 0.1, 0.1, 0.1]),
        line("prompt", "baseline", None, [0.8, 0.8, 0.8, 0.8]),
        line("random direction", "baseline", 1.0, [0.0, 0.0, 0.0, 0.0]),
        line("probe", "baseline", 1.0, [0.0, 0.8, 0.0, 0.8]),
    )
    base = SweepPoint("unsteered", None, {}, ())
    found = Comparison("c", "m", Site(0, "resid_post"), False, Estimate(1.0, 1.0, 1.0, 4), base, entries, {}, 4, 1.0)
    said = "\n".join(found.sentences)
    assert "The latent loses to prompt at its own KL (+0.80 [+0.80, +0.80])." in said
    assert "The latent does more than random direction (+0.00 [+0.00, +0.00])." in said
    assert "4 prompts can't tell it from probe" in said
    assert "It gains 4.0 times what the latent with the best input score gains." in said
    assert "At 0.5 nats a token, where it has 80% of that or more, 10.0 [10.0, 10.0] points" in said
