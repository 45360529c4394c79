"""Files of steerings and of directions; the format is told by the name's ending.

.toml .json      plain values (`spec`), vectors among them
.safetensors     the same, with vectors as tensors
.gguf            control vectors of llama.cpp and repeng
.pt .csv         lm-evaluation-harness' steering files
.npy             one direction
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from monosema.core import ConfigError, FormatError, Site, nearest
from monosema.models import LanguageModel
from monosema.steering.coordinates import Direction, Head
from monosema.steering.edits import Steering
from monosema.steering.files import arrays, control_vectors, lm_eval, plain, tensors
from monosema.steering.spec import Resolve

__all__ = ["read_directions", "read_steering", "register_steering_format", "write_steering"]


@runtime_checkable
class SteeringFormat(Protocol):
    """Reads and writes one format; a module or any object with these two functions."""

    def read(self, path: Path, resolve: Resolve | None, site: Site | None) -> Steering:
        """Read a steering: `resolve` finds latents that it names, `site` is that of vectors that don't say theirs."""
        ...

    def write(self, path: Path, steering: Steering, model: LanguageModel | None) -> None:
        """Write a steering. Raises ConfigError, which says why, for one that the format can't hold."""
        ...


FORMATS: dict[str, SteeringFormat] = {
    ".toml": plain,
    ".json": plain,
    ".safetensors": tensors,
    ".gguf": control_vectors,
    ".pt": lm_eval,
    ".csv": lm_eval,
    ".npy": arrays,
}
"""By the ending of a file's name."""


def register_steering_format(suffix: str, format: SteeringFormat) -> None:
    """Read and write files of this ending (".mine") by a format of your own."""
    FORMATS[suffix] = format


def read_steering(path: str | Path, resolve: Resolve | None = None, site: Site | None = None) -> Steering:
    """Read a steering from a file.

    Args:
        resolve: finds latents, and directions that the file names without their vectors.
        site: where vectors are of that don't say their site.

    Raises:
        FormatError: no such file, not of a known format, or without an edit.
        ConfigError: values that are not valid, or sources that are not there.
    """
    file = Path(path)
    if not file.is_file():
        raise FormatError(f"{file} is no file. Name a steering file: {', '.join(FORMATS)}.")
    found = _format(file).read(file, resolve, site)
    if not found.edits:
        raise FormatError(f"{file} holds no edits, so it steers nothing. Write one with `monosema steer --out`.")
    return found


def write_steering(path: str | Path, steering: Steering, model: LanguageModel | None = None) -> Path:
    """Write a steering to a file, in the format of its ending.

    Args:
        model: whose it is; formats of other programs name it.

    Raises:
        ConfigError: a steering that the format can't hold; the message says which it can.
        FormatError: an unknown ending.
    """
    if not isinstance(path, (str, Path)):
        raise ConfigError("write_steering(path, steering): the path comes first, then the steering.")
    file = Path(path)
    _format(file).write(file, steering, model)
    return file


def read_directions(path: str | Path, site: Site | None = None) -> list[Direction]:
    """Read the directions in a file, those at a site where it is named; heads' are as wide as a head.

    Raises:
        FormatError: no such file, not of a known format, or without a direction.
    """
    steering = read_steering(path, None, site)
    found = [edit.coordinate for edit in steering.edits]
    directions = [
        Direction(one.site, one.vector, one.name) if isinstance(one, Head) else one
        for one in found
        if isinstance(one, (Direction, Head)) and site in (None, one.site)
    ]
    if not directions:
        raise FormatError(f"{path} holds no direction{'' if site is None else f' at {site.short}'}.")
    return directions


def _format(path: Path) -> SteeringFormat:
    if path.suffix not in FORMATS:
        raise FormatError(
            f"{path.name} has an ending that no format of steerings has.{nearest(path.suffix, FORMATS)} "
            f"There are: {', '.join(FORMATS)}."
        )
    return FORMATS[path.suffix]
