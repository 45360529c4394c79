from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from monosema.core import InputError, SiteError, UnsupportedModelError
from monosema.data import TextConfig
from monosema.items import ItemBatches, ItemModel, is_vectors
from monosema.models import LanguageModel


@pytest.fixture
def model(tmp_path: Path) -> ItemModel:
    np.save(tmp_path / "v.npy", np.arange(400, dtype=np.float32).reshape(200, 2))
    (tmp_path / "n.txt").write_text("\n".join(f"item {row}" for row in range(200)))
    return ItemModel.open(tmp_path / "v.npy", tmp_path / "n.txt", None, torch.device("cpu"))


def test_it_is_a_language_model_whose_tokens_are_items(model: ItemModel) -> None:
    assert isinstance(model, LanguageModel)
    assert model.tokenizer.encode("item 17", bos=False) == [17]
    assert model.tokenizer.tokens([3, 199]) == ["item 3", "item 199"]


def test_activations_are_the_rows_of_the_items_in_any_order(model: ItemModel) -> None:
    (rows,) = model.activations(torch.tensor([[7], [3], [7]]), ["vectors"]).values()
    assert rows.tolist() == [[[14, 15]], [[6, 7]], [[14, 15]]]


def test_what_needs_a_language_model_is_refused(model: ItemModel) -> None:
    with pytest.raises(UnsupportedModelError, match="no language model"):
        model(torch.zeros(1, 1))
    with pytest.raises(SiteError, match="only site is 'vectors'"):
        model.activations(torch.zeros(1, 1), ["3.resid_post"])


def test_each_item_is_in_one_split_and_a_tenth_is_held_out(model: ItemModel) -> None:
    rows = {
        split: [
            row
            for batch in ItemBatches(model.items, TextConfig(split=split, heldout_share=0.1))
            for row in batch.tokens[:, 0].tolist()
        ]
        for split in ("train", "heldout", "all")
    }
    assert sorted(rows["train"] + rows["heldout"]) == rows["all"] == list(range(200))
    assert 8 <= len(rows["heldout"]) <= 35


def test_fewer_items_are_drawn_from_all_over_the_file(model: ItemModel) -> None:
    (batch,) = ItemBatches(model.items, TextConfig(split="all", tokens=20))
    assert len(batch.tokens) == 20
    assert batch.tokens.max() > 100


def test_vectors_are_told_from_models(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    assert is_vectors(tmp_path)
    (tmp_path / "config.json").touch()
    assert not is_vectors(tmp_path)
    assert not is_vectors("specimen")


def test_a_name_that_no_item_has_is_an_error_with_those_like_it(model: ItemModel) -> None:
    with pytest.raises(InputError, match=r"No item is called '19'\. There are: 'item 19', 'item 119'"):
        model.tokenizer.encode("19")


def test_a_name_that_several_items_have_is_an_error_with_all_of_them(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.ones((4, 2), np.float32))
    (tmp_path / "n.txt").write_text("bus 3\nbus 13\nbus 31\nbus 3")
    model = ItemModel.open(tmp_path / "v.npy", tmp_path / "n.txt", None, torch.device("cpu"))
    with pytest.raises(InputError, match=r"2 items are called 'bus 3'.* 'bus 3 \(row 0\)', 'bus 3 \(row 3\)'\.$"):
        model.tokenizer.encode("bus 3")
    assert model.tokenizer.encode("bus 3 (row 3)") == [3]
