"""encode: the activations of a dictionary's latents on any vectors, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from monosema.cli.common import DEFAULTS, Common, deliver


def encode(
    dictionary: str,
    vectors: Path,
    /,
    *,
    out: Annotated[Path, Parameter(help="The Parquet file to write.")],
    names: Annotated[Path | None, Parameter(help="Names of the rows: a .parquet, .csv or .txt file.")] = None,
    site: Annotated[str | None, Parameter(help="Site of a captured store that has several.")] = None,
    common: Common = DEFAULTS,
) -> int:
    """Write which latents are active on each vector, and how much: row, latent, activation.

    ```
    monosema encode runs/films films.npy --out codes.parquet
    monosema encode dictionaries/mine films.npy --names films.parquet --out codes.parquet
    ```

    Parameters
    ----------
    dictionary
        A run folder, a dictionary in any format that monosema reads, or a name on the hub.
    vectors
        A .npy, .npz, .safetensors or .parquet matrix, one vector a row; a folder of such files; or a captured store.
    """
    from monosema.core import progress_bar
    from monosema.runs import encode_vectors, open_dictionary

    with progress_bar("encode", None, "rows") as bar:
        counts = encode_vectors(open_dictionary(dictionary), vectors, out, names, site, common.device, bar)
    said = f"{counts['rows']:,} rows, {counts['activations']:,} activations of {counts['latents_active']:,} latents"
    return deliver({**counts, "file": str(out.resolve())}, common, lambda console: console.print(f"{said}: {out}"))
