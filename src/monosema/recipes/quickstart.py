"""The whole walk on one screen: what each station takes and gives, without a run folder's book-keeping.

    text ─► tokens ─► activations ─► dictionary ─► metrics ─► atlas ─► explanations ─► scores ─► report

`monosema.recipes.demo` is the same walk as a recipe, whose stages go on after a kill.
"""

from __future__ import annotations

from pathlib import Path

from monosema.activations import StoreStream, capture_to_store, fit_preprocessing
from monosema.atlas import Atlas, build_atlas, record
from monosema.data import Split, TextConfig, TokenBatches, open_corpus, token_batches
from monosema.dictionaries import Metadata, SparseCoder, TopK, load_dictionary
from monosema.evaluation import evaluate
from monosema.interpretation import (
    ScoringConfig,
    ScoringSession,
    Subject,
    atlas_scores,
    by_latent,
    draw_samples,
    explain_latents,
)
from monosema.models import load_model
from monosema.pages import ReportData, write_report
from monosema.training import TrainConfig, train


def quickstart(
    out: Path, model: str = "specimen", text: str = "builtin", site: str = "3.resid_post", tokens: int = 1_000_000
) -> Atlas:
    """Read a text with a model, learn a dictionary of its activations at a site, describe and explain
    every feature, and score the explanations.

    Args:
        out: receives activations/, dictionary/, atlas/ and report.html.
    """
    lm, corpus = load_model(model), open_corpus(text)

    def read(split: Split, share: float) -> TokenBatches:
        return token_batches(corpus, lm.tokenizer, TextConfig(split=split, tokens=round(share * tokens)))

    store = capture_to_store(lm, read("train", 1.0), [site], out / "activations")
    stream = StoreStream(store, site, batch=min(4096, store.rows), preprocessing=fit_preprocessing(store, site))

    blank = SparseCoder(stream.d_in, 16 * stream.d_in, TopK(k=32), metadata=Metadata(lm.name, store.sites[0]))
    train(blank, stream, TrainConfig(), out / "dictionary")
    dictionary = load_dictionary(out / "dictionary")

    evaluation = evaluate(lm, dictionary, site, read("heldout", 0.05))
    atlas = build_atlas(lm, dictionary, site, read("train", 1.0), out / "atlas")

    subject = Subject(lm, dictionary, atlas)
    samples = draw_samples(subject, read("heldout", 0.05))
    session, scorers = ScoringSession(samples), ScoringConfig().make()
    for explanations in explain_latents(subject, samples).values():
        record(out / "atlas", by_latent(explanations))
        record(out / "atlas", scores=atlas_scores(session.scores(explanations, scorers), explanations, details=False))

    write_report(ReportData(title=f"{lm.name} at {site}", evaluation=evaluation.rows), atlas, out / "report.html")
    return atlas
