"""Making an atlas: one pass over the text, then all tables, block of latents by block of latents.

text ─► encode ─► shards ─► statistics ─► blocks: passages, top tokens ─► features, examples
                     └──► co-activation ┐
dictionary ─► decoder cosines ──────────┴► neighbours;  ─► direct effects ─► promoted, suppressed
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from monosema.atlas.blocks import blocks, load_block
from monosema.atlas.code_shards import CodeShards
from monosema.atlas.columns import (
    example_columns,
    feature_columns,
    histogram_columns,
    neighbour_columns,
    site_columns,
)
from monosema.atlas.config import AtlasConfig
from monosema.atlas.effects import Effects, direct_effects, why_no_effects
from monosema.atlas.encode import encode_text
from monosema.atlas.inactive import Sample, inactive_columns
from monosema.atlas.judging import carried_over
from monosema.atlas.neighbours import Coactivation, coactivation_neighbours, decoder_neighbours
from monosema.atlas.passages import segments, select_examples
from monosema.atlas.query import Atlas, open_atlas
from monosema.atlas.recording import write_lock
from monosema.atlas.statistics import Statistics, gather_statistics
from monosema.atlas.tables import FORMAT, NAMES, describe, remove_unnamed, unused_path, write_table
from monosema.atlas.top_tokens import top_tokens
from monosema.core import ConfigError, Progress, SilentProgress, Site, digest, torch_generator, write_json
from monosema.data import TokenBatch
from monosema.dictionaries import Dictionary, SparseCoder, sites_read, written_at
from monosema.models import LanguageModel, resolve_site, vector_width

_MOST_LATENTS = 8192
_WORKERS = 2
"""Blocks of latents that are assembled at once; most of that work is outside the interpreter's lock."""
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def build_atlas(
    model: LanguageModel,
    dictionary: Dictionary,
    site: Site | str,
    batches: Iterable[TokenBatch],
    path: str | Path,
    config: AtlasConfig | None = None,
    progress: Progress | None = None,
) -> Atlas:
    """Look at all latents of a dictionary on a text at once, and write what is seen as tables.

    Killed at any moment, the same call goes on after the last finished span of the text and ends with the same
    tables. An older atlas in the folder can be read until the new one is whole; people's labels and votes outlive it
    (see `judging`).

    Args:
        model: where the activations come from.
        dictionary: whose latents to look at; a latent is active on a token where its code is above 0.
        site: where the dictionary reads; of a crosscoder, which reads all its sites, the one whose direct effects on
            tokens are shown. Of a transcoder these are of the site that it writes.
        batches: the text, from its beginning on; only kept tokens are looked at.
        path: folder of the tables.
        config: what to keep, and how much memory to use.
        progress: advanced by kept tokens.

    Returns:
        The atlas, open.

    Raises:
        ConfigError: the dictionary does not fit the site.
        SiteError: the model has no such site.
        CorpusError: the text has no kept tokens.
        DiskFullError: no room; what was finished before is intact.
    """
    site, path = Site.parse(site), Path(path)
    config, progress = config or AtlasConfig(), progress or SilentProgress()
    _require_width(model, dictionary, site)
    identity = dictionary_digest(dictionary)
    shards = CodeShards(path / ".spill", _key(model, identity, site, config))
    encode_text(model, dictionary, site, batches, shards, config.passage, config.memory_mb, progress)
    statistics = gather_statistics(shards, dictionary.n_latents)
    written, place = written_at(dictionary, site)
    writer, place = resolve_site(model, place)
    reason = why_no_effects(writer, written, place)
    effects = None if reason else direct_effects(writer, written, config.effects)
    absent = {} if reason is None else {"promoted": reason, "suppressed": reason}
    with write_lock(path):
        remove_unnamed(path)
        files = {name: unused_path(path, name) for name in NAMES}
        people = carried_over(path, identity)
        vocabulary = model.tokenizer.tokens(range(model.vocab))
        with write_table(files["vocabulary"], "vocabulary") as table:
            table.write({"token": np.arange(len(vocabulary)), "text": vocabulary})
        _write_latents(shards, statistics, effects, len(vocabulary), files, config)
        together = _write_neighbours(shards, statistics, dictionary, files["neighbours"], config)
        for name, rows in people.items():
            with write_table(files[name], name) as table:
                table.write(rows.to_pydict())
        with write_table(files["scores"], "scores"):
            pass
        _write_sites(dictionary, site, files["sites"])
        _write_meta(path, files, model, dictionary, identity, site, config, statistics, together, absent)
        remove_unnamed(path)
    if not config.keep_spill:
        shards.remove()
    return open_atlas(path)


def dictionary_digest(dictionary: Dictionary) -> str:
    """Hash a dictionary by its directions and its codes of fixed random rows."""
    state = hashlib.sha256()
    directions = dictionary.directions.detach()
    rows = torch.randn(16, dictionary.d_in, generator=torch_generator(0, "digest")).to(directions.device)
    with torch.inference_mode():
        codes = dictionary.encode(rows)
    for tensor in (directions.float(), codes.values.float(), codes.indices):
        state.update(str(tuple(tensor.shape)).encode())
        state.update(tensor.cpu().contiguous().numpy().tobytes())
    return state.hexdigest()[:16]


def _require_width(model: LanguageModel, dictionary: Dictionary, site: Site) -> None:
    sites = sites_read(dictionary, site)
    if site not in sites:
        raise ConfigError(f"This crosscoder's sites are {', '.join(one.short for one in sites)}, not {site.short}.")
    width = sum(vector_width(model, one) for one in sites)
    if width != dictionary.d_in:
        places, home = ", ".join(one.short for one in sites), dictionary.metadata.site
        raise ConfigError(
            f"The dictionary reads {dictionary.d_in} values and {places} of {model.name} has {width}."
            + (f" It belongs to {home.short}." if home else "")
        )


def _key(model: LanguageModel, identity: str, site: Site, config: AtlasConfig) -> dict[str, Any]:
    """Collect everything that the code shards depend on, apart from the text."""
    return {
        "format": FORMAT,
        "model": model.digest,
        "dtype": str(model.dtype),
        "dictionary": identity,
        "site": str(site),
        "passage": config.passage,
        "memory_mb": config.memory_mb,
    }


def _write_latents(
    shards: CodeShards,
    statistics: Statistics,
    effects: Effects | None,
    vocab: int,
    files: Mapping[str, Path],
    config: AtlasConfig,
) -> None:
    """Write the tables that go latent by latent."""
    memory_mb = config.memory_mb // _WORKERS
    sample = Sample.draw(shards, config) if config.inactive else None

    def columns(span: tuple[int, int]) -> list[tuple[str, dict[str, Any]]]:
        low, high = span
        block = load_block(shards, low, high, memory_mb)
        parts = segments(block)
        top, share = top_tokens(block, vocab, config.top_tokens)
        examples = select_examples(block, parts, shards, config)
        return [
            ("features", feature_columns(low, high, statistics, top, share, effects)),
            ("examples", example_columns(block, examples, shards, config)),
            *([] if sample is None else [("examples", inactive_columns(block, sample, config))]),
            ("histograms", histogram_columns(low, high, statistics)),
        ]

    with contextlib.ExitStack() as stack:
        names = ("features", "examples", "histograms")
        tables = {name: stack.enter_context(write_table(files[name], name)) for name in names}
        for parts in _in_order(columns, blocks(statistics.n_active, memory_mb, _MOST_LATENTS)):
            for name, rows in parts:
                tables[name].write(rows)


def _in_order(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Results in the order of the items, worked on in threads; no more are under way than there are workers."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        waiting: deque[Future[_Result]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) == _WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _write_neighbours(
    shards: CodeShards, statistics: Statistics, dictionary: Dictionary, file: Path, config: AtlasConfig
) -> Coactivation | None:
    kinds = {"decoder": decoder_neighbours(dictionary.directions.detach(), config.neighbours)}
    together = None
    if config.coactivation_tokens and config.neighbours:
        wanted = (dictionary.n_latents, statistics.tokens, config.coactivation_tokens, config.neighbours, config.seed)
        together = coactivation_neighbours(shards, *wanted)
        kinds["coactivation"] = together.neighbours
    with write_table(file, "neighbours") as table:
        for kind, pairs in kinds.items():
            table.write(neighbour_columns(kind, pairs))
    return together


def _write_sites(dictionary: Dictionary, site: Site, file: Path) -> None:
    """Write how much of each latent of a crosscoder is at which site; no rows for dictionaries that write one site."""
    with write_table(file, "sites") as table:
        if isinstance(dictionary, SparseCoder) and dictionary.n_sites > 1:
            shares = dictionary.relative_norms().detach().cpu().numpy()
            table.write(site_columns(shares, [one.short for one in sites_read(dictionary, site)]))


def _write_meta(
    path: Path,
    files: Mapping[str, Path],
    model: LanguageModel,
    dictionary: Dictionary,
    identity: str,
    site: Site,
    config: AtlasConfig,
    statistics: Statistics,
    together: Coactivation | None,
    absent: dict[str, str],
) -> None:
    edges = statistics.buckets.tolist()
    write_json(
        path / "meta.json",
        {
            "format": FORMAT,
            "model": {"name": resolve_site(model, site)[0].name, "digest": model.digest},
            "site": str(site),
            "dictionary": {"digest": identity, "n_latents": dictionary.n_latents, "d_in": dictionary.d_in},
            "config": config.to_dict(),
            "text": {
                "tokens": statistics.tokens,
                "left_out": statistics.positions - statistics.tokens,
                "passages": statistics.passages,
                "coactivation_tokens": 0 if together is None else together.tokens,
            },
            "alive": int((statistics.n_active > 0).sum()),
            "position_buckets": [[low, high] for low, high in itertools.pairwise(edges)],
            "absent": absent,
            "id": digest([model.digest, identity, str(site), config.to_dict()]),
            "tables": {name: describe(file) for name, file in files.items()},
        },
    )
