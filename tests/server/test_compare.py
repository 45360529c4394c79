"""Runs side by side, and features that two dictionaries share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient

from monosema.core import InputError
from monosema.server import create_app
from monosema.server.matching import match
from monosema.server.schemas import Comparison, MatchedFeatures


def test_planted_pairs_are_found_and_strangers_are_not() -> None:
    torch.manual_seed(0)
    a = torch.randn(40, 64)
    b = torch.cat([torch.randn(10, 64), 3 * a[5:15] + 0.01 * torch.randn(10, 64), torch.zeros(2, 64)])
    found = match(a, b)
    same = found.cosine > 0.9
    assert dict(zip(found.a[same].tolist(), found.b[same].tolist(), strict=True)) == {5 + i: 10 + i for i in range(10)}
    assert (found.nearest[5:15] > 0.9).all()
    assert found.chance < 0.6
    with pytest.raises(InputError, match="64 values, of the other 3"):
        match(a, torch.ones(4, 3))


def test_a_run_beside_its_copy_differs_in_nothing(served_run: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(served_run, tmp_path / name)
    with TestClient(create_app([tmp_path]), base_url="http://localhost") as client:
        asked = {"a": "one", "b": "two"}
        compared = client.get("/api/compare", params=asked).json()
        Comparison.model_validate(compared)
        assert {row["metric"] for row in compared["metrics"]} >= {"fvu", "l0"}
        for row in compared["metrics"]:
            assert row["difference"]["value"] == 0
            assert row["difference"]["low"] <= 0 <= row["difference"]["high"]
        matched = client.get("/api/compare/features", params=asked).json()
        MatchedFeatures.model_validate(matched)
        assert matched["above"] == matched["of"] == 64
        assert all(pair["a"] == pair["b"] and pair["cosine"] <= 1 for pair in matched["pairs"])
        assert client.get("/api/compare/features", params={**asked, "threshold": "nan"}).status_code == 422
        assert client.get("/api/compare", params={"a": "one", "b": "three"}).status_code == 404
