"""Each peer's library runs once, in its own environment; what it computed is compared here.

MONOSEMA_PEERS_PYTHON names that environment's Python, MONOSEMA_ATTRIBUTION_PYTHON that of the libraries of attribution,
which ask for other versions (`make interop` makes both).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from monosema.dictionaries import Dictionary, save_dictionary

D, M, K = 16, 64, 5


@pytest.fixture(scope="session")
def peers_python() -> str:
    return _python("MONOSEMA_PEERS_PYTHON", ".venv-peers")


@pytest.fixture(scope="session")
def attribution_python() -> str:
    return _python("MONOSEMA_ATTRIBUTION_PYTHON", ".venv-attribution")


def _python(variable: str, folder: str) -> str:
    root = Path(__file__).parents[2]
    python = os.environ.get(variable, str(root / folder / "bin" / "python"))
    if not Path(python).exists():
        pytest.fail(f"there is no Python with the peers at {python}: run `make interop`, or set {variable}")
    return python


@pytest.fixture(scope="session")
def peer(peers_python: str) -> Callable[[str, Path, str, dict[str, Dictionary]], Path]:
    """Saves our dictionaries, has a peer read them and write its own, and gives the folder.

    The script finds ours/NAME and the rows (rows.safetensors), writes ours/NAME.safetensors {codes, out} of each, and
    theirs/NAME with theirs/NAME.safetensors beside it.
    """

    def run(script: str, folder: Path, format: str, ours: dict[str, Dictionary]) -> Path:
        (folder / "theirs").mkdir(parents=True)
        for name, dictionary in ours.items():
            save_dictionary(dictionary, folder / "ours" / name, format)
        rows = torch.randn(200, D, generator=torch.Generator().manual_seed(0)) + 1.0
        save_file({"x": rows}, folder / "rows.safetensors")
        done = subprocess.run(
            [peers_python, "-W", "ignore", str(Path(__file__).parent / "peers" / f"run_{script}.py"), str(folder)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return folder

    return run


@pytest.fixture(scope="session")
def agree() -> Callable[[Path, str, Dictionary], None]:
    """Checks that codes and reconstructions are those that the peer computed."""

    def check(folder: Path, name: str, dictionary: Dictionary) -> None:
        x = load_file(folder / "rows.safetensors")["x"]
        theirs = load_file(folder / f"{name}.safetensors")
        codes = dictionary.encode(x)
        assert 0.02 < float((theirs["codes"] != 0).float().mean()) < 0.9, "codes that would prove little"
        torch.testing.assert_close(codes.dense(), theirs["codes"], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(dictionary(x), theirs["out"], rtol=1e-4, atol=1e-4)

    return check


@pytest.fixture(scope="session")
def random_parts() -> Callable[[torch.nn.Module], Dictionary]:
    """Fills a dictionary's biases, thresholds and scales, so that nothing is right by being 0."""

    def fill(dictionary: torch.nn.Module) -> Dictionary:
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for name, tensor in [*dictionary.named_parameters(), *dictionary.named_buffers()]:
                if name == "threshold":
                    tensor.uniform_(0.1, 2.0, generator=generator)
                elif name.endswith("bias"):
                    tensor.normal_(std=0.5, generator=generator)
                elif name == "magnitude_scale":
                    tensor.normal_(std=0.3, generator=generator)
                elif name == "skip":
                    tensor.normal_(std=0.2, generator=generator)
        return dictionary  # type: ignore[return-value]

    return fill
