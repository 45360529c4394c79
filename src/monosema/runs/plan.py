"""Predictions of a run on this machine: arithmetic, time, memory and disk of its stages.

Memory is the peak of one process that makes all stages, which holds the model throughout, and follows from sizes; time
is the least that the arithmetic and the optimiser's traffic can take at rates measured here. The stages explain and
score are not predicted: their work depends on what the features turn out to be.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from monosema.activations.codec import BYTES as CODEC_BYTES
from monosema.atlas.blocks import BYTES_PER_ACTIVATION as SPILLED
from monosema.atlas.effects import CELLS as EFFECT_CELLS
from monosema.core import ConfigError, Site, choose_device, measure_machine
from monosema.evaluation.losses import CHUNK_BYTES, CHUNK_ROWS, ROOMS
from monosema.evaluation.passes import INSIDE
from monosema.kernels.encode import BLOCK_BYTES
from monosema.models import ModelFacts, model_facts
from monosema.runs.budget import CONTROL_ROWS, VERSIONS, evaluation_budget
from monosema.runs.interpretation import FITTED_ROWS
from monosema.runs.recipe import Recipe
from monosema.training import held_out_rows

PROCESS = 540e6
"""Bytes of a process that has imported everything, read text and run a model, beside the model's weights; measured."""
ADAM_BYTES = 66
"""Bytes that a step moves for a parameter: Adam reads value, gradient and two moments and writes three (28); the
gradient is written, the encoder copied for products, the decoder projected and brought to norm 1."""
STEP_ROWS, CODE_BYTES = 6, 44
"""Matrices of a batch's rows that a step holds at once; bytes of an active latent: value, latent, gradient, order."""
SAVING = 24
"""Bytes for each parameter while the folded copy is made and saved, parameters and moments included; measured."""
LOGITS, KEPT_OF_LAYER = 11, 2.4
"""End to end: matrices of tokens × vocabulary held at once, and what a layer after the site keeps for the way back, as
a multiple of what it holds going forwards; measured on a processor."""


@dataclass(frozen=True)
class Machine:
    """Rates of this machine.

    Attributes:
        device: its name.
        memory_gb: memory of the device, in 10⁹ bytes.
        gflops: matrix products in the model's precision, in 10⁹ operations a second.
        memory_gb_s: rate of the device's memory, in 10⁹ bytes a second.
        bf16: whether products are made in bfloat16.
        processor: whether the device is a processor, whose memory holds the program and waiting rows too.
    """

    device: str
    memory_gb: float
    gflops: float
    memory_gb_s: float
    bf16: bool
    processor: bool = True

    @classmethod
    def measured(cls, device: str | None = None) -> Machine:
        """Measure the machine, in a few seconds; `device` None is the best there is."""
        chosen = choose_device(device)
        facts = measure_machine(chosen)
        bf16 = facts.bf16_speedup >= 1.5
        source = torch.ones(2**26, device=chosen)
        target, seconds = torch.empty_like(source), float("inf")
        for _ in range(4):
            began = time.perf_counter()
            target.copy_(source)
            if chosen.type == "cuda":
                torch.cuda.synchronize(chosen)
            seconds = min(seconds, time.perf_counter() - began)
        rate = facts.bf16_gflops if bf16 else facts.fp32_gflops
        moved = 8 * source.numel() / seconds / 1e9
        return cls(facts.device, facts.memory_gb * 2**30 / 1e9, rate, moved, bf16, chosen.type != "cuda")


@dataclass(frozen=True)
class StagePlan:
    """Predictions of one stage.

    Attributes:
        stage: its name.
        tflop: arithmetic, in 10¹² operations; divide by another machine's rate for the time there.
        seconds: the least time on this machine.
        memory_gb: peak of the process, in 10⁹ bytes.
        disk_gb: what it leaves on the disk, checkpoints included.
    """

    stage: str
    tflop: float
    seconds: float
    memory_gb: float
    disk_gb: float


@dataclass(frozen=True)
class Plan:
    """Predictions of a run, by stage: capture and train, or open where a dictionary is given; evaluate, atlas."""

    machine: Machine
    stages: tuple[StagePlan, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with totals."""
        return {
            **asdict(self),
            "seconds": sum(stage.seconds for stage in self.stages),
            "memory_gb": max(stage.memory_gb for stage in self.stages),
            "disk_gb": sum(stage.disk_gb for stage in self.stages),
            "fits": max(stage.memory_gb for stage in self.stages) <= self.machine.memory_gb,
        }


def plan(recipe: Recipe, machine: Machine, facts: ModelFacts | None = None) -> Plan:
    """Predict what a recipe takes; weights of the model are not read.

    Args:
        recipe: widths are those of the model, whatever the recipe says.
        facts: of the model; None reads them.

    Raises:
        ConfigError: a recipe over items, or without a number of tokens; or a model whose configuration does not say
            its shape.
        UnknownModelError: no such model.
    """
    if recipe.of_items:
        raise ConfigError("A plan is of a language model's run; over items, training is nearly all: it says its steps.")
    facts = facts or model_facts(recipe.model.name)
    tokens = recipe.text.tokens
    if tokens is None:
        raise ConfigError("A plan needs to know how much text there is: give --tokens.")
    if facts.layers is None or facts.d_model is None or facts.vocab is None:
        raise ConfigError(f"The configuration of {facts.name} doesn't say layers, width and vocabulary.")
    layers, d_model, vocab, text = facts.layers, facts.d_model, facts.vocab, recipe.text
    m, k = recipe.dictionary.n_latents, recipe.dictionary.expected_active
    widths = [_width(facts, site) for site in recipe.sites]
    row = sum(widths)
    # Both matrices of a transcoder together are as large as those of a dictionary between its two widths.
    d = row // (len(widths) if recipe.output_site else 1)
    parameters = 2.0 * m * d + m + d
    number = 2.0 if machine.bf16 else 4.0  # bytes of one of the model's numbers
    batch = recipe.stream.batch
    steps = max(1, tokens // batch) * recipe.stream.passes
    window = text.window if text.mode == "windows" else text.max_sentence

    # Arithmetic of one token: a block has two operations a weight, and scores and weighted sums over half a window.
    heads = (facts.heads or 0) * (facts.d_head or 0) or d_model
    mlp = facts.d_mlp or 4 * d_model
    weights = facts.parameters.get("attention", 0) + facts.parameters.get("mlp", 0) or facts.parameters.get("others", 0)
    block = 2 * weights / layers + 2 * heads * window
    head = 2.0 * vocab * d_model
    # Of a model that isn't ours the place of a module isn't known: all layers are counted.
    before = max(layers if site.layer is None else min(site.layer + 1, layers) for site in recipe.sites)
    rest = (layers - before) * block + head
    # A model and the copy that it is compared with are of one size.
    models = 1 if recipe.other_model is None else 2
    reading = models * before * block

    # Memory: the model with what a layer holds of a batch, and what each stage holds beside it.
    inside = 4 * d_model + 2 * mlp + 3 * heads
    positions = text.batch * window
    host = 1 if machine.processor else 0
    process = host * PROCESS + models * facts.parameters["total"] * number
    passing = positions * inside * number
    row_bytes = row * CODEC_BYTES[recipe.capture.codec]

    def stage(name: str, flop: float, memory: float, disk: float, moved: float = 0.0) -> StagePlan:
        seconds = flop / (machine.gflops * 1e9) + moved / (machine.memory_gb_s * 1e9)
        return StagePlan(name, flop / 1e12, seconds, (process + memory) / 1e9, disk / 1e9)

    # Two shards are in memory: one fills while the other is written.
    shards = host * min(tokens, 2 * recipe.capture.shard_rows) * row_bytes
    capture = stage("capture", tokens * reading, passing + shards, tokens * row_bytes)

    # Two copies of the encoder's product, then Adam's state; rows wait, and a tenth at most is held out.
    product = m * (d + 2) * number + BLOCK_BYTES
    step = 20 * parameters + product + batch * (STEP_ROWS * d * 4 + k * CODE_BYTES)
    waiting = host * (min(recipe.stream.memory_mb * 1e6, tokens * row * 4.0) + held_out_rows(tokens) * row * 4)
    learning, of_model = 2.0 * batch * m * d, 0.0
    if recipe.training.objective == "end-to-end":
        learning += batch * (2 * (layers * block + head) + rest)
        kept = KEPT_OF_LAYER * inside + (4 * d_model if recipe.training.downstream else 0)
        of_model = 4 * batch * (LOGITS * vocab + (layers - before) * kept)
    # Decoding, the values' gradient and both matrices' gradients each read a row of d numbers for an active latent.
    moved = 16.0 * batch * k * d + m * d * ADAM_BYTES
    train = stage(
        "train",
        steps * learning,
        max(step, SAVING * parameters) + waiting + of_model,
        (recipe.training.keep + 2) * (12 * parameters + 8 * m) + 4 * parameters,
        steps * moved,
    )

    measured = evaluation_budget(recipe, layers, d_model, vocab)
    half = recipe.evaluation.memory_mb * 1e6 / 2
    forked = min(half, VERSIONS * positions * INSIDE * d_model * number)
    logits = min(half, ROOMS * max(CHUNK_BYTES, CHUNK_ROWS * 4 * vocab))
    # Rows that controls are fitted on: drawn from as many that wait, reconstructed, kept while the model runs.
    given, fitted = recipe.given is not None, min(CONTROL_ROWS, tokens)
    sample, waits = 4.0 * d * fitted, 0.0 if given else min(2 * half, tokens * row_bytes)
    evaluate = stage(
        "evaluate",
        measured * (reading + VERSIONS * rest + 4 * d * m) + (fitted * reading if given else 0),
        8 * parameters + sample + max(waits, sample, passing + forked + logits),
        0.0,
    )

    described, shown = min(tokens, recipe.atlas_tokens or tokens), recipe.atlas
    spilled = min(shown.memory_mb * 1e6, described * k * SPILLED)
    effects = 8 * min(EFFECT_CELLS, m * vocab) + 4 * vocab * d_model
    passages = 8.0 * m * (shown.top + 10 * shown.per_quantile) * (shown.before + shown.after + 1)
    # What each step frees is kept for the next by the allocator, but in blocks of other sizes.
    atlas = stage(
        "atlas", described * (reading + 2 * d * m), passing + 4 * parameters + spilled + effects + passages, passages
    )
    opened = stage("open", FITTED_ROWS * (reading + 2 * d * m), passing + 12 * parameters, 4 * parameters)
    return Plan(machine, (*((opened,) if given else (capture, train)), evaluate, atlas))


def _width(facts: ModelFacts, site: Site) -> int:
    """Return the values of a row at a site; of keys and values at most, where several queries share one."""
    part = site.component.split(".")[0]
    d_model = facts.d_model or 0
    if part == "mlp":
        return facts.d_mlp or 4 * d_model
    of_heads = (facts.heads or 0) * (facts.d_head or 0) if part in ("q", "k", "v", "z", "rot_q", "rot_k") else 0
    return of_heads or d_model
