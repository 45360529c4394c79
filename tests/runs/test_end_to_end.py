"""End-to-end training from a recipe, on a tiny model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monosema.core import ConfigError, UnsupportedModelError
from monosema.dictionaries import load_dictionary
from monosema.recipes import demo
from monosema.runs import SHORT_KEYS, override, parse_sweep, run, sweep_vectors
from monosema.runs.sweeps import choices
from monosema.runs.vectors import VECTOR_KEYS, VectorRecipe, train_vectors
from monosema.training import Trainer

FEW = {"tokens": "4000", "passes": "1", "checkpoint_steps": "2", "evaluation_tokens": "500"}
END_TO_END = {"objective": "end-to-end", "downstream": "0.5"}


def test_a_run_goes_on_after_a_stop_and_says_what_it_learnt_from(
    small_keys: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = override(demo(), {**small_keys, **END_TO_END, "site": "0.resid_post", **FEW}, SHORT_KEYS)
    step = Trainer.step

    def stop(self: Trainer, batch: object) -> object:
        if self.step_number == 3:
            raise KeyboardInterrupt
        return step(self, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "step", stop)
        run(recipe, tmp_path / "stopped", until="train")
    done = run(recipe, tmp_path / "stopped", until="evaluate")
    whole = run(recipe, tmp_path / "whole", until="train")
    folder = Path("dictionaries") / recipe.dictionary_name
    weights = [(one.folder / folder / "sae_weights.safetensors").read_bytes() for one in (done, whole)]
    assert weights[0] == weights[1]
    assert not list(done.folder.rglob("windows.npy"))
    assert done.dictionary().metadata.extra["objective"] == "end-to-end"
    assert set(done.summary()["training"]["terms"]) >= {"kl", "downstream"}
    assert done.evaluation().dictionary.metrics["kl"].value > 0
    assert load_dictionary(done.folder / folder).n_latents == 64


def test_a_model_without_logits_is_refused_before_the_first_stage(small_keys: dict[str, str], tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    from monosema.models import byte_tokenizer

    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=259, **shape)).save_pretrained(tmp_path / "bert")
    byte_tokenizer().raw.save(str(tmp_path / "bert" / "tokenizer.json"))
    keys = small_keys | END_TO_END | {"model": str(tmp_path / "bert"), "site": "encoder.layer.1", "downstream": "0"}
    with pytest.raises(UnsupportedModelError, match="hidden states and no logits"):
        run(override(demo(), keys, SHORT_KEYS), tmp_path / "run", until="train")
    assert not (tmp_path / "run" / "activations").exists()


def test_without_a_model_at_hand_it_is_refused(small_keys: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).standard_normal((200, 8)).astype("float32"))
    recipe = override(VectorRecipe(batch=50), {"objective": "end-to-end"}, VECTOR_KEYS)
    with pytest.raises(ConfigError, match="runs the model itself"):
        train_vectors(path, tmp_path / "out", recipe)
    with pytest.raises(ConfigError, match="runs the model itself"):
        sweep_vectors(path, tmp_path / "out", recipe, parse_sweep(["k=2,4"]))
    of_run = override(demo(), small_keys, SHORT_KEYS)
    with pytest.raises(ConfigError, match=r"can't vary training\.objective"):
        choices(of_run, parse_sweep(["objective=reconstruction,end-to-end"]), SHORT_KEYS)
