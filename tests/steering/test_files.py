"""Files of steerings are read as they were written; those of other programs hold what they can, or say why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from torch import Tensor

from monosema.core import ConfigError, FormatError, InputError, Site
from monosema.dictionaries import Metadata, make_coder
from monosema.models import random_model
from monosema.steering import (
    Add,
    Clamp,
    Direction,
    Edit,
    Head,
    Latent,
    Resolver,
    Scale,
    Steering,
    Where,
    files,
    read_directions,
    read_steering,
    register_steering_format,
    steered,
    write_steering,
)

SITE = Site.parse("1.resid_post")
CODER = make_coder("jumprelu", 32, 64, metadata=Metadata(site=SITE))
EVERY = Where(special=True, template=True)


def vector(seed: int) -> Tensor:
    return torch.randn(32, generator=torch.Generator().manual_seed(seed))


ALL_KINDS = Steering(
    [
        Edit(Latent(CODER, 5, SITE, 3.0), Add(2.0), Where(prompt="last", generated=(2, None)), "max"),
        Edit(Latent(CODER, 6, SITE, 3.0), Clamp(high=1.5, only_active=True)),
        Edit(Direction(SITE, vector(1), "happy", 4.0), Add(0.1), Where(prompt=None, special=True), "norm"),
        Edit(Head(0, 2, torch.arange(1.0, 9.0), "true"), Scale(0.5), Where(prompt=(0, -3), generated=None)),
    ],
    strength=0.75,
)
CONSTANT = Steering(
    [
        Edit(Direction(SITE, vector(1), "happy"), Add(2.0), EVERY),
        Edit(Latent(CODER, 5, SITE, 3.0), Add(-1.0), EVERY, "max"),
    ],
    strength=0.5,
)
TOTAL = 0.5 * (2 * vector(1) - 3 * CODER.directions[5])


@pytest.mark.parametrize("suffix", [".toml", ".json", ".safetensors"])
def test_our_own_files_hold_every_steering(tmp_path: Path, suffix: str) -> None:
    path = write_steering(tmp_path / f"mine{suffix}", ALL_KINDS)
    again = read_steering(path, Resolver({SITE: CODER}))
    assert again.to_dict(whole=True) == ALL_KINDS.to_dict(whole=True)
    with pytest.raises(ConfigError, match="which dictionary"):
        read_steering(path)


def test_a_control_vector_is_llama_cpps_and_repengs_file(tmp_path: Path) -> None:
    model = random_model()
    path = write_steering(tmp_path / "one.gguf", CONSTANT, model)
    # As repeng and llama.cpp look at it, through the library of the format.
    reader = gguf.GGUFReader(path)
    text = {
        key: bytes(reader.fields[key].parts[-1]).decode()
        for key in ("general.architecture", "controlvector.model_hint")
    }
    assert text == {"general.architecture": "controlvector", "controlvector.model_hint": "llama"}
    assert int(reader.fields["controlvector.layer_count"].parts[-1][0]) == 1
    (tensor,) = reader.tensors
    assert tensor.name == "direction.1"
    assert tensor.data.dtype == np.float32
    torch.testing.assert_close(torch.from_numpy(np.array(tensor.data)), TOTAL, rtol=1e-6, atol=1e-6)
    again = read_steering(path)
    (edit,) = again.edits
    assert (edit.coordinate.site, edit.move, edit.where) == (SITE, Add(1.0), EVERY)
    tokens = torch.tensor([[256, 1, 2, 3]])
    outcome = []
    for steering in (CONSTANT, again):
        with steered(model, steering):
            outcome.append(model(tokens))
    torch.testing.assert_close(*outcome, rtol=1e-5, atol=1e-5)


def test_a_foreign_control_vector_has_a_direction_a_layer(tmp_path: Path) -> None:
    path = tmp_path / "theirs.gguf"
    writer = gguf.GGUFWriter(path, "controlvector")
    writer.add_string("controlvector.model_hint", "mistral")
    writer.add_uint32("controlvector.layer_count", 2)
    for layer in (12, 3):
        writer.add_tensor(f"direction.{layer}", vector(layer).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    directions = read_directions(path)
    assert [one.site.short for one in directions] == ["3.resid_post", "12.resid_post"]
    assert torch.equal(directions[0].vector, vector(3))
    assert Resolver().direction(str(path), Site.parse("12.resid_post")).name == "theirs"


def test_a_file_of_lm_evaluation_harness_does_there_what_it_does_here(tmp_path: Path) -> None:
    clamp = Edit(Direction("0.resid_post", vector(2), "calm"), Clamp(1.5, 1.5), EVERY)
    steering = Steering([*(edit for edit in CONSTANT.edits), clamp])
    path = write_steering(tmp_path / "one.pt", steering)
    held: dict[str, Any] = torch.load(path, weights_only=True)
    assert set(held) == {"layers.1", "layers.0"}
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(9))
    # The harness' two actions, from the words of its documentation.
    there: dict[str, Callable[[Tensor], Tensor]] = {}
    for hookpoint, entry in held.items():
        v, s = entry["steering_vector"], entry["steering_coefficient"]
        unit = v / v.norm()
        assert entry["bias"] is None
        there[hookpoint] = (
            (lambda x, v=v, s=s: x + s * v)
            if entry["action"] == "add"
            else (lambda x, unit=unit, s=s: x + (s - x @ unit)[..., None] * unit)
        )
    torch.testing.assert_close(there["layers.1"](x), x + 2 * TOTAL, rtol=1e-5, atol=1e-5)
    d = vector(2)
    torch.testing.assert_close((there["layers.0"](x) @ d) / (d @ d), torch.full((2, 5), 1.5))
    again = read_steering(path)
    assert sorted(edit.coordinate.site.short for edit in again.edits) == ["0.resid_post", "1.resid_post"]
    moves = {edit.coordinate.site.short: edit.move for edit in again.edits}
    assert moves["1.resid_post"] == Add(1.0)
    assert isinstance(moves["0.resid_post"], Clamp)
    assert moves["0.resid_post"].low == pytest.approx(1.5)


def test_a_table_of_lm_evaluation_harness_names_latents(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text(
        "loader,action,sparse_model,hookpoint,feature_index,steering_coefficient,head_index,sae_id,description\n"
        "sparsify,add,some/model,layers.1,5,10.0,,,\n"
        "sparsify,clamp,some/model,layers.1,6,2.0,,,\n"
    )
    add, clamp = read_steering(path, Resolver({SITE: CODER})).edits
    assert add.move == Add(10.0)
    direction = add.coordinate
    assert isinstance(direction, Direction)
    assert torch.equal(direction.vector, CODER.directions[5])
    x, d = torch.randn(32), CODER.directions[6]
    assert isinstance(clamp.move, Clamp)
    moved = x + (clamp.move.low - (x @ d) / (d @ d)) * d
    assert float((moved - CODER.b_dec.detach()) @ d / d.norm()) == pytest.approx(2.0, abs=1e-4)


@pytest.mark.parametrize("suffix", [".gguf", ".pt"])
@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (Edit(Direction(SITE, vector(1)), Scale(2.0), EVERY), "constant additions"),
        (Edit(Direction(SITE, vector(1)), Add(2.0)), r"--steer direction=\+2@special,template"),
        (Edit(Direction(SITE, vector(1)), Add(2.0), EVERY, "norm"), "share of the norm"),
        (Edit(Direction("1.resid_mid", vector(1)), Add(2.0), EVERY), "1.resid_mid"),
        (Edit(Latent(CODER, 5), Clamp(1.0, 1.0), EVERY), "constant additions|can't hold 5=1raw@special,template"),
    ],
)
def test_what_others_files_can_not_hold_is_an_error(tmp_path: Path, suffix: str, edit: Edit, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        write_steering(tmp_path / f"one{suffix}", Steering(edit))
    assert not list(tmp_path.iterdir())


def test_block_0_is_out_of_llama_cpps_reach(tmp_path: Path) -> None:
    first = Steering(Edit(Direction("0.resid_post", vector(1)), Add(1.0))).everywhere()
    with pytest.raises(ConfigError, match="blocks 1 and later"):
        write_steering(tmp_path / "one.gguf", first)
    write_steering(tmp_path / "one.pt", first)


def test_vectors_of_other_origin_are_directions(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    np.save(tmp_path / "one.npy", vector(1).numpy())
    (one,) = read_directions(tmp_path / "one.npy", SITE)
    assert torch.equal(one.vector, vector(1))
    with pytest.raises(FormatError, match="name the site"):
        read_directions(tmp_path / "one.npy")
    save_file({"3.resid_post": vector(3)}, tmp_path / "many.safetensors")
    (three,) = read_directions(tmp_path / "many.safetensors")
    assert three.site.short == "3.resid_post"
    for name, content in (("bad.gguf", b"GGUF"), ("bad.safetensors", b"x"), ("bad.pt", b"x"), ("bad.toml", b"=")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Exception, match="bad") as caught:
            read_steering(tmp_path / name)
        assert type(caught.value).__module__.startswith("monosema"), name


def test_the_list_of_formats_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine:
        def read(self, path: Path, resolve: object, site: Site | None) -> Steering:
            return CONSTANT

        def write(self, path: Path, steering: Steering, model: object) -> None:
            path.write_text("mine")

    with pytest.raises(FormatError, match=r"\.toml"):
        read_steering(__file__)
    monkeypatch.setattr(files, "FORMATS", dict(files.FORMATS))
    register_steering_format(".mine", Mine())
    assert read_steering(write_steering(tmp_path / "one.mine", CONSTANT)) is CONSTANT


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "a,b\n", "no column feature_index"),
        ("b.csv", "action,hookpoint,feature_index,steering_coefficient\n", "no edits"),
        ("c.toml", "", "needs a list of edits"),
        ("d.json", '{"edits": []}', "no edits"),
        ("e.json", '{"edits": [{"latent": 1}]}', "one of add, scale and clamp"),
        ("f.pt", "x", "no file of tensors"),
    ],
)
def test_a_file_without_edits_is_named_and_refused(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"{name}.*{says}"):
        read_steering(tmp_path / name, Resolver({SITE: CODER}))
