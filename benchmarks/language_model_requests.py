"""Requests and tokens that a language model is asked for a feature, beside delphi's defaults for the same scores.

    python benchmarks/language_model_requests.py RUN [--features 20]

Ours are counted on what would be asked of features of a run; nothing is sent. delphi's are computed from its documented
defaults (EleutherAI/delphi, delphi/config.py: 40 passages of 32 tokens to explain; 50 activating and 50 other passages
to score; 5 passages in a scoring request) and from the size of its instructions with their worked examples, on passages
of the same text. Both at four bytes a token. An explanation counts 20 tokens.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from monosema.atlas import Explanation
from monosema.interpretation import LanguageModelExplainerConfig, ScoringSession, draw_chosen, make_scorers
from monosema.interpretation.explainers.language_model import explanation_requests
from monosema.interpretation.model_scores import DryRunClient
from monosema.llm import Request
from monosema.runs import Run
from monosema.runs.context import RunContext
from monosema.runs.interpretation import heldout, subject_of

BYTES_A_TOKEN, EXPLANATION = 4, " ".join(["words"] * 14)
# Bytes of the prompts that eai-delphi 0.1.3 builds around no passages: instructions and worked examples.
DELPHI_EXPLAIN, DELPHI_DETECTION, DELPHI_FUZZING = 2_479, 2_228, 2_669
DELPHI_TRAIN, DELPHI_TEST, DELPHI_EACH, DELPHI_LENGTH = 40, 100, 5, 32


def size(requests: list[Request]) -> int:
    return sum(len(message.content.encode()) for request in requests for message in request.messages)


def row(name: str, requests: int, read: float, written: float, features: int) -> dict[str, float | str]:
    return {
        "what": name,
        "requests": requests / features,
        "tokens read": read / BYTES_A_TOKEN / features,
        "tokens written": written / features,
    }


def ours(run: Path, features: int) -> tuple[list[dict[str, float | str]], float, float]:
    ctx = RunContext(Run.open(run).recipe, run, "cpu")
    subject = subject_of(ctx)
    samples = draw_chosen(subject, heldout(ctx), ctx.recipe.samples, None, features)
    tokenizer, n = ctx.model.tokenizer, len(samples.latents)
    said = dict.fromkeys(samples.latents.tolist(), Explanation("nobody", "words", None, None, EXPLANATION))
    rows = []
    for form in ("activations", "highlighted"):
        asked = list(explanation_requests(samples, tokenizer, LanguageModelExplainerConfig(form=form)).values())
        rows.append(row(f"explanation ({form})", len(asked), size(asked), 20 * len(asked), n))
    for name in ("detection", "fuzzing", "simulation"):
        rehearsal = DryRunClient("nobody")
        ScoringSession(samples, tokenizer).asking(rehearsal).scores(said, make_scorers([name]))
        lines = sum(r.messages[-1].content.count("\n") for r in rehearsal.requests)
        answers = (4 if name == "simulation" else 2) * lines
        rows.append(row(name, len(rehearsal.requests), size(rehearsal.requests), answers, n))
    shown = samples.ids[np.unique(samples.passage)]
    texts = [tokenizer.decode(ids[ids >= 0].tolist()) for ids in shown]
    tokens = (shown >= 0).sum()
    active = (samples.activations[samples.active] > 0).sum(axis=1).mean()
    return rows, sum(len(text.encode()) for text in texts) / tokens, float(active)


def delphi(bytes_a_token: float, active: float) -> list[dict[str, float | str]]:
    passage = DELPHI_LENGTH * bytes_a_token + len("Example 10: ")
    # Of each token that activates: its text, its activation, and signs around both.
    train = DELPHI_TRAIN * (passage + len("Activations: ") + active * (bytes_a_token + len('("", 10), ')))
    asked = DELPHI_TEST // DELPHI_EACH
    batch = len(EXPLANATION) + DELPHI_EACH * passage
    return [
        row("explanation", 1, DELPHI_EXPLAIN + train, 20, 1),
        row("detection", asked, asked * (DELPHI_DETECTION + batch), asked * 2 * DELPHI_EACH, 1),
        row("fuzzing", asked, asked * (DELPHI_FUZZING + batch), asked * 2 * DELPHI_EACH, 1),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--features", type=int, default=20)
    arguments = parser.parse_args()
    mine, bytes_a_token, active = ours(arguments.run, arguments.features)
    theirs = delphi(bytes_a_token, active)
    for name, rows in (("monosema", mine), ("delphi's defaults", theirs)):
        print(f"{name:24}{'requests':>10}{'tokens read':>14}{'tokens written':>16}   a feature")
        for one in rows:
            print(f"  {one['what']:22}{one['requests']:10.1f}{one['tokens read']:14.0f}{one['tokens written']:16.0f}")
    print(json.dumps({"monosema": mine, "delphi": theirs}))


if __name__ == "__main__":
    main()
