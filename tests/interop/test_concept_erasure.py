"""concept-erasure itself erases as we do, where it neither shrinks the covariance nor bounds the trace."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from monosema.probing.erasure import leace

pytestmark = pytest.mark.interop


def test_leace_is_that_of_the_library_and_leaves_no_covariance(peers_python: str, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(500, generator=generator) < 0.4).double()
    mixing, shift = torch.randn(24, 24, generator=generator).double(), torch.randn(24, generator=generator).double()
    rows = torch.randn(500, 24, generator=generator).double() @ mixing + labels.unsqueeze(1) * shift
    save_file({"rows": rows, "labels": labels}, tmp_path / "rows.safetensors")
    script = Path(__file__).parent / "peers" / "run_concept_erasure.py"
    subprocess.run([peers_python, str(script), str(tmp_path)], check=True)
    theirs = load_file(tmp_path / "erased.safetensors")["erased"]
    ours = leace(rows, labels)(rows)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-4 * float(rows.std()))
    crossed = [((x - x.mean(0)).T @ (labels - labels.mean())).norm() for x in (rows, ours, theirs)]
    assert crossed[1] < 1e-4 * crossed[0]
    assert crossed[2] < 1e-4 * crossed[0]
