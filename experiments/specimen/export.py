"""Write the embedded model in Hugging Face's layout, with a model card and machine-readable figures beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from monosema.core.files import write_json
from specimen.evaluation import Figure, as_records
from specimen.text import BOS, EOS, PAD, SOURCES, VOCABULARY, Corpus
from specimen.training import FIGURES, Settings, State

CARD = "MODEL_CARD.md"
CHANCE = {"gender": 1 / 2, "truth": 1 / 2, "sentiment": 1 / 2, "weekdays": (1 / 7 + 1 / 12) / 2, "brackets": 1 / 3}
"""Accuracy of guessing; tasks that are not here (ioi, reviews) have two answers."""


def export(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Write weights (bfloat16), configuration and tokenizer; `AutoModelForCausalLM.from_pretrained` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.to(torch.bfloat16) for name, value in model.state_dict().items()}
    shipped = LlamaForCausalLM(model.config).to(torch.bfloat16)
    shipped.load_state_dict(state)
    ids = {f"{name}_token_id": tokenizer.token_to_id(token) for name, token in _special().items()}
    shipped.generation_config = GenerationConfig(**ids)
    shipped.config.use_cache = True
    shipped.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"rope_theta": 10_000.0, "torch_dtype": "bfloat16"})
    (folder / "model.safetensors").chmod(0o644)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=model.config.max_position_embeddings,
        clean_up_tokenization_spaces=False,
        **{f"{name}_token": token for name, token in _special().items()},
    )
    fast.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    write_json(folder / "tokenizer_config.json", settings | {"tokenizer_class": "PreTrainedTokenizerFast"})
    write_json(folder / "special_tokens_map.json", {f"{name}_token": token for name, token in _special().items()})


def _special() -> dict[str, str]:
    return {"bos": BOS, "eos": EOS, "pad": PAD}


def training_record(state: State, settings: Settings, corpus: Corpus, remarks: Sequence[str]) -> dict[str, Any]:
    """What was done to train these weights; remarks tell where the run departed from the recipe as it stands."""
    phases = [*state.history]
    if state.step > state.phase_start:
        steps, phase = state.step - state.phase_start, settings.phases[state.phase]
        phases.append({"phase": phase.name, "steps": steps, "end": state.tokens, **phase.record()})
    return {
        "earlier": state.earlier,
        "tokens": state.tokens,
        "steps": state.step,
        "planned_tokens": settings.tokens,
        "finished": state.tokens >= settings.tokens,
        "phases": phases,
        "remarks": list(remarks),
        "compute_seconds": round(state.seconds),
        "source_tokens": {name: len(tokens) for name, tokens in corpus.sources.items()},
        "source_shares": SOURCES,
        "seed": settings.seed,
        "learning_rate": settings.learning_rate,
    }


def write_card(folder: Path, figures: Sequence[Figure], training: dict[str, Any]) -> None:
    """Write `skills.json` and the card; every number in the card's tables comes from the arguments."""
    weights = (folder / "model.safetensors").read_bytes()
    digest = hashlib.sha256(weights).hexdigest()
    write_json(folder / FIGURES, {"weights_sha256": digest, "training": training, "figures": as_records(list(figures))})
    (folder / CARD).write_text(_card(figures, training, len(weights), digest), encoding="utf-8")


def _row(figure: Figure) -> str:
    if figure.unit == "share":
        numbers = f"{figure.value:.1%} | {figure.low:.1%} – {figure.high:.1%}"
    else:
        numbers = f"{figure.value:.3f} | {figure.low:.3f} – {figure.high:.3f}"
    return f"| {figure.name} | {figure.unit} | {numbers} | {figure.n} |"


def _runs(training: dict[str, Any]) -> list[dict[str, Any]]:
    """The records of all runs that made the weights, the first one first."""
    earlier = training.get("earlier")
    return [*(_runs(earlier) if earlier else ()), training]


def _phase_rows(training: dict[str, Any]) -> str:
    rows = []
    for number, run in enumerate(_runs(training), start=1):
        for done in run["phases"]:
            shapes = ", ".join(f"{rows_} × {context}" for rows_, context in done["shapes"])
            skills = ", ".join(f"{name} {weight:.1%}" for name, weight in done["skills"].items())
            text = max(0.0, 1 - done["repeats"] - sum(done["skills"].values()))
            rows.append(
                f"| {number} | {done['phase']} | {done['steps']:,} | {done['end']:,} | {shapes} | {text:.0%} | "
                f"{done['repeats']:.0%} | {skills} |"
            )
    return "\n".join(rows)


def _remarks(training: dict[str, Any]) -> str:
    """Where runs departed from the recipe, a list."""
    runs = _runs(training)
    several = (
        [
            f"The weights come of {len(runs)} runs; each began with the bfloat16 weights of the one before, a new "
            "optimiser and its warm-up, and the recipe as it stood then."
        ]
        if len(runs) > 1
        else []
    )
    lines = several + [
        f"Run {number}: {remark}" if several else remark
        for number, run in enumerate(runs, start=1)
        for remark in run["remarks"]
    ]
    return "".join(f"\n- {line}" for line in lines)


def not_learnt(figures: Sequence[Figure]) -> list[str]:
    """Names of the accuracies whose interval reaches down to chance, or lies below it."""
    names = [figure.name for figure in figures if figure.unit == "share"]
    lows = [figure.low for figure in figures if figure.unit == "share"]
    return [
        name.removesuffix(": accuracy")
        for name, low in zip(names, lows, strict=True)
        if low <= CHANCE.get(name.removesuffix(": accuracy"), 1 / 2)
    ]


def _card(figures: Sequence[Figure], training: dict[str, Any], size: int, digest: str) -> str:
    table = "\n".join(_row(figure) for figure in figures)
    shares = ", ".join(
        f"{name} {share:.0%} ({training['source_tokens'][name]:,} tokens)" for name, share in SOURCES.items()
    )
    state = (
        f"The run ended after {training['tokens']:,} tokens."
        if training["finished"]
        else f"These are the weights of an unfinished run: {training['tokens']:,} of "
        f"{training['planned_tokens']:,} planned tokens."
    )
    return f"""# specimen, the embedded language model

A small Llama (256 wide, 6 layers, 8 heads of 32, MLP 768, tied embeddings, context 512, byte-level BPE of
{VOCABULARY:,} tokens), large enough to have circuits worth opening and small enough to ship: {size / 1e6:.1f} MB in
bfloat16. It exists to be looked into. It knows a few skills well, writes poor English, and must not be used for
anything else.

This card is written by `make specimen`; no number in its tables is typed by hand.
Weights (SHA-256): `{digest}`.

## What it can do, on held-out prompts

| measured | unit | figure | 95 % interval | n |
|---|---|---|---|---|
{table}

**Not learnt** (the interval reaches down to chance): {"; ".join(not_learnt(figures)) or "none"}.

A prompt counts as right when the best correct answer has a higher logit than the best wrong one, or, where the unit is
probability, when the correct answers have more probability together. Chance is 50 % for ioi, gender, truth, sentiment
and reviews, 33 % for brackets, 11 % for weekdays on average. Intervals: Wilson for shares; normal over prompts,
sequences or windows for means. The loss is in nats a token of this tokenizer, on windows of 511 tokens after a bos; the
trigram (interpolated Kneser–Ney) was fitted on the same training text and sees the same windows.

What held out means: ioi, pairs of names and pairs of place and object that no training sentence has, and where it says
so templates that none has; greater_than, triples of noun, century and year; gender, pairs of subject and template;
truth, triples of phrasing, subject and object (the fact is known from its other phrasing); sentiment, triples of noun
and two sentiment words; weekdays, phrasing × number × direction × start (the sum is known from other phrasings);
brackets, the first six words of a string; repeats, drawn afresh. `monosema.data.tasks` decides by checksum. Books and
code: five books and a twenty-fifth of the modules, none of them in training.

## How it was trained

{state} Seed {training["seed"]}; AdamW, learning rate {training["learning_rate"]}, constant and then falling linearly.

| run | phase | steps | tokens read at its end | rows × context | text | repeats | skills |
|---|---|---|---|---|---|---|---|
{_phase_rows(training)}

Text rows: {shares}. Skill sentences are generated by `monosema.data.tasks`.
{_remarks(training)}

## Sources and licences

Classic books, presidential speeches and the Universal Declaration of Human Rights: public domain. Film reviews:
polarity data set 2.0 of Bo Pang and Lillian Lee, CC BY 4.0. Code: the Python standard library, Python Software
Foundation licence. First names: selected from the list by Mark Kantrowitz and Bill Ross, with thanks.

## Limits

It saw little text, most of it old: it will reproduce the attitudes of those books, and its customary genders of names
and nouns are a fact about its training sentences, not about people. It states falsehoods fluently.
"""
