"""Codes of any matrix of vectors under any dictionary, as a table: row, latent, activation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from monosema.activations import RowSource, open_rows
from monosema.core import (
    ConfigError,
    InputError,
    Progress,
    SilentProgress,
    Site,
    VectorError,
    atomic_path,
    choose_device,
)
from monosema.dictionaries import Dictionary, load_dictionary
from monosema.items import read_items
from monosema.runs.run import Run

CELLS = 16_777_216
"""Values of vectors, or of dense codes, in memory at once."""


def open_dictionary(path: str | Path) -> Dictionary:
    """Load a dictionary of any format, a file or a folder or a name on the hub, or that of a run folder.

    Raises:
        RunError: a run that has not trained its dictionary yet.
        FormatError, DamagedFileError: as `load_dictionary`.
    """
    return Run.open(path).dictionary() if (Path(path) / "recipe.toml").exists() else load_dictionary(path)


def open_dictionaries(place: str | Path) -> tuple[dict[Site | str, Dictionary], dict[Site | str, Path]]:
    """Load a dictionary or a run, or all that lie in a folder, such as transcoders of several layers.

    Returns:
        The dictionaries, and the runs that they are in, by the site that each reads.

    Raises:
        InputError: no such folder, or a dictionary that doesn't say its site.
        RunError, FormatError, DamagedFileError: as `open_dictionary`.
    """
    folder = Path(place)
    if not folder.exists():
        raise InputError(f"{folder} is no folder. monosema.recipes.transcoders makes one.")
    inside = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    alone = not inside or any((folder / name).exists() for name in ("recipe.toml", "cfg.json"))
    found, homes = dict[Site | str, Dictionary](), dict[Site | str, Path]()
    for path in [folder] if alone else [path for path in inside if path.name != "activations"]:
        dictionary = open_dictionary(path)
        if dictionary.metadata.site is None:
            raise InputError(f"The dictionary in {path} does not say which site it reads.")
        found[dictionary.metadata.site] = dictionary
        if (path / "recipe.toml").exists():
            homes[dictionary.metadata.site] = path
    return found, homes


def encode_vectors(
    dictionary: Dictionary,
    vectors: str | Path,
    out: str | Path,
    names: str | Path | None = None,
    site: Site | str | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Encode all rows and write the activations that are not 0 as a Parquet file, in memory that the rows don't decide.

    Args:
        vectors: a matrix, a folder of such files, or a captured store.
        out: the file: columns row, latent, activation, and name where there are names; by row, then strongest first.
        names: file of one name for each row.
        site: of a captured store with several; None is the one that the dictionary was trained on.
        device: where to compute; None for the best there is.
        progress: advanced by rows.

    Returns:
        Counts: rows, activations, and latents that are ever active.

    Raises:
        VectorError: vectors that can't be read or don't fit the dictionary.
        InputError: names that don't fit the vectors, or a file that is not called .parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if Path(out).suffix != ".parquet":
        raise InputError(f"Codes are written as Parquet: call the file --out {Path(out).with_suffix('.parquet')}.")
    source, progress = open_rows(vectors), progress or SilentProgress()
    place = site_of(source, dictionary, site)
    if source.width(place) != dictionary.d_in:
        raise VectorError(
            f"{vectors} has vectors of {source.width(place)} values, and the dictionary reads {dictionary.d_in}."
        )
    items = None if names is None else read_items(names, source.rows, Path(vectors).name)
    fields = [("row", pa.int64()), ("latent", pa.int32()), ("activation", pa.float32())]
    schema = pa.schema([*fields, *([] if items is None else [("name", pa.string())])])
    dictionary = dictionary.to(choose_device(device))
    step = max(1, min(8192, CELLS // max(dictionary.d_in, dictionary.n_latents)))
    active, count = np.zeros(dictionary.n_latents, np.bool_), 0
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(out) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for start in range(0, source.rows, step):
            rows = source.read(place, start, min(start + step, source.rows))
            row, latent, activation = _codes(dictionary, rows)
            columns = {"row": row + start, "latent": latent, "activation": activation}
            if items is not None:
                columns["name"] = pa.array(items.names[start : start + len(rows)]).take(pa.array(row))
            writer.write_table(pa.table(columns, schema=schema))
            active[latent] = True
            count += len(row)
            progress.advance(len(rows))
    return {"rows": source.rows, "activations": count, "latents_active": int(active.sum())}


def site_of(source: RowSource, dictionary: Dictionary, site: Site | str | None) -> Site:
    """Return the site of a source whose vectors are encoded: the one named, its only one, or the dictionary's own.

    Raises ConfigError where none of these is known.
    """
    found = site or (source.sites[0] if len(source.sites) == 1 else dictionary.metadata.site)
    if found is None:
        there = ", ".join(one.short for one in source.sites)
        raise ConfigError(f"{source.name} has the sites {there}: say which. Give --site (site=…).")
    return Site.parse(found)


@torch.inference_mode()
def _codes(dictionary: Dictionary, rows: Float[Tensor, "n d_in"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row, latent and value of the codes that are not 0, the strongest of each row first."""
    codes = dictionary.encode(rows.to(dictionary.directions.device))
    row, slot = torch.nonzero(codes.values, as_tuple=True)
    latent, value = codes.indices[row, slot], codes.values[row, slot].float()
    order = np.lexsort((-value.cpu().numpy(), row.cpu().numpy()))
    return tuple(column.cpu().numpy()[order] for column in (row, latent.to(torch.int32), value))  # type: ignore[return-value]
