"""NumPy's .npy: one direction, whose site is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from monosema.core import ConfigError, FormatError, Site, atomic_path
from monosema.models import LanguageModel
from monosema.steering.coordinates import Direction
from monosema.steering.edits import Edit, Steering
from monosema.steering.moves import Add
from monosema.steering.spec import Resolve


def read(path: Path, resolve: Resolve | None, site: Site | None) -> Steering:
    """Read a direction, to be added once. Raises FormatError for other contents, or without a site."""
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise FormatError(f"{path} can't be read as .npy: {error}") from None
    if site is None:
        raise FormatError(f"{path} does not say at which site its vector is: name the site with it.")
    return Steering(Edit(Direction(site, torch.from_numpy(values.astype(np.float32)), path.stem), Add(1.0)))


def write(path: Path, steering: Steering, model: LanguageModel | None) -> None:
    """Write the vector of a steering that is one direction, added once. Raises ConfigError for another."""
    match steering.edits:
        case (Edit(Direction() as direction, Add(amount), _, "raw"),):
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.save(file, (direction.vector * amount * steering.strength).cpu().numpy())
        case _:
            raise ConfigError("An .npy file holds one vector: write a steering that adds one direction.")
