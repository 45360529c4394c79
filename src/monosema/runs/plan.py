"""What a run will take: memory, disk, time and money, predicted for a recipe and a machine before anything is done.

Time is the larger of what the arithmetic, the devices' memory, the network and the disk take, at the share of their
rates that the machine states; memory and disk follow from sizes alone. See `training.footprint` for what was measured.

End-to-end training adds to every step two passes of the model forwards, one back from the logits to the site, and what
these hold. The stages explain and score are those of programs, which ask no language model: the model reads so many
tokens of short texts for each feature as finished runs counted, and scoring is a processor's work on any machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from monosema.activations.codec import BYTES as CODEC_BYTES
from monosema.atlas.blocks import BYTES_PER_ACTIVATION as SPILLED
from monosema.atlas.effects import CELLS as EFFECT_CELLS
from monosema.core import ConfigError
from monosema.evaluation.losses import CHUNK_BYTES, CHUNK_ROWS, ROOMS
from monosema.evaluation.passes import INSIDE
from monosema.interpretation.measuring import CELLS, READ_TOKENS
from monosema.interpretation.pool import BYTES_PER_ACTIVATION
from monosema.runs.budget import CONTROL_ROWS, VERSIONS, evaluation_budget
from monosema.runs.machines import Machine
from monosema.runs.model_shape import ModelShape
from monosema.runs.recipe import Recipe
from monosema.training import held_out_rows
from monosema.training.footprint import Layout, training_footprint

ADAM_BYTES = 28
"""Bytes that the optimiser moves for a parameter: it reads value, gradient and two moments, and writes three."""
ENCODER_BYTES, DECODER_BYTES = ADAM_BYTES + 10, ADAM_BYTES + 28
"""With the gradient's writing; the encoder's copy for products; the decoder's projection and unit norms."""

LOGITS = 11
"""Matrices of tokens × vocabulary that end-to-end training holds at once: logits, log-probabilities, gradients and what
the allocator keeps of them; measured on a processor."""
KEPT_OF_LAYER = 2.4
"""What a layer after the site keeps for the way back, as a multiple of what it holds going forwards; measured."""
TRIED_TOKENS, TRIED_TEXTS, PROPOSED_TOKENS = 26, 6, 5
"""For each passage that Neuron2Graph works on: tokens of the contexts and substitutes that it tries, texts that these
are, and tokens that the model proposes substitutes for; counted in runs with the built-in settings."""
JUDGING = 3e-3
"""Seconds that a processor core takes to score one explanation by all scorers of programs, with the default samples;
processor time, measured once, on 1,000 features of the built-in run on a busy machine."""
READING_PROCESS = 520e6
"""Bytes of a process that has imported all, read text and run a model, beside the model's weights; measured."""
COPIES = 6
"""What a block's passages take while they are drawn or scored, as a multiple of themselves; measured while scoring."""
SAMPLE_BYTES = 360
"""Bytes for each passage of 41 tokens that is drawn for a latent: tokens, activations, what it is."""


@dataclass(frozen=True)
class StagePlan:
    """What one stage takes.

    Attributes:
        stage: its name.
        hours: time on this machine.
        memory_gb: peak of one device, in 10⁹ bytes; of the process, where the device is a processor.
        disk_gb: what it leaves on the disk, checkpoints included.
        price: what the devices cost meanwhile; None where the machine has no price.
        bound: what takes the time: arithmetic, memory, network, disk or processor.
        fits: whether the memory suffices.
    """

    stage: str
    hours: float
    memory_gb: float
    disk_gb: float
    price: float | None
    bound: str
    fits: bool


@dataclass(frozen=True)
class Plan:
    """What a run takes on one machine.

    Attributes:
        machine: the machine.
        stages: capture, train, evaluate, atlas, explain, score.
        tokens: activations captured.
        steps: training steps.
        latent_shards: parts that the latents are divided into; the devices beyond that share the batch.
    """

    machine: Machine
    stages: tuple[StagePlan, ...]
    tokens: int
    steps: int
    latent_shards: int

    @property
    def hours(self) -> float:
        """Time of all stages, one after the other."""
        return sum(stage.hours for stage in self.stages)

    @property
    def price(self) -> float | None:
        """Price of all stages; None where the machine has none."""
        prices = [stage.price for stage in self.stages if stage.price is not None]
        return sum(prices) if len(prices) == len(self.stages) else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "machine": self.machine.to_dict(),
            "tokens": self.tokens,
            "steps": self.steps,
            "latent_shards": self.latent_shards,
            "stages": [asdict(stage) for stage in self.stages],
            "hours": self.hours,
            "memory_gb": max(stage.memory_gb for stage in self.stages),
            "disk_gb": sum(stage.disk_gb for stage in self.stages),
            "price": self.price,
        }


def plan(recipe: Recipe, shape: ModelShape, machine: Machine, latent_shards: int | None = None) -> Plan:
    """Predict what the recipe takes on a machine.

    Args:
        recipe: d_in is taken from the shape and the site, whatever the recipe says.
        latent_shards: parts to divide the latents into; None takes the fewest with which the training fits.

    Raises:
        ConfigError: a recipe without a number of tokens, or shards that don't divide the devices, or of a dictionary
            that is to train end to end.
    """
    end_to_end = recipe.training.objective == "end-to-end"
    if end_to_end and (latent_shards or 1) > 1:
        raise ConfigError("End-to-end training can't divide the latents: leave out --latent-shards.")
    if recipe.text.tokens is None:
        raise ConfigError("A plan needs to know how much text there is: give --tokens.")
    if latent_shards is not None and (latent_shards < 1 or machine.devices % latent_shards):
        raise ConfigError(f"{machine.devices} devices can't be divided into {latent_shards} shards of latents.")
    needs = _Needs(recipe, shape, machine)
    choices = [n for n in range(1, machine.devices + 1) if machine.devices % n == 0 and not (end_to_end and n > 1)]
    fitting = [n for n in choices if needs.training_gb(n) <= machine.memory_gb]
    shards = latent_shards or (fitting or choices)[0 if fitting else -1]
    stages = (needs.capture(), needs.train(shards), needs.evaluate(), needs.atlas(), needs.explain(), needs.score())
    return Plan(machine, stages, needs.tokens, needs.steps, shards)


class _Needs:
    """The stages' needs, from sizes."""

    def __init__(self, recipe: Recipe, shape: ModelShape, machine: Machine) -> None:
        sites = recipe.sites
        widths = [shape.site_width(site) for site in sites]
        self.recipe, self.shape, self.machine = recipe, shape, machine
        self.end_to_end = recipe.training.objective == "end-to-end"
        self.tokens = recipe.text.tokens or 0
        self.m, self.k = recipe.dictionary.n_latents, recipe.dictionary.expected_active
        # Both matrices of a transcoder together are as large as those of a dictionary between its two widths.
        self.d = sum(widths) // (len(widths) if recipe.output_site else 1)
        self.row_width = sum(widths)
        self.batch = recipe.stream.batch
        self.steps = max(1, self.tokens // self.batch) * recipe.stream.passes
        # Of a model that isn't ours the place of a module isn't known: all layers are counted.
        self.layers = max(shape.layers if site.layer is None else min(site.layer + 1, shape.layers) for site in sites)
        # A model and the copy that it is compared with are of one size.
        self.models = 1 if recipe.other_model is None else 2
        self.window = recipe.text.window if recipe.text.mode == "windows" else recipe.text.max_sentence
        self.row_bytes = self.row_width * CODEC_BYTES[recipe.capture.codec]
        self.parameters = 2.0 * self.m * self.d + self.m + self.d
        self.rate = machine.tflops * 1e12 * machine.share
        self.traffic = machine.memory_gb_s * 1e9 * machine.share

    def capture(self) -> StagePlan:
        """The model up to the site, on one device, and one row a token to the disk."""
        seconds = {
            "arithmetic": self.tokens * self._reading() / self.rate,
            "disk": self.tokens * self.row_bytes / (self.machine.disk_gb_s * 1e9),
        }
        # Two shards are in memory: one fills while the other is written.
        shards = 2 * self.recipe.capture.shard_rows * self.row_bytes if self.machine.processor else 0.0
        return self._stage("capture", seconds, self._model_bytes() + shards, self.tokens * self.row_bytes)

    def train(self, shards: int) -> StagePlan:
        """Steps of product, sparse sums, optimiser and communication; rows come from the disk meanwhile, or from the
        model where it trains end to end."""
        groups = self.machine.devices // shards
        rows, latents = -(-self.batch // groups), -(-self.m // shards)
        product = 2 * rows * latents * self.d / self.rate
        # Decode, the values' gradient, and both matrices' gradients read a row of d numbers for each active latent.
        sparse = 4 * rows * self.k * self.d * 4 / shards
        dense = latents * self.d * (ENCODER_BYTES + DECODER_BYTES)
        seconds = {
            "arithmetic": self.steps * (product + self._of_the_model(rows)),
            "memory": self.steps * (sparse + dense) / self.traffic,
            "network": self.steps * self._sent(groups, shards) / (self.machine.network_gb_s * 1e9),
        }
        row_bytes = 0 if self.end_to_end else self.row_bytes
        reading = self.steps * self.batch * row_bytes / (self.machine.disk_gb_s * 1e9)
        step = sum(seconds.values())
        bound = "disk" if reading > step else max(seconds, key=lambda name: seconds[name])
        state = 12 * self.parameters + 8 * self.m
        disk = (self.recipe.training.keep + 2) * state + 4 * self.parameters
        memory = self.training_gb(shards) * 1e9
        return self._stage("train", {bound: max(step, reading)}, memory, disk)

    def _of_the_model(self, tokens: int) -> float:
        """Seconds that the model takes in a step of end-to-end training: as it is, with the reconstruction in place,
        and back from the logits to the site, without gradients of its weights. Tokens that are not kept are few."""
        if not self.end_to_end:
            return 0.0
        rest = self.shape.flop(self.shape.layers - self.layers, self.window) + self.shape.head_flop
        whole = self.shape.flop(self.shape.layers, self.window) + self.shape.head_flop
        return tokens * (2 * whole + rest) / self.rate

    def _sent(self, groups: int, shards: int) -> float:
        """Bytes that a device sends in a step: gradients between groups, candidates and sums between shards."""
        ring = 2 * (groups - 1) / groups
        gradients = ring * 4 * self.parameters / shards
        rows = self.batch / groups
        # Candidates of k values and latents from each shard; reconstructions forward, their parts of x backward.
        between = (shards - 1) * rows * self.k * 12 + 2 * (shards - 1) / shards * rows * self.d * 4
        return gradients + (between if shards > 1 else 0)

    def training_gb(self, shards: int) -> float:
        """Peak memory of training on one device."""
        groups = self.machine.devices // shards
        layout = Layout(self.d, self.m, self.k, self.batch, self.machine.product, groups, shards)
        # Rows that are held out are in memory too: at most a tenth of all.
        row = self.row_width * 4 / 1e6
        stream_mb = min(self.recipe.stream.memory_mb, self.tokens * row) + held_out_rows(self.tokens) * row
        found = training_footprint(layout, self.machine.processor, stream_mb).total
        if self.end_to_end:
            tokens = -(-self.batch // groups)
            kept = KEPT_OF_LAYER * self._inside() + (4 * self.shape.width if self.recipe.training.downstream else 0)
            of_token = LOGITS * self.shape.vocab + (self.shape.layers - self.layers) * kept
            found += self.shape.parameters * self._width() + 4 * tokens * of_token
        return found / 1e9

    def evaluate(self) -> StagePlan:
        """Each version of the activations through the rest of the model, and its logits."""
        tokens = evaluation_budget(self.recipe, self.shape.layers, self.shape.width, self.shape.vocab)
        rest = self.shape.flop(self.shape.layers - self.layers, self.window) + self.shape.head_flop
        flop = self._reading() + VERSIONS * rest + 2 * 2 * self.d * self.m
        seconds = {"arithmetic": tokens * flop / self.rate}
        half = self.recipe.evaluation.memory_mb * 1e6 / 2
        forked = min(half, VERSIONS * self._positions() * INSIDE * self.shape.width * self._width())
        logits = min(half, ROOMS * max(CHUNK_BYTES, CHUNK_ROWS * 4 * self.shape.vocab))
        # Rows that controls are fitted on, and as many again while they are read and reconstructed; the dictionary, and
        # the random one beside it.
        sample = 2 * 4 * self.d * min(CONTROL_ROWS, self.tokens)
        memory = self._model_bytes() + 8 * self.parameters + max(sample, sample / 2 + forked + logits)
        return self._stage("evaluate", seconds, memory, 0.0)

    def atlas(self) -> StagePlan:
        """One pass of the model up to the site and the encoder; codes and passages to the disk."""
        config = self.recipe.atlas
        tokens = min(self.tokens, self.recipe.atlas_tokens or self.tokens)
        flop = self._reading() + 2 * self.d * self.m
        passages = 8.0 * self.m * (config.top + 10 * config.per_quantile) * (config.before + config.after + 1)
        codes = tokens * self.k * 6
        seconds = {
            "arithmetic": tokens * flop / self.rate,
            "disk": 2 * (codes + passages) / (self.machine.disk_gb_s * 1e9),
        }
        spilled = min(config.memory_mb * 1e6, tokens * self.k * SPILLED)
        effects = 2 * 4 * min(EFFECT_CELLS, self.m * self.shape.vocab) + 4 * self.shape.vocab * self.shape.width
        memory = self._model_bytes() + 4 * self.parameters + max(spilled, effects)
        return self._stage("atlas", seconds, memory, passages)

    def explain(self) -> StagePlan:
        """The text that samples are drawn from, then short texts for each feature."""
        features = min(self.m, self.recipe.explain.most or self.m)
        seconds = {"arithmetic": (self._pool_flop(self._pool_tokens()) + self._programs_flop(features)) / self.rate}
        pool = self._pool_tokens() * self.k * BYTES_PER_ACTIVATION
        memory = self._texts_bytes() + pool + COPIES * self._sample_bytes()
        return self._stage("explain", seconds, memory, self._sample_bytes() * features / self._block())

    def score(self) -> StagePlan:
        """Each explanation, and that which says nothing, against the samples; then the same for random latents."""
        recipe = self.recipe
        features = min(self.m, recipe.explain.most or self.m)
        random = min(self.m, recipe.score.random_latents)
        flop = 0.0
        if random:
            tokens = min(self.tokens, recipe.score.random_tokens)
            described = tokens * (self._reading() + 2 * self.d * self.m)
            flop = described + self._pool_flop(min(tokens, self._pool_tokens())) + self._programs_flop(random)
        judged = (len(recipe.explain.methods) + 1) * features + len(recipe.explain.methods) * random
        work = {"processor": judged * JUDGING, "arithmetic": flop / self.rate}
        bound = max(work, key=lambda part: work[part])
        of_random = self._texts_bytes() + recipe.atlas.memory_mb * 1e6 if random else 0.0
        judging = self.shape.parameters * self._width() + 4 * self.parameters + COPIES * self._sample_bytes()
        memory = max(of_random, judging)
        return self._stage("score", {bound: sum(work.values())}, memory, 0.0)

    def _texts_bytes(self) -> float:
        """The model with a batch of short texts, and the dictionary."""
        logits = min(READ_TOKENS * self.shape.vocab, CELLS) * 4
        return (self.shape.parameters + READ_TOKENS * self._inside()) * self._width() + logits + 4 * self.parameters

    def _block(self) -> int:
        """Latents that are worked on at once."""
        return min(self.m, self.recipe.explain.block, self.recipe.explain.most or self.m)

    def _sample_bytes(self) -> float:
        """Passages of a block of latents."""
        atlas, samples = self.recipe.atlas, self.recipe.samples
        passages = atlas.top + 10 * atlas.per_quantile + 2 * (samples.random + samples.inactive) + 4 * samples.near
        return self._block() * passages * SAMPLE_BYTES * (atlas.before + 1 + atlas.after) / 41

    def _pool_tokens(self) -> int:
        """Tokens of the text that samples are drawn from; it ends early where its codes fill the memory."""
        samples = self.recipe.samples
        return min(samples.tokens, int(samples.memory_mb * 1e6 / BYTES_PER_ACTIVATION / self.k))

    def _pool_flop(self, tokens: int) -> float:
        """The model up to the site, and the encoder."""
        return tokens * (self._reading() + 2.0 * self.d * self.m)

    def _programs_flop(self, features: int) -> float:
        """Neuron2Graph's texts up to the site, the encoder at their ends, and the whole model where it proposes."""
        config = self.recipe.explain
        if "Neuron2Graph" not in config.methods:
            return 0.0
        passages = features * config.neuron2graph.passages
        length = max(config.neuron2graph.lengths)
        tried = TRIED_TOKENS * self.shape.flop(self.layers, length) + TRIED_TEXTS * 2 * self.d * self.m
        proposed = PROPOSED_TOKENS * (self.shape.flop(self.shape.layers, length) + self.shape.head_flop)
        return passages * (tried + proposed)

    def _stage(self, name: str, seconds: Mapping[str, float], memory: float, disk: float) -> StagePlan:
        machine = self.machine
        if machine.processor and name != "train":
            memory += READING_PROCESS
        bound = max(seconds, key=lambda part: seconds[part])
        hours = seconds[bound] / 3600
        # What is rented is paid for, whether a stage uses it or not.
        price = None if machine.price_per_hour is None else hours * machine.devices * machine.price_per_hour
        return StagePlan(name, hours, memory / 1e9, disk / 1e9, price, bound, memory <= machine.memory_gb * 1e9)

    def _positions(self) -> int:
        return self.recipe.text.batch * self.window

    def _reading(self) -> float:
        """Arithmetic of a token's activations: each model up to the site."""
        return self.models * self.shape.flop(self.layers, self.window)

    def _model_bytes(self) -> float:
        """Weights, and what a layer holds at once of a batch."""
        return (self.models * self.shape.parameters + self._positions() * self._inside()) * self._width()

    def _inside(self) -> int:
        """Values of a position within a layer."""
        return 4 * self.shape.width + 2 * self.shape.mlp + 3 * self.shape.heads_width

    def _width(self) -> float:
        """Bytes of one of the model's numbers."""
        return 2.0 if self.machine.product == "bfloat16" else 4.0
