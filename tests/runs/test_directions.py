"""A steering file's directions as a run: two sides of each, centred on the text, with pages like a feature's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monosema.core import ConfigError, FormatError, Site
from monosema.recipes import opened
from monosema.runs import Run, run
from monosema.runs.directions import centred, coder_of, names_of
from monosema.runs.given import load_coder
from monosema.steering import Add, Direction, Edit, Steering, write_steering


def file_of(folder: Path, *directions: Direction, name: str = "found.toml") -> Path:
    return write_steering(folder / name, Steering([Edit(one, Add(1.0), unit="raw") for one in directions]))


@pytest.mark.parametrize("name", ["found.toml", "found.json", "found.safetensors"])
def test_a_direction_is_two_latents_about_the_mean(tmp_path: Path, name: str) -> None:
    path = file_of(tmp_path, Direction("1.resid_post", torch.tensor([3.0, 0.0, 4.0, 0.0]), "this"), name=name)
    coder = load_coder(path)
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) + 5
    codes = centred(coder, x).encode(x).dense()
    along = (x - x.mean(0)) @ torch.tensor([0.6, 0.0, 0.8, 0.0])
    torch.testing.assert_close(codes, torch.stack([along.relu(), (-along).relu()], dim=1))
    rebuilt = x.mean(0) + along[:, None] * torch.tensor([0.6, 0.0, 0.8, 0.0])
    torch.testing.assert_close(coder.decode(coder.encode(x)), rebuilt)
    assert names_of(coder) == ["this, above its mean", "this, below its mean"]
    assert coder.metadata.site == Site(1, "resid_post")


def test_directions_are_of_one_site(tmp_path: Path) -> None:
    both = [Direction(f"{layer}.resid_post", torch.ones(4), str(layer)) for layer in (0, 1)]
    path = file_of(tmp_path, *both)
    with pytest.raises(ConfigError, match=r"several sites, 0\.resid_post, 1\.resid_post: choose one by --site"):
        coder_of(path)
    assert names_of(coder_of(path, Site(1, "resid_post")))[0] == "1, above its mean"
    (tmp_path / "other.toml").write_text("a = 1")
    with pytest.raises(FormatError):
        load_coder(tmp_path / "nothing.toml")


def test_a_run_of_directions_has_pages_of_features(finished: Run, tmp_path: Path) -> None:
    site = finished.recipe.sites[0]
    width = finished.dictionary().d_in
    path = file_of(
        tmp_path, Direction(site, torch.randn(width, generator=torch.Generator().manual_seed(1)), "some way")
    )
    recipe = opened(path, finished.recipe, site=site.short)
    done = run(recipe, tmp_path / "run")
    atlas = done.atlas()
    assert [atlas.feature(latent).label for latent in (0, 1)] == [
        "some way, above its mean",
        "some way, below its mean",
    ]
    assert sum(atlas.feature(latent).density or 0 for latent in (0, 1)) == pytest.approx(1, abs=0.02)
    assert atlas.feature(0).examples
    up, down = atlas.feature(0).promoted, atlas.feature(1).suppressed
    assert [one.id for one in up] == [one.id for one in down]
    assert done.report is not None
    assert "The features are directions" in done.report.read_text(encoding="utf-8")
    again: list[str] = []
    run(recipe, tmp_path / "run", log=again.append)
    assert all("done before" in line for line in again)
