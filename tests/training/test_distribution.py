"""Two and four processes do what one does; a run goes on with another number of them; a lost one ends all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from monosema.core import ConfigError
from monosema.dictionaries import make_coder
from monosema.training.distribution import Mesh
from monosema.training.sharded_dictionary import shard_of
from monosema.training.sharded_step import require_divisible

PROGRAM = Path(__file__).parents[1] / "helpers" / "distributed_runs.py"
STEPS, BATCH = 30, 64
TOGETHER = [
    *(
        (name, 2, 1)
        for name in ("topk resampled", "matryoshka", "l1", "tied", "p_anneal", "gated", "jumprelu", "l1 at 8")
    ),
    ("topk", 4, 1),
    ("topk", 2, 2),
    ("topk resampled", 2, 2),
    ("topk resampled", 4, 2),
    ("batch_topk resampled", 2, 2),
    ("multi_topk", 2, 2),
    ("batch_topk", 2, 1),
    ("batch_topk", 4, 2),
    ("matryoshka", 4, 2),
    ("muon", 4, 2),
]
"""Architecture, processes, shards of latents."""
GENTLE = {"p_anneal": 1e-3}
"""Learning rates below the others': near 0 the penalty of p-anneal is steep, and rounding errors grow quickly."""

pytestmark = pytest.mark.slow


def run(cases: Sequence[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    listed = folder / "cases.json"
    listed.write_text(json.dumps(cases))
    done = subprocess.run([sys.executable, str(PROGRAM), str(listed)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def curve(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, np.ndarray]:
    return dict(load_file(folder / "sae_weights.safetensors"))


def assert_close(found: Path, expected: Path) -> None:
    """The recorded curves differ by 1e-4 at most, and so do the weights that are saved."""
    ours, theirs = curve(found), curve(expected)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs] == list(range(5, STEPS + 1, 5))
    for line, other in zip(ours, theirs, strict=True):
        assert set(line) == set(other)
        for name in set(line) - {"step_ms", "l0"}:
            scale = max(1.0, abs(other[name]))
            assert abs(line[name] - other[name]) <= 1e-4 * scale, (name, line, other)
        assert line["l0"] == pytest.approx(other["l0"], abs=0.05)
    for name, tensor in weights(expected).items():
        np.testing.assert_allclose(weights(found)[name], tensor, atol=2e-3, err_msg=name)


class Trained(NamedTuple):
    """Folders of all cases, and what came of the processes of each."""

    folder: Path
    outcomes: dict[str, dict[str, Any]]


LOST = {
    "four, one lost": {"processes": 4, "shards": 2, "dies": 3, "dies_at": 19},
    "two, one lost": {"processes": 2, "dies": 0, "dies_at": 29},
    "one": {},
}
"""One run, which loses a process twice."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """All cases, trained by one program: importing takes as long as many of them."""
    import distributed_runs

    folder = tmp_path_factory.mktemp("trained")
    np.save(folder / "rows.npy", distributed_runs.rows(STEPS * BATCH).numpy())
    alone = [(name, 1, 1) for name in dict.fromkeys(name for name, _, _ in TOGETHER)]
    cases = {
        f"{name}-{processes}-{shards}": {
            "architecture": name,
            "processes": processes,
            "shards": shards,
            "lr": GENTLE.get(name, 3e-3),
            "optimiser": "muon" if name == "muon" else "adam",
            "target_l0": 8.0 if name.endswith("at 8") else None,
        }
        for name, processes, shards in alone + TOGETHER
    }
    lost = {"architecture": "topk", "folder": str(folder / "lost"), "checkpoint_steps": 4}
    cases |= {name: lost | case for name, case in LOST.items()}
    common = {"rows": str(folder / "rows.npy")}
    found = run([common | {"folder": str(folder / name)} | case for name, case in cases.items()], folder)
    return Trained(folder, dict(zip(cases, found, strict=True)))


@pytest.mark.parametrize(("name", "processes", "shards"), TOGETHER)
def test_several_processes_give_the_curve_of_one(name: str, processes: int, shards: int, trained: Trained) -> None:
    case = f"{name}-{processes}-{shards}"
    assert trained.outcomes[case]["raised"] == []
    assert_close(trained.folder / case, trained.folder / f"{name}-1-1")


def test_the_cases_have_dead_latents_to_revive(trained: Trained) -> None:
    """Otherwise AuxK over shards would not be tested."""
    assert any("loss_aux" in line for line in curve(trained.folder / "topk-1-1"))


def test_a_lost_process_ends_all_and_the_run_goes_on_with_others(trained: Trained) -> None:
    first, second, last = (trained.outcomes[name] for name in LOST)
    assert first["seconds"] < 60
    assert len(first["raised"]) == 3
    assert len(second["raised"]) == 1
    for message in first["raised"] + second["raised"]:
        assert message.startswith("RunError")
        assert "lost another process" in message
        assert "goes on from the newest checkpoint" in message
    assert first["checkpoints"][-1] == "step-00000016"
    assert second["checkpoints"][-1] == "step-00000028"
    assert (last["raised"], last["checkpoints"]) == ([], [])
    assert_close(trained.folder / "lost", trained.folder / "topk-1-1")


def test_what_can_not_be_divided_is_refused() -> None:
    mesh = Mesh()
    mesh.groups, mesh.shards = 2, 2
    for batch, latents, says in (
        (63, 128, "63 rows"),
        (64, 127, "127 latents"),
        (64, 32, "as many as a row has values"),
    ):
        with pytest.raises(ConfigError, match=says):
            require_divisible(mesh, batch, latents, 16)
    with pytest.raises(ConfigError, match="JumpReLU can't be divided"):
        shard_of(mesh, make_coder("jumprelu", d_in=16, n_latents=64))


def test_a_process_alone_asks_nobody() -> None:
    mesh = Mesh.join()
    assert mesh.alone
    assert mesh.first
    assert not torch.distributed.is_initialized()


def test_shards_must_divide_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match="4 processes can't hold 3 shards"):
        Mesh.join(latent_shards=3)
    assert os.environ["WORLD_SIZE"] == "4"
