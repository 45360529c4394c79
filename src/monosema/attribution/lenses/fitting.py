"""Fitting of lenses on text, by the model's own outputs alone.

Tuned lens: W_l, b_l that bring the lens' distribution nearest to the model's,

    min KL(softmax(logits_L) ‖ softmax(unembed(norm(W_l x_l + b_l))))     (Belrose et al. 2023, arXiv:2303.08112)

Departures: the start is not the identity but the least-squares map to the final stream, each row weighed by the inverse
square of its norm, which the final norm takes out anyway; then Adam with a falling rate, on few positions a step.

Jacobian lens: W_l is the mean over texts and positions p of

    Σ_{p′ ≥ p} ∂x_L[p′] / ∂x_l[p]

the first 16 positions and the last left out on both sides, as in the reference code of Gurnee et al. 2026. All layers
come from the same backward passes, one for each number of the final stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from monosema.attribution.lenses.lens import Lens, stream_sites
from monosema.core import Config, InputError, progress_bar, torch_generator
from monosema.data import Corpus, Split, TextConfig, token_batches
from monosema.models import Transformer

SKIPPED = 16
"""First positions that a Jacobian lens leaves out: attention comes to rest there."""


class LensConfig(Config):
    """Settings of a lens' fit."""

    tokens: int = Field(60_000, ge=1_000)
    """Tokens of text for the least-squares start of a tuned lens."""
    steps: int = Field(200, ge=0)
    """Steps of Adam on the divergence."""
    rate: float = Field(1e-3, gt=0)
    """Its largest learning rate; it falls to 0 along a line."""
    positions: int = Field(64, ge=1)
    """Positions in a step, the same for all layers."""
    texts: int = Field(8, ge=1)
    """Texts that a Jacobian lens is the mean over."""
    window: int = Field(64, ge=SKIPPED + 3)
    """Tokens of a text."""
    seed: int = 0
    """Seed of the choice of positions."""


Streams = Float[Tensor, "layers rows d_model"]
"""The stream before each block, and what the last leaves, at positions that are not sinks."""


def text_streams(model: Transformer, corpus: Corpus, tokens: int, split: Split, window: int) -> Iterator[Tensor]:
    """Read a split of a corpus, batch by batch; see `Streams`."""
    config = TextConfig(window=min(window, model.context), batch=16, tokens=tokens, split=split)
    sites = stream_sites(model)
    for batch in token_batches(corpus, model.tokenizer, config):
        kept = model.activations(batch.tokens.to(model.device), sites, batch.attention_mask.to(model.device))
        keep = batch.keep.to(model.device)
        yield torch.stack([kept[site][keep].float() for site in sites])


def fit_tuned(model: Transformer, corpus: Corpus, config: LensConfig) -> Lens:
    """Fit a tuned lens on the training documents of a corpus.

    Raises:
        InputError: text with fewer rows than the model is wide.
    """
    parts = list(text_streams(model, corpus, config.tokens, "train", config.window))
    streams = torch.cat(parts, dim=1)
    if streams.shape[1] <= model.d_model:
        raise InputError(
            f"A tuned lens of width {model.d_model:,} needs more rows than that, and the text gave "
            f"{streams.shape[1]:,}: give more text, or a larger --tokens."
        )
    weights, biases = least_squares(streams)
    if config.steps:
        weights, biases = _descend(model, streams, weights, biases, config)
    about = {"model": model.name, "tokens": streams.shape[1], "steps": config.steps, "seed": config.seed}
    return Lens("tuned", weights.cpu(), biases.cpu(), about)


def least_squares(
    streams: Float[Tensor, "layers rows d_model"],
) -> tuple[Float[Tensor, "maps d_model d_model"], Float[Tensor, "maps d_model"]]:
    """Return the affine map of each layer but the last to the last, by least squares with a small ridge."""
    final = streams[-1].double()
    share = 1 / final.square().mean(1, keepdim=True).sqrt()
    weights, biases = [], []
    for x in streams[:-1]:
        rows = torch.cat((x.double(), torch.ones_like(share)), dim=1) * share
        squares = rows.T @ rows
        squares.diagonal().add_(1e-6 * squares.diagonal().mean())
        solved = torch.linalg.solve(squares, rows.T @ (final * share))
        weights.append(solved[:-1].T.float())
        biases.append(solved[-1].float())
    return torch.stack(weights), torch.stack(biases)


def _descend(
    model: Transformer, streams: Tensor, weights: Tensor, biases: Tensor, config: LensConfig
) -> tuple[Tensor, Tensor]:
    # Steps are as large as the stream is in each layer's own units: what is learned is the map of x / its size.
    sizes = streams[:-1].square().mean((1, 2)).sqrt()[:, None, None]
    final = streams[-1].square().mean().sqrt()
    learned = [(weights * sizes / final).requires_grad_(), (biases / final).requires_grad_()]
    optimiser = torch.optim.Adam(learned, lr=config.rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=config.steps)
    generator = torch_generator(config.seed, "tuned lens")
    with progress_bar("tuned lens", config.steps, "steps") as bar:
        for _ in range(config.steps):
            rows = torch.randint(streams.shape[1], (config.positions,), generator=generator)
            x = streams[:, rows.to(streams.device)]
            with torch.no_grad():
                goal = model.logits(model.ln_final(x[-1])).log_softmax(-1)
            optimiser.zero_grad()
            for layer in range(len(weights)):
                moved = (x[layer] / sizes[layer]) @ learned[0][layer].T + learned[1][layer]
                logs = model.logits(model.ln_final(moved * final)).log_softmax(-1)
                (goal.exp() * (goal - logs)).sum(-1).mean().backward()
            optimiser.step()
            schedule.step()
            bar.advance(1)
    return learned[0].detach() * final / sizes, learned[1].detach() * final


def fit_jacobian(model: Transformer, corpus: Corpus, config: LensConfig) -> Lens:
    """Fit a Jacobian lens on the training documents of a corpus.

    Raises:
        InputError: no text as long as a window.
    """
    text = TextConfig(window=min(config.window, model.context), batch=config.texts, split="train")
    whole = (batch.tokens for batch in token_batches(corpus, model.tokenizer, text) if batch.attention_mask.all())
    tokens = next(iter(whole), None)
    if tokens is None or len(tokens) < config.texts:
        raise InputError(f"The text has no {config.texts} windows of {text.window} tokens: give more of it.")
    weights = mean_jacobians(model, tokens.to(model.device))
    about = {"model": model.name, "texts": len(tokens), "window": text.window}
    return Lens("jacobian", weights.cpu(), None, about)


def mean_jacobians(
    model: Transformer, tokens: Int[Tensor, "texts pos"], skipped: int = SKIPPED
) -> Float[Tensor, "maps d_model d_model"]:
    """Return the mean Jacobian of the final stream by the stream before each block; see the module."""
    sites = stream_sites(model)
    seen = torch.zeros(tokens.shape[1], dtype=torch.bool, device=tokens.device)
    seen[skipped:-1] = True
    rows = list[Tensor]()
    with torch.enable_grad(), progress_bar("Jacobian lens", model.d_model, "rows") as bar:
        with model.edit(sites[0], _begun), model.capture(*sites, gradients=True) as kept:
            model.final_residual(tokens)
        sources, final = [kept[site] for site in sites[:-1]], kept[sites[-1]]
        for number in range(model.d_model):
            along = torch.zeros_like(final)
            along[:, seen, number] = 1
            found = torch.autograd.grad(final, sources, along, retain_graph=number < model.d_model - 1)
            rows.append(torch.stack([gradient[:, seen].float().mean((0, 1)) for gradient in found]))
            bar.advance(1)
    return torch.stack(rows, dim=1)


def _begun(x: Tensor) -> Tensor:
    """Return the stream as the leaf that gradients reach."""
    return x.detach().requires_grad_()


def mean_divergences(
    model: Transformer, lenses: Sequence[Lens], streams: Iterable[Tensor]
) -> Float[Tensor, "lenses layers texts"]:
    """Return KL(model ‖ lens) at each layer but the last, the mean of each batch."""
    found = list[Tensor]()
    with torch.no_grad():
        for part in streams:
            goal = model.logits(model.ln_final(part[-1])).log_softmax(-1)
            found.append(torch.tensor([_divergences(model, lens, part, goal) for lens in lenses]))
    return torch.stack(found, dim=-1)


def _divergences(model: Transformer, lens: Lens, part: Tensor, goal: Tensor) -> list[float]:
    logs = [lens.logits(model, x, layer).log_softmax(-1) for layer, x in enumerate(part[:-1])]
    return [float((goal.exp() * (goal - one)).sum(-1).mean()) for one in logs]
