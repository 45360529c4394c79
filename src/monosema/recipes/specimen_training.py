"""The training loop of the embedded model: phases, steps, checkpoints, and measurements as it goes.

Training goes in three phases, since a model of this size trained on mixed text alone learns neither to repeat nor to
find the indirect object (10M tokens at chance); short contexts, many small steps and repeats drawn by natural token
frequencies make induction appear within 3M tokens, and it stays when the text comes in.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from .specimen_measures import loss_on_tokens, repeat_losses, task_scores
from .specimen_text import BOS, EOS, PAD, VOCABULARY, Corpus, Mix, batch

CHECKPOINT = "checkpoint.pt"
METRICS = "metrics.jsonl"


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training with one mix of rows.

    Attributes:
        name: its name in the metrics.
        shapes: (rows, context) of the steps, taken in turn.
        mix: what the rows hold.
        steps: least and greatest number of steps; the last phase ends with the tokens instead.
        until: (measure, bound, direction) that ends the phase once its least steps are done.
        measure_every: steps between measurements.
    """

    name: str
    shapes: tuple[tuple[int, int], ...]
    mix: Mix
    steps: tuple[int, int]
    until: tuple[str, float, str] | None
    measure_every: int

    def done(self, step_in_phase: int, measured: dict[str, float]) -> bool:
        """Whether the phase may end here, given the latest measurements."""
        least, most = self.steps
        if step_in_phase < least or self.until is None:
            return False
        name, bound, direction = self.until
        reached = name in measured and (measured[name] < bound if direction == "below" else measured[name] > bound)
        return reached or step_in_phase >= most


LONG_SKILLS = {
    "ioi": 0.055,
    "greater_than": 0.03,
    "gender": 0.03,
    "truth": 0.05,
    "sentiment": 0.025,
    "weekdays": 0.04,
    "brackets": 0.02,
}
PHASES = (
    Phase(
        name="induction",
        shapes=((32, 64),),
        mix=Mix(repeats=0.8, uniform=0.0, periods=(5, 24), skills={"ioi": 0.2}),
        steps=(900, 4000),
        until=("repeats_natural_second", 3.0, "below"),
        measure_every=50,
    ),
    Phase(
        name="skills",
        shapes=((32, 64),),
        mix=Mix(repeats=0.2, uniform=0.2, periods=(5, 24), skills={"ioi": 0.2}),
        steps=(600, 4000),
        until=("ioi_accuracy", 0.95, "above"),
        measure_every=100,
    ),
    Phase(
        name="long",
        shapes=((16, 256),) * 7 + ((8, 512),),
        mix=Mix(repeats=0.05, uniform=0.3, periods=(5, 128), skills=LONG_SKILLS),
        steps=(0, 0),
        until=None,
        measure_every=500,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the model is trained.

    Attributes:
        tokens: tokens of the whole run.
        seed: seed of the weights and of every batch.
        learning_rate: constant until `decay_from`, then linear to `final_share` of itself.
        betas: of AdamW.
        weight_decay: of AdamW, on matrices only.
        warmup: steps of linear warm-up.
        clip: bound of the gradient's norm.
        decay_from: share of the tokens after which the learning rate falls.
        final_share: share of the learning rate that is left at the end.
        checkpoint_seconds: seconds between checkpoints.
    """

    tokens: int = 60_000_000
    seed: int = 0
    learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.1
    warmup: int = 100
    clip: float = 1.0
    decay_from: float = 0.5
    final_share: float = 0.05
    checkpoint_seconds: float = 180.0

    def __post_init__(self) -> None:
        if self.tokens <= 0:
            raise ValueError(f"tokens must be positive, got {self.tokens}.")
        if not 0 <= self.decay_from < 1:
            raise ValueError(f"decay_from must lie in [0, 1), got {self.decay_from}.")

    def rate(self, step: int, tokens: int) -> float:
        """Learning rate at a step, when `tokens` have been read."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        passed = max(0.0, tokens / self.tokens - self.decay_from) / (1 - self.decay_from)
        return self.learning_rate * (1 - (1 - self.final_share) * min(passed, 1.0))


@dataclass
class State:
    """Everything a run needs to go on, besides the model and the optimiser."""

    step: int = 0
    tokens: int = 0
    phase: int = 0
    phase_start: int = 0
    seconds: float = 0.0
    measured: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)


def model_config(corpus: Corpus) -> LlamaConfig:
    """The architecture: 6.2M parameters."""
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=512,
        rope_theta=10_000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=corpus.tokenizer.token_to_id(BOS),
        eos_token_id=corpus.tokenizer.token_to_id(EOS),
        pad_token_id=corpus.tokenizer.token_to_id(PAD),
        use_cache=False,
    )


def build(corpus: Corpus, settings: Settings) -> tuple[LlamaForCausalLM, torch.optim.AdamW]:
    """A freshly initialised model and its optimiser."""
    torch.manual_seed(settings.seed)
    model = LlamaForCausalLM(model_config(corpus)).float()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return model, torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)


def loss_of(model: nn.Module, tokens: Tensor) -> Tensor:
    """Mean next-token loss in nats over rows of tokens, with matrix products in bfloat16."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(input_ids=tokens[:, :-1]).logits
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())


def save(out: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: State) -> None:
    """Write the checkpoint through a temporary file."""
    payload = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "state": asdict(state)}
    torch.save(payload, out / f"{CHECKPOINT}.tmp")
    os.replace(out / f"{CHECKPOINT}.tmp", out / CHECKPOINT)


def load(out: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None) -> State:
    """Read the checkpoint, if there is one."""
    if not (out / CHECKPOINT).exists():
        return State()
    payload = torch.load(out / CHECKPOINT, weights_only=True)
    model.load_state_dict(payload["model"])
    if optimizer is not None:
        optimizer.load_state_dict(payload["optimizer"])
    return State(**payload["state"])


def measure(model: LlamaForCausalLM, corpus: Corpus, state: State) -> dict[str, float]:
    """The measures that steer the phases, and in the long run those of every skill, on a few hundred prompts."""
    quick = PHASES[state.phase].name != "long"
    got: dict[str, float] = {}
    first, second = repeat_losses(model, corpus, n=64, length=64, natural=True, seed=state.step)
    got |= {"repeats_natural_first": first, "repeats_natural_second": second}
    first, second = repeat_losses(model, corpus, n=64, length=64, natural=False, seed=state.step)
    got |= {"repeats_uniform_first": first, "repeats_uniform_second": second}
    for source in ("books_validation",) if quick else ("books_validation", "code_validation"):
        got[f"loss_{source}"] = loss_on_tokens(model, corpus.sources[source], windows=16, context=256)
    rng = random.Random(state.step)
    for name, scores in task_scores(model, corpus.tokenizer, rng, n=200, only=("ioi",) if quick else None).items():
        got |= {f"{name}_accuracy": scores.accuracy, f"{name}_metric": scores.metric}
    return got


@contextlib.contextmanager
def _stop_signal() -> Iterator[list[bool]]:
    """A flag that SIGTERM and SIGINT set, so that a stopped run saves before it ends."""
    flag: list[bool] = []
    old = {number: signal.signal(number, lambda *_: flag.append(True)) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield flag
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _log(out: Path, record: dict[str, Any]) -> None:
    with open(out / METRICS, "a", encoding="utf-8") as handle:
        handle.write(json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in record.items()}) + "\n")


def train(corpus: Corpus, out: Path, settings: Settings, *, compiled: bool = True, stop_after: int | None = None) -> State:
    """Train to `settings.tokens`, or `stop_after` steps more; goes on from the checkpoint in `out` if there is one."""
    model, optimizer = build(corpus, settings)
    state = load(out, model, optimizer)
    forward = torch.compile(loss_of, dynamic=False) if compiled else loss_of
    last_save, since = time.monotonic(), (time.monotonic(), state.tokens)
    end = None if stop_after is None else state.step + stop_after
    losses: list[Tensor] = []
    with _stop_signal() as stopped:
        while state.tokens < settings.tokens and not stopped and state.step != end:
            phase = PHASES[state.phase]
            rows, context = phase.shapes[state.step % len(phase.shapes)]
            started = time.monotonic()
            tokens = torch.from_numpy(batch(corpus, phase.mix, rows, context, seed=settings.seed, step=state.step))
            for group in optimizer.param_groups:
                group["lr"] = settings.rate(state.step, state.tokens)
            loss = forward(model, tokens)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.detach())
            state.step += 1
            state.tokens += rows * context
            state.seconds += time.monotonic() - started
            if (state.step - state.phase_start) % phase.measure_every == 0:
                state.measured = measure(model, corpus, state)
                speed = (state.tokens - since[1]) / (time.monotonic() - since[0])
                record = {"step": state.step, "phase": phase.name, "tokens": state.tokens, "tokens_per_second": speed}
                record |= {"loss": float(torch.stack(losses).mean()), "lr": optimizer.param_groups[0]["lr"]}
                _log(out, record | state.measured)
                losses, since = [], (time.monotonic(), state.tokens)
                if state.phase + 1 < len(PHASES) and phase.done(state.step - state.phase_start, state.measured):
                    state.history.append({"phase": phase.name, "steps": state.step - state.phase_start, "end": state.tokens})
                    state.phase, state.phase_start = state.phase + 1, state.step
            if time.monotonic() - last_save > settings.checkpoint_seconds:
                save(out, model, optimizer, state)
                last_save = time.monotonic()
    save(out, model, optimizer, state)
    return state
