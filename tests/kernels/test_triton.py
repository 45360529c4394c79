"""The GPU kernels: what they compute, by Triton's interpreter, and which tensors they take."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from monosema.kernels import gpu


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is made for Linux only")
def test_kernels_agree_with_their_twins_in_the_interpreter() -> None:
    checks = Path(__file__).with_name("interpreted_triton.py")
    command = [sys.executable, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", "-n", "0", str(checks)]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed.group(1)) > 20


def test_tensors_elsewhere_or_of_another_precision_are_not_taken() -> None:
    assert not gpu.on_gpu(torch.empty(2))
    assert not gpu.on_gpu(torch.empty(2, device="meta"))
    assert not gpu.on_gpu(torch.empty(2, dtype=torch.float64))


def test_importing_the_kernels_imports_no_triton() -> None:
    code = "import sys, monosema.kernels; sys.exit('monosema.kernels.triton_sparse' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
