"""Capture activations to a store that a kill can't spoil.

The token batches are numbered; a shard holds the rows of consecutive batches and is closed at the first batch that
brings it to `shard_rows` rows. So shards depend on nothing but the recipe, each can be made again alone, and a capture
that was killed goes on after its last finished shard. While the model computes the next shard, a thread writes the
last one: at most two shards are in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from monosema.activations.codec import BYTES, DTYPES, CodecKind, coding_error, encode, is_plain
from monosema.activations.manifest import Manifest, ShardRecord, checksum_of, differences
from monosema.activations.rows import BatchRows, RowTaker
from monosema.activations.store import Store, scale_key, values_key
from monosema.core import (
    Config,
    CorpusError,
    Progress,
    RunError,
    SilentProgress,
    Site,
    SiteError,
    atomic_path,
)
from monosema.data import TextConfig, TokenBatch, TokenBatches
from monosema.models import LanguageModel, ModelPair

MEASURED_ROWS = 1_024
"""Rows on which the error of every codec is measured."""


class CaptureConfig(Config):
    """Configuration of a capture: storage of the rows, and rows left out."""

    codec: CodecKind = "bfloat16"
    """Codec of the values; the manifest holds the error that each kind costs."""
    shard_rows: int = Field(16_384, ge=1)
    """Rows in a shard, to the end of the batch that reaches them. Two shards are in memory at a time."""
    extreme_norm: float | None = Field(10.0, gt=1.0)
    """Leave out tokens whose norm is beyond this many times the median norm; None keeps them."""
    checksum: bool = True
    """On resume, look at the checksums of finished shards; False looks at their sizes only."""


def capture_to_store(
    model: LanguageModel,
    batches: Iterable[TokenBatch],
    sites: Iterable[Site | str],
    path: str | Path,
    config: CaptureConfig | None = None,
    *,
    corpus_digest: str | None = None,
    text: TextConfig | None = None,
    progress: Progress | None = None,
) -> Store:
    """Capture the kept tokens' activations at all sites, with one forward pass a batch.

    Where the folder holds an unfinished store of the same recipe, this goes on with it; where it holds a finished one,
    it makes again the damaged shards only, or nothing. `batches` must begin at the first batch each time.

    Args:
        batches: token batches from the first on; with those of `token_batches`, `corpus_digest` and `text` are known.
        sites: where to capture; arrays with heads become one row a token.
        path: folder of the store.
        corpus_digest, text: what the batches were made from, recorded in the manifest.
        progress: told the number of tokens as they are done.

    Raises RunError where the folder holds a store of another recipe, CorpusError where no token is kept, SiteError,
    VectorError (NaN from the model, values beyond float16) and DiskFullError (finished shards are intact).
    """
    config = config or CaptureConfig()
    folder = Path(path)
    wanted = [Site.parse(site) for site in sites]
    if not wanted or len(set(wanted)) < len(wanted):
        raise SiteError(f"Give one site or more, each once; given are {', '.join(map(str, wanted)) or 'none'}.")
    if isinstance(batches, TokenBatches):
        corpus_digest = corpus_digest or batches.corpus.digest
        text = text or batches.config
    recipe = {
        "model": model.name,
        "model_digest": model.digest,
        "dtype": str(model.dtype).removeprefix("torch."),
        "corpus_digest": corpus_digest,
        "text": None if text is None else text.to_dict(),
        "sites": [str(site) for site in wanted],
        "codec": config.codec,
        "shard_rows": config.shard_rows,
        "extreme_norm": config.extreme_norm,
    }
    manifest = _begin(folder, recipe)
    manifest.about = _about(model, batches)
    capture = _Capture(model, wanted, folder, config, manifest, progress or SilentProgress())
    capture.run(iter(batches))
    return Store.open(folder)


def _about(model: LanguageModel, batches: Iterable[TokenBatch]) -> dict[str, Any]:
    """Return what dictionaries should say of the origin of these activations."""
    models = (model.first, model.second) if isinstance(model, ModelPair) else (model,)
    about: dict[str, Any] = dict(zip(("model", "other_model"), (one.name for one in models), strict=False))
    if isinstance(batches, TokenBatches):
        about |= {"dataset": batches.corpus.name, "prepend_bos": model.tokenizer.bos_id is not None}
    return about


def _begin(folder: Path, recipe: dict[str, Any]) -> Manifest:
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)
    manifest = Manifest.read(folder)
    if manifest is None:
        return Manifest(recipe=recipe)
    if lines := differences(manifest.recipe, recipe):
        raise RunError(
            f"The store {folder} was captured with another recipe ({'; '.join(lines)}). "
            "Capture into another folder, or remove this one first."
        )
    return manifest


@dataclass
class _Shard:
    """The rows of a shard while it fills.

    Rows are copied into place as they come, so that the thread that writes them has nothing to compute: torch's
    parallel loops in two threads at a time would take the processor from the model.
    """

    first_batch: int
    capacity: int
    rows: int = 0
    batches: int = 0
    tokens: int = 0
    sinks: int = 0
    extreme_tokens: int = 0
    extreme: dict[Site, int] = field(default_factory=dict)
    columns: dict[str, Tensor] = field(default_factory=dict)
    """Room for the rows; those of a shard that is written may be given, since new memory is slow at its first touch."""

    def add(self, batch: TokenBatch, rows: BatchRows, codec: CodecKind) -> None:
        """Take in one batch."""
        for site, flat in rows.flat.items():
            if is_plain(flat.dtype, codec):
                rows.put(site, self._room(values_key(site), len(rows.index), flat.shape[1:], DTYPES[codec]))
            else:
                coded = encode(rows.at(site), codec)
                self._put(values_key(site), coded.values)
                if coded.scale is not None:
                    self._put(scale_key(site), coded.scale)
            self.extreme[site] = self.extreme.get(site, 0) + rows.extreme[site]
        for key, ids, kind in (
            ("tokens", batch.tokens, torch.int32),
            ("document", batch.document, torch.int64),
            ("position", batch.position, torch.int32),
        ):
            self._put(key, ids.flatten().index_select(0, rows.index).to(kind))
        tokens = int(batch.attention_mask.sum())
        self.rows += len(rows.index)
        self.batches += 1
        self.tokens += tokens
        self.sinks += tokens - int(batch.keep.sum())
        self.extreme_tokens += rows.extreme_tokens

    def _put(self, key: str, part: Tensor) -> None:
        self._room(key, len(part), part.shape[1:], part.dtype).copy_(part)

    def _room(self, key: str, rows: int, width: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return the part of a column that the next rows are written to."""
        whole, end = self.columns.get(key), self.rows + rows
        if whole is None or len(whole) < end:
            larger = torch.empty((max(self.capacity, end), *width), dtype=dtype)
            if whole is not None:
                larger[: self.rows] = whole[: self.rows]
            self.columns[key] = whole = larger
        return whole[self.rows : end]

    def tensors(self) -> dict[str, Tensor]:
        """Tensors of the file by name."""
        return {key: whole[: self.rows] for key, whole in self.columns.items()}


class _Capture:
    """One call of capture_to_store."""

    def __init__(
        self,
        model: LanguageModel,
        sites: list[Site],
        folder: Path,
        config: CaptureConfig,
        manifest: Manifest,
        progress: Progress,
    ) -> None:
        self._folder, self._config, self._manifest, self._progress = folder, config, manifest, progress
        known = {Site.parse(name): norm for name, norm in manifest.typical_norms.items()}
        self._take = RowTaker(model, sites, config.extreme_norm, known)
        self._intact = {
            number: shard
            for number, shard in enumerate(manifest.shards)
            if shard.intact(folder, checksum=config.checksum)
        }

    def run(self, batches: Iterator[TokenBatch]) -> None:
        """Make every shard that is not there."""
        remaining = len(self._manifest.shards) - len(self._intact)
        if self._manifest.complete and remaining == 0:
            return
        number = first = 0
        finished: Future[None] | None = None
        written: _Shard | None = None
        spare: dict[str, Tensor] = {}
        with ThreadPoolExecutor(1, thread_name_prefix="shard-writer") as writer:
            while not (self._manifest.complete and remaining == 0):
                if (done := self._intact.get(number)) is not None:
                    self._skip(batches, done)
                    first += done.batches
                elif (shard := self._fill(batches, first, spare)) is None:
                    break
                else:
                    if finished is not None:
                        finished.result()
                    spare = {} if written is None else written.columns
                    finished, written = writer.submit(self._write, number, shard), shard
                    first += shard.batches
                    remaining -= 1
                number += 1
            if finished is not None:
                finished.result()
        if not self._manifest.rows:
            raise CorpusError("No token of the text is kept for training: the text is empty, or holds sinks only.")
        self._manifest.complete = True
        self._manifest.write(self._folder)

    def _skip(self, batches: Iterator[TokenBatch], done: ShardRecord) -> None:
        for _ in range(done.batches):
            if next(batches, None) is None:
                raise RunError(
                    f"The text ends before the end of the shard {self._folder / done.file}: it is not the text of this "
                    "store. Capture into another folder."
                )
        self._progress.advance(done.tokens)

    def _fill(self, batches: Iterator[TokenBatch], first: int, spare: dict[str, Tensor]) -> _Shard | None:
        """The next shard's rows, in room that is free by now, or None at the end of the text."""
        shard: _Shard | None = None
        for batch in batches:
            rows = self._take(batch)
            if shard is None:
                shard = _Shard(first, capacity=self._config.shard_rows + batch.tokens.numel(), columns=spare)
            if not self._manifest.widths and len(rows.index):
                self._describe(rows)
            shard.add(batch, rows, self._config.codec)
            self._progress.advance(int(batch.attention_mask.sum()))
            if shard.rows >= self._config.shard_rows:
                break
        return shard

    def _describe(self, rows: BatchRows) -> None:
        """Record what only the first rows can tell: widths, typical norms, and the error of each kind of codec."""
        manifest = self._manifest
        manifest.widths = {str(site): flat.shape[1] for site, flat in rows.flat.items()}
        samples = {str(site): rows.at(site)[:MEASURED_ROWS] for site in rows.flat}
        manifest.errors = {
            name: {kind: coding_error(sample, kind) for kind in BYTES} for name, sample in samples.items()
        }

    def _write(self, number: int, shard: _Shard) -> None:
        from safetensors.torch import save_file

        file = f"shard-{number:05d}.safetensors"
        path = self._folder / file
        with atomic_path(path) as temporary:
            tensors = shard.tensors()
            save_file(tensors, temporary)
            checksum, size = checksum_of(tensors, temporary), temporary.stat().st_size
        self._manifest.put(
            ShardRecord(
                file=file,
                rows=shard.rows,
                first_batch=shard.first_batch,
                batches=shard.batches,
                tokens=shard.tokens,
                sinks=shard.sinks,
                extreme={str(site): count for site, count in shard.extreme.items()},
                extreme_tokens=shard.extreme_tokens,
                bytes=size,
                checksum=checksum,
            )
        )
        self._manifest.typical_norms = {str(site): norm for site, norm in self._take.typical_norms.items()}
        self._manifest.write(self._folder)
