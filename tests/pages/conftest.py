"""A make-believe atlas in the real tables: features that fire on words of Python's own documentation."""

from __future__ import annotations

import hashlib
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from chromium import asked_elsewhere, complaints, forget

from monosema.atlas.tables import FORMAT, NAMES, describe, schema
from monosema.core import Estimate, write_json
from monosema.evaluation import EvaluationRow
from monosema.evaluation.result import DensityHistogram
from monosema.pages import ReportData, StageRow
from monosema.runs import Run

NASTY = [
    "</script><img src=x onerror=alert(1)>",
    "<!--",
    "&amp;",
    "\n",
    "\t",
    "   ",
    "\u202eabc",
    " 한국어",
    "\u2028",
    '"',
    "\x00",
    "",
]


def _corpus(documents: int) -> list[list[str]]:
    from pydoc_data import topics

    texts = [text for _, text in sorted(topics.topics.items())][:documents]
    return [re.findall(r" ?\w+|\n+| +|[^\w\s]", text)[:4000] for text in texts]


def write_atlas(
    folder: Path,
    n: int = 96,
    top: int = 20,
    quantile: int = 5,
    documents: int = 12,
    seed: int = 0,
    nasty: bool = False,
    scores: bool = True,
) -> Path:
    """Write all tables of an atlas of `n` latents into `folder`; every eleventh latent is dead."""
    random = np.random.default_rng(seed)
    corpus = _corpus(documents)
    if nasty:
        corpus[0] = (NASTY * 40)[:400] + corpus[0]
    places: dict[str, list[tuple[int, int]]] = {}
    for d, tokens in enumerate(corpus):
        for i, token in enumerate(tokens):
            places.setdefault(token, []).append((d, i))
    words = sorted(places, key=lambda word: (word not in NASTY if nasty else False, -len(places[word]), word))
    targets = [words[i % len(words)] for i in range(n)]
    alive = np.array([i % 11 != 7 for i in range(n)])
    total = sum(len(tokens) for tokens in corpus)
    n_active = np.array([len(places[target]) * 3 * a for target, a in zip(targets, alive, strict=True)])
    maximum = np.where(alive, random.gamma(4, 2, n), 0).astype(np.float32)
    score = np.where(alive, np.clip(random.beta(3, 2, n), 0, 1), np.nan)
    nearby = random.integers(0, len(words), (n, 20))
    number = {word: id for id, word in enumerate(words)}
    label = [f"the token {t.strip() or 'blank'!r}" if a else "" for t, a in zip(targets, alive, strict=True)]
    if nasty:
        label[1] = "</script><script>alert('label')</script> 한국어 라벨"
    features = {
        "latent": pa.array(np.arange(n, dtype=np.int32)),
        "alive": pa.array(alive),
        "density": pa.array(n_active / (total * 3.0)),
        "n_active": pa.array(n_active.astype(np.int64)),
        "mean": pa.array((maximum * n_active / (total * 9)).astype(np.float32)),
        "mean_active": pa.array((maximum / 3).astype(np.float32)),
        "max": pa.array(maximum),
        "promoted_ids": pa.array(nearby[:, :10].tolist()),
        "promoted_logits": pa.array(
            [sorted(row, reverse=True) for row in random.gamma(3, 0.3, (n, 10)).tolist()], pa.list_(pa.float32())
        ),
        "suppressed_ids": pa.array(nearby[:, 10:].tolist()),
        "suppressed_logits": pa.array(
            [sorted(row) for row in (-random.gamma(2, 0.3, (n, 10))).tolist()], pa.list_(pa.float32())
        ),
        "position_profile": pa.array(
            (n_active[:, None] / total * random.random((n, 16))).tolist(), pa.list_(pa.float32())
        ),
        "top_token_ids": pa.array([[number[t], *row[:4].tolist()] for t, row in zip(targets, nearby, strict=True)]),
        "top_token_shares": pa.array([[0.6, 0.1, 0.05, 0.03, 0.01]] * n, pa.list_(pa.float32())),
    }
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"features": pa.table(features)}
    tables["vocabulary"] = pa.table({"token": np.arange(len(words)), "text": words})
    tables["examples"] = _examples(random, corpus, number, places, targets, alive, maximum, top, quantile)
    counts = (n_active[:, None] * np.exp(-np.arange(32) / 6)[None] / 6).astype(np.int64)
    tables["histograms"] = pa.table(
        {
            "latent": pa.array(np.arange(n, dtype=np.int32)),
            "low": pa.array(np.zeros(n, np.float32)),
            "high": pa.array(maximum),
            "counts": pa.array(counts.tolist()),
        }
    )
    near = [
        {"latent": i, "kind": kind, "rank": r, "other": int(o), "value": float(v)}
        for i in range(n)
        for kind in ("decoder", "coactivation")
        for r, (o, v) in enumerate(zip(random.integers(0, n, 6), np.sort(random.random(6))[::-1], strict=True))
    ]
    tables["neighbours"] = pa.Table.from_pylist(near)
    rows = np.flatnonzero(alive).tolist() if scores else []
    identity = {"author": "monosema", "method": "token lookup", "model": None, "prompt_version": None}
    explanations = [{"latent": i, **identity, "text": label[i], "program": None} for i in rows]
    tables["explanations"] = pa.Table.from_pylist(explanations, schema("explanations"))
    scored = [
        {
            "latent": i,
            **identity,
            "scorer": "simulation",
            "value": float(np.float32(score[i])),
            "low": float(score[i] - 0.06),
            "high": float(score[i] + 0.05),
            "n": 400,
            "interval": "bootstrap",
            "control": 0.04,
            "chance": 0.0,
            **{"random": 0.61, "random_low": 0.57, "random_high": 0.64, "random_n": 100},
        }
        for i in rows
    ]
    tables["scores"] = pa.Table.from_pylist(scored, schema("scores"))
    tables["votes"] = schema("votes").empty_table()
    sides = ("3.resid_post", "3.resid_post@other")
    shares = [
        {"latent": i, "place": place, "site": site, "share": abs(place - i / n)}
        for i in range(n if nasty else 0)
        for place, site in enumerate(sides)
    ]
    tables["sites"] = pa.Table.from_pylist(shares, schema("sites"))
    for name, table in tables.items():
        pq.write_table(table.select(schema(name).names).cast(schema(name)), folder / f"{name}.parquet")
    seal(folder, n, total * 3)
    return folder


def seal(folder: Path, n: int = 0, tokens: int = 0) -> None:
    """Write meta.json for the tables as they are."""
    meta = {
        "format": FORMAT,
        "model": {"name": "specimen", "digest": ""},
        "site": "blocks.3.hook_resid_post",
        "dictionary": {"digest": "", "n_latents": n, "d_in": 1},
        "text": {"tokens": tokens},
        "position_buckets": [],
        "absent": {},
        "tables": {name: describe(folder / f"{name}.parquet") for name in NAMES},
    }
    write_json(folder / "meta.json", meta)


def _examples(random, corpus, number, places, targets, alive, maximum, top, quantile) -> pa.Table:  # type: ignore[no-untyped-def]
    rows: dict[str, list] = {
        k: []
        for k in (
            "latent",
            "kind",
            "rank",
            "document",
            "position",
            "peak",
            "token_ids",
            "activations",
            "maximum",
            "passage_hash",
            "test",
        )
    }
    for i, target in enumerate(targets):
        if not alive[i]:
            continue
        where = places[target]
        for kind, many in [("top", top), *((f"q{q}", quantile) for q in range(10))]:
            for rank in range(min(many, len(where))):
                d, p = where[int(random.integers(len(where)))] if rank else where[0]
                a, b = max(0, p - 24), min(len(corpus[d]), p + 12)
                strength = maximum[i] * (1 - rank / 40 if kind == "top" else (int(kind[1:]) + 1) / 10)
                values = np.zeros(b - a, np.float32)
                values[p - a] = strength
                for extra in random.integers(0, b - a, 2):
                    values[extra] = max(values[extra], strength * 0.3)
                token_ids = [number[word] for word in corpus[d][a:b]]
                for key, value in (
                    ("latent", i),
                    ("kind", kind),
                    ("rank", rank),
                    ("document", d),
                    ("position", p),
                    ("peak", p - a),
                    ("token_ids", token_ids),
                    ("activations", values.tolist()),
                    ("maximum", float(strength)),
                    ("passage_hash", hashlib.sha256(repr((d, p, i)).encode()).hexdigest()[:16]),
                    ("test", rank % 2 == 1),
                ):
                    rows[key].append(value)
    types = {
        "latent": pa.int32(),
        "rank": pa.int16(),
        "document": pa.int64(),
        "position": pa.int32(),
        "peak": pa.int16(),
        "activations": pa.list_(pa.float32()),
        "maximum": pa.float32(),
        "token_ids": pa.list_(pa.int32()),
        "test": pa.bool_(),
    }
    return pa.table({key: pa.array(values, types.get(key, pa.string())) for key, values in rows.items()})


def report_data(title: str = "specimen, layer 3: a TopK dictionary") -> ReportData:
    """Facts of a run that never was."""
    e = lambda v, r=0.01: Estimate(v, v * (1 - r), v * (1 + r), 512)  # noqa: E731

    def row(name: str, kind: str, figures: dict[str, Estimate], absent: dict[str, str] | None = None) -> EvaluationRow:
        return EvaluationRow(name, kind, 4096, figures, absent or {}, DensityHistogram((-1.0, 0.0), (1,), 0))

    steps = np.arange(1, 121)
    training = [
        {
            "step": int(s),
            "tokens": int(s) * 8192,
            "fvu": float(0.18 + 0.8 * np.exp(-s / 14) + 0.004 * np.sin(s)),
            "l0": 32.0,
            "dead": float(0.05 * np.exp(-s / 60)),
            "loss": 1.0,
        }
        for s in steps
    ]
    return ReportData(
        title=title,
        model_name="specimen",
        site="blocks.3.hook_resid_post",
        architecture="TopK",
        corpus="builtin",
        tokens=1_000_000,
        heldout_tokens=65_536,
        sinks_left_out=7_812,
        created="21 November 2026, monosema 0.1.0, seed 0",
        evaluation=[
            row(
                "TopK, k = 32",
                "dictionary",
                {
                    **{"fvu": e(0.182), "variance_explained": e(0.818), "l0": e(32.0, 0), "alive": e(0.963)},
                    **{"loss_recovered": e(0.957), "kl": e(0.112, 0.04), "ce_clean": e(3.214), "ce_spliced": e(3.371)},
                    **{"ce_zero": e(7.9), "ce_mean": e(6.1)},
                },
            ),
            row(
                "PCA, 32 components",
                "pca",
                {
                    **{"fvu": e(0.39), "variance_explained": e(0.61), "l0": e(32.0, 0), "loss_recovered": e(0.71)},
                    **{"kl": e(0.94), "ce_spliced": e(4.57)},
                },
                {"alive": "does not apply"},
            ),
            row(
                "random dictionary",
                "random",
                {
                    **{"fvu": e(0.83), "variance_explained": e(0.17), "l0": e(32.0, 0), "alive": e(1.0, 0)},
                    **{"loss_recovered": e(0.12), "kl": e(3.4), "ce_spliced": e(7.31)},
                },
            ),
        ],
        training=training,
        stages=[
            StageRow(name="capture", seconds=38.2, note="1,000,000 tokens"),
            StageRow(name="train", seconds=71.4),
            StageRow(name="evaluate", seconds=14.0),
            StageRow(name="atlas", seconds=63.9),
            StageRow(name="report", seconds=None, note="reused"),
        ],
        recipe={
            "model": "specimen",
            "site": "3.resid_post",
            "tokens": 1_000_000,
            "seed": 0,
            "train": {"k": 32, "latents": 4096, "batch": 4096, "lr": 0.0008},
        },
        model={"layers": 6, "d_model": 256, "heads": 8, "vocabulary": 8192, "parameters": 6_300_000, "context": 512},
    )


@pytest.fixture(scope="session")
def fake_atlas() -> Callable[..., Path]:
    """`write_atlas`, which writes an atlas of make-believe features."""
    return write_atlas


@pytest.fixture(scope="session")
def sealed() -> Callable[..., None]:
    """`seal`, for tests that change a table."""
    return seal


@pytest.fixture
def facts() -> ReportData:
    """Facts of a run that never was."""
    return report_data()


def write_graph(run: Run, folder: Path) -> None:
    """Write the graph of an answer to the folder of a circuit in a copy of a run."""
    from monosema.circuits import debug, show_debugged
    from monosema.models import load_model, require_decoder

    model, dictionary, text = load_model(run.recipe.model.name, dtype="float32"), run.dictionary(), "the end of a word"
    site = dictionary.metadata.site
    assert site is not None
    logits = model(torch.tensor([model.tokenizer.encode(text)]))[0, -1]
    wrong, right = sorted("xy", key=lambda one: -float(logits[model.tokenizer.encode(one, bos=False)[0]]))
    case = debug(require_decoder(model), dictionary, text, right, wrong)
    labels = {case.culprits[0].latent: "a label", case.culprits[1].latent: "a label"}
    about = {"prompt": text, "dictionaries": "../.."}
    show_debugged(case, model, site, labels, about).write(folder)


@pytest.fixture(scope="session")
def app(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the app over two copies of a finished run, and one whose recipe is damaged."""
    import uvicorn

    from monosema.server import create_app

    home = tmp_path_factory.mktemp("app") / "runs"
    for name in ("first", "second", "broken"):
        shutil.copytree(finished.folder, home / name, ignore=shutil.ignore_patterns("shard-*", "report"))
    (home / "broken" / "recipe.toml").write_text("garbage [")
    write_graph(finished, home / "first" / "circuits" / "answer")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(create_app([home]), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def page(browser: Any, app: str) -> Iterator[Any]:
    """A wide window with nothing kept, which must not complain or ask for anything elsewhere."""
    browser.set_window_size(1440, 900)
    browser.get(f"{app}/api/runs")
    browser.execute_script("localStorage.clear()")
    forget(browser)
    yield browser
    assert not [entry for entry in complaints(browser) if "favicon.ico" not in entry["message"]]
    assert not asked_elsewhere(browser, app)
