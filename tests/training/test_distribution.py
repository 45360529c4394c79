"""Two and four processes do what one does; a run goes on with another number of them; a lost one ends all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from monosema.core import ConfigError
from monosema.dictionaries import JumpReLU, JumpReLUConfig
from monosema.training.distribution import Mesh

PROGRAM = Path(__file__).with_name("distributed_runs.py")
STEPS, BATCH = 100, 64
TOGETHER = [
    *((name, 2, 1) for name in ("topk resampled", "matryoshka", "l1", "tied", "p_anneal", "gated", "jumprelu")),
    ("topk", 4, 1),
    ("topk", 2, 2),
    ("topk", 4, 2),
    ("topk resampled", 2, 2),
    ("topk resampled", 4, 2),
    ("batch_topk resampled", 2, 2),
    ("multi_topk", 2, 2),
    ("batch_topk", 2, 1),
    ("batch_topk", 4, 2),
    ("matryoshka", 2, 2),
    ("matryoshka", 4, 2),
    ("muon", 2, 2),
    ("muon", 4, 2),
]
"""Architecture, processes, shards of latents."""
GENTLE = {"p_anneal": 1e-3}
"""Learning rates below the others': near 0 the penalty of p-anneal is steep, and rounding errors grow quickly."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sys.path.insert(0, str(PROGRAM.parent))
    try:
        import distributed_runs
    finally:
        sys.path.pop(0)
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    np.save(path, distributed_runs.rows(STEPS * BATCH).numpy())
    return path


def run(cases: Sequence[dict[str, Any]], folder: Path) -> list[float]:
    listed = folder / "cases.json"
    listed.write_text(json.dumps(cases))
    done = subprocess.run([sys.executable, str(PROGRAM), str(listed)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def curve(folder: Path) -> list[dict[str, float]]:
    errors = [path.read_text() for path in folder.glob("error-*.txt")]
    assert not errors, errors[0]
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


@pytest.fixture(scope="module")
def trained(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    alone = [(name, 1, 1) for name in dict.fromkeys(name for name, _, _ in TOGETHER)]
    cases = [
        {
            "architecture": name,
            "processes": processes,
            "shards": shards,
            "lr": GENTLE.get(name, 3e-3),
            "optimiser": "muon" if name == "muon" else "adam",
            "rows": str(rows),
            "folder": str(folder / f"{name}-{processes}-{shards}"),
        }
        for name, processes, shards in alone + TOGETHER
    ]
    run(cases, folder)
    return folder


@pytest.mark.parametrize(("name", "processes", "shards"), TOGETHER)
def test_several_processes_give_the_curve_of_one(name: str, processes: int, shards: int, trained: Path) -> None:
    assert_close(trained / f"{name}-{processes}-{shards}", trained / f"{name}-1-1")


def test_the_cases_have_dead_latents_to_revive(trained: Path) -> None:
    """Otherwise AuxK over shards would not be tested."""
    assert any("loss_aux" in line for line in curve(trained / "topk-1-1"))


def test_a_lost_process_ends_all_and_the_run_goes_on_with_others(rows: Path, trained: Path, tmp_path: Path) -> None:
    case = {"architecture": "topk", "rows": str(rows), "folder": str(tmp_path / "out"), "checkpoint_steps": 10}
    killed = {**case, "processes": 4, "shards": 2, "dies": 3, "dies_at": 47}
    (seconds,) = run([killed], tmp_path)
    assert seconds < 60
    messages = [path.read_text() for path in sorted((tmp_path / "out").glob("error-*.txt"))]
    assert len(messages) == 3
    for message in messages:
        assert message.startswith("RunError")
        assert "lost another process" in message
        assert "goes on from the newest checkpoint" in message
    assert [path.name for path in sorted((tmp_path / "out" / "checkpoint").glob("step-*"))][-1] == "step-00000040"
    for path in (tmp_path / "out").glob("error-*.txt"):
        path.unlink()
    again = {**killed, "processes": 2, "shards": 1, "dies": 0, "dies_at": 71}
    run([again], tmp_path)
    for path in (tmp_path / "out").glob("error-*.txt"):
        path.unlink()
    run([case], tmp_path)
    assert_close(tmp_path / "out", trained / "topk-1-1")
    assert not (tmp_path / "out" / "checkpoint").exists()


def test_what_can_not_be_divided_is_refused() -> None:
    mesh = Mesh()
    mesh.groups, mesh.shards = 2, 2
    for batch, latents, says in (
        (63, 128, "63 rows"),
        (64, 127, "127 latents"),
        (64, 32, "as many as a row has values"),
    ):
        with pytest.raises(ConfigError, match=says):
            mesh.check(batch, latents, 16)
    with pytest.raises(ConfigError, match="JumpReLU can't be divided"):
        mesh.part_of(JumpReLU(JumpReLUConfig(d_in=16, n_latents=64)))


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
