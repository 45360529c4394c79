"""The training loop of the embedded model: steps, checkpoints, and measurements as it goes."""

from __future__ import annotations

import contextlib
import copy
import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from monosema.core import bf16_is_fast
from monosema.core.errors import ConfigError, InputError
from monosema.core.files import atomic_path
from monosema.data.tasks import ioi
from specimen.measures import loss_on_tokens, repeat_losses, score, task_scores
from specimen.phases import PHASES, Phase
from specimen.text import PAD, VOCABULARY, Corpus, batch

CHECKPOINT = "checkpoint.pt"
METRICS = "metrics.jsonl"
FIGURES = "skills.json"
"""Beside exported weights: the figures and how they were trained."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the model is trained.

    Attributes:
        tokens: tokens of the whole run.
        seed: seed of the weights and of every batch.
        phases: gone through in turn.
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
    phases: tuple[Phase, ...] = PHASES
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
            raise ConfigError(f"tokens must be positive, got {self.tokens}.")
        if not 0 <= self.decay_from < 1:
            raise ConfigError(f"decay_from must lie in [0, 1), got {self.decay_from}.")

    def rate(self, step: int, tokens: int) -> float:
        """Learning rate at a step, when `tokens` have been read."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        passed = max(0.0, tokens / self.tokens - self.decay_from) / (1 - self.decay_from)
        return self.learning_rate * (1 - (1 - self.final_share) * min(passed, 1.0))


@dataclass
class State:
    """Everything a run needs to go on, besides the model and the optimiser.

    `history` holds the phases that are over, `earlier` the training record of the weights that the run began with.
    """

    step: int = 0
    tokens: int = 0
    phase: int = 0
    phase_start: int = 0
    seconds: float = 0.0
    measured: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    earlier: dict[str, Any] | None = None


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
        bos_token_id=corpus.bos,
        eos_token_id=corpus.eos,
        pad_token_id=corpus.tokenizer.token_to_id(PAD),
        use_cache=False,
    )


def build(corpus: Corpus, settings: Settings, device: torch.device) -> tuple[LlamaForCausalLM, torch.optim.AdamW]:
    """A freshly initialised model, the same for a seed on every device, and its optimiser."""
    torch.manual_seed(settings.seed)
    model = LlamaForCausalLM(model_config(corpus)).float().to(device)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return model, torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)


def computing_copy(model: LlamaForCausalLM, device: torch.device) -> LlamaForCausalLM:
    """The model that computes: a bfloat16 copy, its attention spelt out for the compiler, where that is faster."""
    if not bf16_is_fast(device):
        return model
    copied = copy.deepcopy(model).bfloat16()
    copied.set_attn_implementation("eager")
    return copied


def loss_of(model: nn.Module, tokens: Tensor) -> Tensor:
    """Mean next-token loss in nats over rows of tokens."""
    logits = model(input_ids=tokens[:, :-1]).logits
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())


def take_step(
    model: nn.Module, computing: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, clip: float
) -> None:
    """Backward, the update on float32 weights, and the new weights back into a bfloat16 copy if there is one."""
    loss.backward()
    masters, copies = list(model.parameters()), list(computing.parameters())
    if computing is not model:
        for master, rounded in zip(masters, copies, strict=True):
            master.grad = None if rounded.grad is None else rounded.grad.float()
            rounded.grad = None
    nn.utils.clip_grad_norm_(masters, clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if computing is not model:
        with torch.no_grad():
            for rounded, master in zip(copies, masters, strict=True):
                rounded.copy_(master)


def measure(model: LlamaForCausalLM, corpus: Corpus, state: State, tasks: tuple[str, ...] | None) -> dict[str, float]:
    """The measures that steer the phases, and in the long run those of every skill, on a few hundred prompts."""
    got: dict[str, float] = {}
    first, second = repeat_losses(model, corpus, n=64, length=64, natural=True, seed=state.step)
    got |= {"repeats_natural_first": first, "repeats_natural_second": second}
    first, second = repeat_losses(model, corpus, n=64, length=64, natural=False, seed=state.step)
    got |= {"repeats_uniform_first": first, "repeats_uniform_second": second}
    for source in ("books_validation",) if tasks else ("books_validation", "code_validation"):
        got[f"loss_{source}"] = loss_on_tokens(model, corpus.sources[source], windows=16, context=256)
    rng = random.Random(state.step)
    unseen = score(model, corpus.tokenizer, ioi.prompts(rng, 200, "test", templates="unseen"))
    got |= {"ioi_unseen_accuracy": unseen.accuracy, "ioi_unseen_metric": unseen.metric}
    for name, scores in task_scores(model, corpus.tokenizer, rng, n=200, only=tasks).items():
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


class Run:
    """A training run in a folder: it goes on from the checkpoint there, or begins, with exported weights if given."""

    def __init__(
        self,
        corpus: Corpus,
        out: Path,
        settings: Settings,
        device: torch.device | None = None,
        start: Path | None = None,
    ) -> None:
        self.corpus, self.out, self.settings = corpus, out, settings
        self.device = device or torch.device("cpu")
        self.model, self.optimizer = build(corpus, settings, self.device)
        self.state = State()
        if (out / CHECKPOINT).exists():
            payload = torch.load(out / CHECKPOINT, weights_only=True, map_location=self.device)
            self.model.load_state_dict(payload["model"])
            self.optimizer.load_state_dict(payload["optimizer"])
            self.state = State(**payload["state"])
        elif start is not None:
            self._begin_with(start)
        self.computing = computing_copy(self.model, self.device)

    def _begin_with(self, weights: Path) -> None:
        """Take exported weights and their record; the optimiser and its warm-up begin anew, in the last phase.

        The weights have been through the short rows of the phases before it, and going through those again made the
        model forget text.
        """
        path = weights / FIGURES
        if not path.is_file():
            raise InputError(f"There are no exported weights in {weights}: {FIGURES} is missing.")
        exported = LlamaForCausalLM.from_pretrained(weights, dtype=torch.float32)
        self.model.load_state_dict(exported.state_dict())
        self.state.earlier = json.loads(path.read_text(encoding="utf-8"))["training"]
        self.state.tokens = self.state.earlier["tokens"]
        self.state.phase = len(self.settings.phases) - 1

    @property
    def phase(self) -> Phase:
        """The phase that the run is in."""
        return self.settings.phases[self.state.phase]

    def save(self) -> None:
        """Write the checkpoint through a temporary file."""
        payload = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "state": asdict(self.state),
        }
        with atomic_path(self.out / CHECKPOINT) as temporary:
            torch.save(payload, temporary)

    def step(self, forward: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        """One step of training; returns its loss."""
        started, state = time.monotonic(), self.state
        rows, context = self.phase.shapes[state.step % len(self.phase.shapes)]
        tokens = batch(self.corpus, self.phase.mix, rows, context, seed=self.settings.seed, step=state.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(state.step, state.tokens)
        loss = forward(self.computing, torch.from_numpy(tokens).to(self.device))
        take_step(self.model, self.computing, self.optimizer, loss, self.settings.clip)
        state.step += 1
        state.tokens += rows * context
        state.seconds += time.monotonic() - started
        return loss.detach()

    def measure(self, losses: list[Tensor], tokens_per_second: float) -> None:
        """Measure the skills, add a line to the metrics, and go to the next phase if this one is done."""
        state, phase = self.state, self.phase
        state.measured = measure(self.computing, self.corpus, state, phase.tasks)
        record: dict[str, Any] = {"step": state.step, "phase": phase.name, "tokens": state.tokens}
        record |= {"tokens_per_second": tokens_per_second, "lr": self.optimizer.param_groups[0]["lr"]}
        record |= {"loss": float(torch.stack(losses).mean()), **state.measured}
        with open(self.out / METRICS, "a", encoding="utf-8") as handle:
            rounded = {key: round(value, 5) if isinstance(value, float) else value for key, value in record.items()}
            handle.write(json.dumps(rounded) + "\n")
        steps = state.step - state.phase_start
        if state.phase + 1 < len(self.settings.phases) and phase.done(steps, state.measured):
            state.history.append({"phase": phase.name, "steps": steps, "end": state.tokens, **phase.record()})
            state.phase, state.phase_start = state.phase + 1, state.step


def train(
    corpus: Corpus,
    out: Path,
    settings: Settings,
    *,
    compiled: bool = True,
    stop_after: int | None = None,
    device: torch.device | None = None,
    start: Path | None = None,
) -> State:
    """Train to `settings.tokens`, or `stop_after` steps more; goes on from the checkpoint in `out` if there is one.

    `start` is a folder of exported weights to begin with where there is no checkpoint yet; their tokens count.
    """
    run = Run(corpus, out, settings, device, start)
    forward = torch.compile(loss_of, dynamic=False) if compiled else loss_of
    end = None if stop_after is None else run.state.step + stop_after
    saved, since, losses = time.monotonic(), (time.monotonic(), run.state.tokens), list[Tensor]()
    with _stop_signal() as stopped:
        while run.state.tokens < settings.tokens and not stopped and run.state.step != end:
            losses.append(run.step(forward))
            if (run.state.step - run.state.phase_start) % run.phase.measure_every == 0:
                run.measure(losses, (run.state.tokens - since[1]) / (time.monotonic() - since[0]))
                since, losses = (time.monotonic(), run.state.tokens), []
            if time.monotonic() - saved > settings.checkpoint_seconds:
                run.save()
                saved = time.monotonic()
    run.save()
    return run.state
