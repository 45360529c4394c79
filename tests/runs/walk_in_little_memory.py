"""The whole walk in a process that may not have more than so much memory: a program that tests start.

Arguments: the recipe, the run folder, and the megabytes that the process may take beyond its libraries.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

os.environ["MONOSEMA_QUIET"] = "1"


def own_bytes() -> int:
    """Address space that this process has taken."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main() -> None:
    toml, folder, more = sys.argv[1:]
    import duckdb
    import pyarrow.parquet  # noqa: F401
    import torch
    import vl_convert

    from monosema.recipes import demo  # noqa: F401
    from monosema.runs.recipe import Recipe
    from monosema.runs.run import run

    # Threads of libraries, and V8, reserve address space when they first work.
    vl_convert.vegalite_to_svg({"data": {"values": [{}]}, "mark": "point"})
    torch.mm(torch.ones(64, 64), torch.ones(64, 64))
    duckdb.sql("select count(*) from range(100000)").fetchall()
    limit = own_bytes() + int(more) * 10**6
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    finished = run(Recipe.read(toml), folder)
    print(json.dumps({name: stage.state for name, stage in finished.stages.items()}))


if __name__ == "__main__":
    main()
