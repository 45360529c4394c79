"""Checkpoints hold tied weights, which are one tensor under two names."""

from __future__ import annotations

from pathlib import Path

import torch

from monosema.training.checkpoint import Checkpoint, Checkpoints, RunState


def test_tensors_that_share_memory_are_written_and_read_back(tmp_path: Path) -> None:
    weights = torch.randn(3, 4)
    tensors = {"0.dictionary.W_enc": weights, "0.dictionary.W_dec": weights, "0.dictionary.b_enc": torch.ones(3)}
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(Checkpoint(7, "recipe", [], [RunState()], tensors))
    found = checkpoints.newest()
    assert found is not None
    assert found.step == 7
    assert found.tensors.keys() == tensors.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in tensors.items())
