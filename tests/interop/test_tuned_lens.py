"""A checkpoint that tuned-lens itself wrote gives the logits that it gives there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from monosema.attribution.lenses import load_lens, stream_sites
from monosema.models import byte_tokenizer, load_model, require_decoder

pytestmark = pytest.mark.interop


def test_a_checkpoint_gives_the_librarys_logits(peers_python: str, tmp_path: Path) -> None:
    script = Path(__file__).parent / "peers" / "run_tuned_lens.py"
    subprocess.run([peers_python, "-W", "ignore", str(script), str(tmp_path)], check=True)
    byte_tokenizer().raw.save(str(tmp_path / "model" / "tokenizer.json"))
    model = require_decoder(load_model(tmp_path / "model", dtype="float32"))
    lens, sites = load_lens(tmp_path / "lens"), stream_sites(model)
    streams = model.activations(torch.tensor([[3, 1, 4, 1, 5]]), sites)
    theirs = load_file(tmp_path / "logits.safetensors")
    for layer in range(model.n_layers):
        ours = lens.logits(model, streams[sites[layer]], layer)
        torch.testing.assert_close(ours, theirs[str(layer)], atol=1e-5, rtol=1e-5)
