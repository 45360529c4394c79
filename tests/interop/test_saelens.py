"""SAELens itself reads what monosema writes, and the other way round, with equal codes and reconstructions.

SAELens lives in an environment of its own, whose Python MONOSEMA_PEERS_PYTHON names (`make interop` makes one).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from monosema.core import Site
from monosema.dictionaries import Metadata, TopK, TopKConfig, load_dictionary, save_dictionary

pytestmark = pytest.mark.interop

READ = """
import sys, json
from safetensors.torch import load_file, save_file
from sae_lens import SAE
folder, given, out = sys.argv[1:]
sae = SAE.load_from_disk(folder)
x = load_file(given)["x"]
codes = sae.encode(x)
save_file({"codes": codes.detach().contiguous(), "out": sae.decode(codes).detach().contiguous()}, out)
said = sae.cfg.metadata
print(json.dumps({"class": type(sae).__name__, "hook": said.hook_name, "model": said.model_name}))
"""
WRITE = """
import sys, torch
from safetensors.torch import load_file, save_file
from sae_lens import TopKSAE, TopKSAEConfig
folder, given, out, rescale, centre = sys.argv[1:]
torch.manual_seed(3)
options = dict(rescale_acts_by_decoder_norm=rescale == "1", apply_b_dec_to_input=centre == "1")
sae = TopKSAE(TopKSAEConfig(d_in=16, d_sae=64, k=5, **options))
with torch.no_grad():
    sae.b_enc.normal_(std=0.1), sae.b_dec.normal_(), sae.W_dec.mul_(torch.rand(64, 1) + 0.5)
sae.save_model(folder)
x = load_file(given)["x"]
codes = sae.encode(x)
save_file({"codes": codes.detach().contiguous(), "out": sae.decode(codes).detach().contiguous()}, out)
"""


@pytest.fixture(scope="module")
def peers_python() -> str:
    root = Path(__file__).parents[2]
    python = os.environ.get("MONOSEMA_PEERS_PYTHON", str(root / ".venv-peers" / "bin" / "python"))
    if not Path(python).exists():
        pytest.fail(f"there is no Python with SAELens at {python}: run `make interop`, or set MONOSEMA_PEERS_PYTHON")
    return python


def peer(python: str, script: str, *arguments: str | Path) -> str:
    done = subprocess.run(
        [python, "-W", "ignore", "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_saelens_reads_ours(peers_python: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    dictionary = TopK(TopKConfig(d_in=16, n_latents=64, k=5), Metadata("specimen", Site.parse("3.resid_post")))
    x = torch.randn(200, 16) + 1.0
    dictionary.start(x, 0)
    with torch.no_grad():
        dictionary.encoder_bias.normal_(std=0.1)
    folded = dictionary.folded(torch.randn(16), 3.0)
    save_dictionary(folded, tmp_path / "ours")
    save_file({"x": x}, tmp_path / "x.safetensors")
    said = peer(peers_python, READ, tmp_path / "ours", tmp_path / "x.safetensors", tmp_path / "out.safetensors")
    theirs = load_file(tmp_path / "out.safetensors")
    codes = folded.encode(x)
    torch.testing.assert_close(codes.dense(), theirs["codes"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(folded.decode(codes), theirs["out"], rtol=1e-4, atol=1e-5)
    facts = json.loads(said.strip().splitlines()[-1])
    assert facts == {"class": "TopKSAE", "hook": "blocks.3.hook_resid_post", "model": "specimen"}


@pytest.mark.parametrize("rescale", ["0", "1"])
@pytest.mark.parametrize("centre", ["0", "1"])
def test_we_read_saelens(peers_python: str, tmp_path: Path, rescale: str, centre: str) -> None:
    x = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
    save_file({"x": x}, tmp_path / "x.safetensors")
    out = tmp_path / "out.safetensors"
    peer(peers_python, WRITE, tmp_path / "theirs", tmp_path / "x.safetensors", out, rescale, centre)
    theirs = load_file(out)
    dictionary = load_dictionary(tmp_path / "theirs")
    codes = dictionary.encode(x)
    torch.testing.assert_close(dictionary.decode(codes), theirs["out"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(codes.dense(), theirs["codes"], rtol=1e-4, atol=1e-4)
