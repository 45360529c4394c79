"""Attribution graphs: direct effects among the latents of transcoders, errors, tokens and logits on one prompt.

    edge(s → t) = r_tᵀ J v_s

v_s is what the source adds to the residual stream at its position (c_s W_dec,s, ε, or the embedding), r_t what the
target reads (its encoder row, or the logit's unembedding less the mean of all), and J the model between them with
attention, norms and all other MLPs' outputs frozen. Edges into a latent, what latents outside of the graph add, and
biases sum to its pre-activation. Source: Ameisen et al. 2025, "Circuit Tracing" (Transformer Circuits); the choice of
latents is another: those of the largest total effect on the logits come first, so that no row of the others is ever
computed and memory is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from monosema.circuits.replacement import Linear, Replacement
from monosema.core import Config, InputError, Site
from monosema.dictionaries import Dictionary
from monosema.models import Transformer


class GraphConfig(Config):
    """Settings of an attribution graph."""

    max_logits: int = Field(10, ge=1)
    """Logits that are explained at most: the most probable."""
    logit_probability: float = Field(0.95, gt=0, le=1)
    """Probability that they have together, after which no more are taken."""
    max_latents: int = Field(2000, ge=1)
    """Latents in the graph at most: those of the largest total effect on the logits."""
    memory_mb: int = Field(1024, ge=64)
    """Megabytes that a batched backward pass may take."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptGraph:
    """The attribution graph of a prompt.

    Sources are latents, then errors (layer by layer, position by position), then tokens; targets are latents, then
    logits.

    Attributes:
        model: its name.
        tokens, texts: the prompt.
        n_layers: layers of the model.
        latents: layer, position and number of each latent.
        activations: of each latent.
        logits: ids of the tokens that are predicted.
        logit_texts: their texts.
        probabilities: of each.
        weights: the edges.
        outside: what active latents that are not in the graph add to each target.
        total_effects: effect of each latent on each logit along all ways.
        n_active: active latents on the prompt, of which those in the graph are a part.
    """

    model: str
    tokens: Int[Tensor, " pos"]
    texts: tuple[str, ...]
    n_layers: int
    latents: Int[Tensor, "latents 3"]
    activations: Float[Tensor, " latents"]
    logits: Int[Tensor, " logits"]
    logit_texts: tuple[str, ...]
    probabilities: Float[Tensor, " logits"]
    weights: Float[Tensor, "targets sources"]
    outside: Float[Tensor, " targets"]
    total_effects: Float[Tensor, "logits latents"]
    n_active: int

    @property
    def n_latents(self) -> int:
        """Number of latents in the graph."""
        return len(self.latents)

    @property
    def n_errors(self) -> int:
        """Number of error nodes."""
        return self.n_layers * len(self.tokens)

    @property
    def errors(self) -> slice:
        """Columns of the errors."""
        return slice(self.n_latents, self.n_latents + self.n_errors)

    @property
    def embeddings(self) -> slice:
        """Columns of the tokens."""
        return slice(self.errors.stop, self.errors.stop + len(self.tokens))

    def place(self, source: int) -> tuple[str, int, int, int | None]:
        """Return kind, layer, position and latent of a source; kinds are latent, error and token."""
        if source < self.n_latents:
            layer, position, latent = self.latents[source].tolist()
            return "latent", layer, position, latent
        layer, position = divmod(source - self.errors.start, len(self.tokens))
        return ("error", layer, position, None) if layer < self.n_layers else ("token", -1, position, None)


def attribution_graph(
    model: Transformer,
    transcoders: Mapping[Site | str, Dictionary],
    prompt: str | Int[Tensor, "1 pos"],
    config: GraphConfig | None = None,
) -> PromptGraph:
    """Return the attribution graph of a prompt's next token.

    Args:
        model: in float32.
        transcoders: one for each MLP, by the site that it reads.
        prompt: text, or token ids.

    Raises:
        InputError: no transcoder for a layer, a model in half precision, or no latent that is active.
    """
    tokens = torch.tensor(model.tokenizer.encode_batch([prompt])) if isinstance(prompt, str) else prompt
    return graph_of(Replacement(model, tokens.to(model.device), transcoders), config)


def graph_of(replacement: Replacement, config: GraphConfig | None = None) -> PromptGraph:
    """Return the attribution graph of a local replacement model."""
    config, model = config or GraphConfig(), replacement.model
    ids, probabilities, vectors = _targets(replacement, config)
    index, effects = _chosen(replacement, vectors, config.max_latents)
    activations = torch.stack(
        [replacement.codes[layer][position, latent] for layer, position, latent in index.tolist()]
    )
    rows, outside = list[Tensor](), list[Tensor]()
    with replacement.linear() as linear:
        size = _rows_at_once(replacement, config.memory_mb)
        readings = _Readings(replacement, linear, index, activations)
        for layer, coder in enumerate(replacement.coders):
            some = (index[:, 0] == layer).nonzero()[:, 0]
            for part in some.split(size) if len(some) else ():
                cotangents = activations.new_zeros(len(part), *linear.reads[layer].shape)
                cotangents[torch.arange(len(part)), 0, index[part, 1]] = coder.W_enc.detach()[index[part, 2]]
                readings.add(linear.reads[layer], cotangents, rows, outside)
        readings.add(linear.final, vectors[:, None, None], rows, outside)
    texts = model.tokenizer.tokens(replacement.tokens[0].tolist())
    return PromptGraph(
        model=model.name,
        tokens=replacement.tokens[0],
        texts=tuple(texts),
        n_layers=model.n_layers,
        latents=index,
        activations=activations,
        logits=ids,
        logit_texts=tuple(model.tokenizer.tokens(ids.tolist())),
        probabilities=probabilities,
        weights=torch.cat(rows),
        outside=torch.cat(outside),
        total_effects=effects,
        n_active=len(replacement.active()),
    )


class _Readings:
    """Edges into targets, from gradients at all leaves, position by position so that nothing is copied."""

    def __init__(self, replacement: Replacement, linear: Linear, index: Tensor, activations: Tensor) -> None:
        self.linear, self.n_latents, self.positions = linear, len(index), replacement.tokens.shape[1]
        self.start, self.vectors, self.columns = replacement.start, list[list[Tensor]](), list[list[Tensor]]()
        for layer, (coder, codes) in enumerate(zip(replacement.coders, replacement.codes, strict=True)):
            here = [((index[:, 0] == layer) & (index[:, 1] == at)).nonzero()[:, 0] for at in range(self.positions)]
            added = codes @ coder.directions
            parts = [coder.directions[index[some, 2]] * activations[some, None] for some in here]
            ends = torch.stack([replacement.errors[layer], added], dim=1)
            self.vectors.append([torch.cat(pair) for pair in zip(parts, ends, strict=True)])
            self.columns.append(here)

    def add(self, read: Tensor, cotangents: Tensor, rows: list[Tensor], outside: list[Tensor]) -> None:
        """Add rows of targets that read a value."""
        first, *grads = self.linear.gradients(read, cotangents)
        row = cotangents.new_zeros(len(cotangents), self.n_latents + self.positions * (len(grads) + 1))
        rest = cotangents.new_zeros(len(cotangents))
        for layer, grad in enumerate(grads):
            if grad is None:
                continue
            for at, (vectors, some) in enumerate(zip(self.vectors[layer], self.columns[layer], strict=True)):
                edges = grad[:, at] @ vectors.T
                row[:, some] = edges[:, :-2]
                row[:, self.n_latents + layer * self.positions + at] = edges[:, -2]
                rest += edges[:, -1] - edges[:, :-2].sum(1)
        assert first is not None
        row[:, -self.positions :] = (first * self.start).sum(-1)
        rows.append(row)
        outside.append(rest)


def _targets(replacement: Replacement, config: GraphConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Return the most probable tokens, their probabilities, and what reads each logit less the mean of all."""
    model = replacement.model
    whole = model.logits(replacement.final).float().softmax(-1)
    probabilities, ids = whole.topk(min(config.max_logits, model.vocab))
    enough = int((probabilities.cumsum(0) < config.logit_probability).sum()) + 1
    ids, weight = ids[:enough], model.unembed_weight.detach()
    return ids, probabilities[:enough].detach(), weight[ids] - weight.mean(0)


def _chosen(replacement: Replacement, vectors: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return the latents of the largest total effect in order of layer, position and number, and their effects."""
    active, effects = replacement.active(), replacement.total_effects(vectors)
    if not len(active):
        raise InputError("No latent of any transcoder is active on this prompt: take another one.")
    kept = effects.abs().amax(0).topk(min(most, len(active))).indices.sort().values
    return active[kept], effects[:, kept]


def _rows_at_once(replacement: Replacement, memory_mb: int) -> int:
    """Return how many targets a batched backward pass may have: gradients at leaves, and one layer's attention."""
    model, positions = replacement.model, replacement.tokens.shape[1]
    gradients = (model.n_layers + 4) * positions * model.d_model
    attention = 2 * model.n_heads * positions * (positions + model.d_model)
    return max(1, (memory_mb << 20) // (4 * (gradients + attention)))
