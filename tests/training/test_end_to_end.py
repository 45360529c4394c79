"""End-to-end training: the model's output decides, and only the dictionary learns."""

from __future__ import annotations

import json
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monosema.activations import (
    Preprocessing,
    StoreStream,
    open_vectors,
    read_windows,
    write_windows,
)
from monosema.core import ConfigError, CorpusError, SiteError
from monosema.data import TokenBatch
from monosema.dictionaries import SparseCoder, StepContext, load_dictionary, make_coder
from monosema.interventions import SplicedModel
from monosema.models import load_model, random_model
from monosema.training import EndToEnd, TrainConfig, Trainer, TrainingRun, train

SITE, WINDOW = "0.resid_post", 12
HALF = StepContext(50, 100, 400)


def batch_of(tokens: list[list[int]], keep_from: int = 1, padding: int = 0) -> TokenBatch:
    ids = torch.tensor(tokens)
    mask = torch.ones_like(ids, dtype=torch.bool)
    if padding:
        mask[:, -padding:] = False
    keep = mask.clone()
    keep[:, :keep_from] = False
    return TokenBatch(ids, mask, torch.zeros_like(ids), torch.zeros_like(ids), keep)


def some_windows(n: int = 6, seed: int = 0) -> torch.Tensor:
    """Windows of bytes as rows; the first token of each is not kept."""
    tokens = torch.randint(0, 250, (n, WINDOW), generator=torch.Generator().manual_seed(seed)).float()
    tokens[:, 0] = -1 - tokens[:, 0]
    return tokens


@pytest.fixture(scope="module")
def model():
    return random_model(seed=3).requires_grad_(True)


def end_to_end(model, kind="topk", config=None, downstream: float = 0.0, **options: object) -> EndToEnd:
    coder = make_coder(kind, model.d_model, **(config or {"n_latents": 48, "k": 4}))
    splice = SplicedModel.with_later_residuals(model, SITE) if downstream else SplicedModel(model, SITE)
    preprocessing = Preprocessing(torch.linspace(-0.2, 0.3, model.d_model), 1.7)
    made = EndToEnd(coder, splice, preprocessing, window=WINDOW, kept=WINDOW - 1.0, downstream=downstream, **options)
    made.start(some_windows(20, seed=9), 0)
    return made


# ------------------------------------------------------------------------------------------------- windows as rows


@settings(max_examples=15)
@given(st.lists(st.lists(st.integers(0, 2**24 - 1), min_size=5, max_size=5), min_size=1, max_size=4), st.integers(0, 3))
def test_windows_are_read_as_they_were_written(tmp_path_factory, tokens: list[list[int]], padding: int) -> None:
    path = tmp_path_factory.mktemp("windows") / "w.npy"
    batch = batch_of(tokens, padding=padding)
    assert write_windows(path, [batch, batch], 7) == 2 * int(batch.keep.sum())
    source = open_vectors(path)
    assert source.rows == 2 * len(tokens)
    read = read_windows(source.read(None, len(tokens), source.rows))
    assert torch.equal(read.present[:, :5], batch.attention_mask)
    assert torch.equal(read.keep[:, :5], batch.keep)
    assert torch.equal(read.tokens[:, :5][batch.attention_mask], batch.tokens[batch.attention_mask])
    assert not read.present[:, 5:].any()


def test_windows_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for tokens in ([[1, 2, 3]], [[1, 2**24]]):
        with pytest.raises(CorpusError, match="at most 2 tokens"):
            write_windows(tmp_path / "w.npy", [batch_of(tokens)], 2)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------- the splice


def test_what_the_model_had_in_place_changes_nothing_and_the_rest_stays(model) -> None:
    windows = read_windows(some_windows())
    spliced = SplicedModel.with_later_residuals(model, SITE)
    clean = spliced.clean(windows)
    same = spliced.spliced(windows, windows.keep, clean.x[windows.keep])
    torch.testing.assert_close(same.logits, clean.logits)
    other = spliced.spliced(windows, windows.keep, torch.zeros_like(clean.x[windows.keep]))
    assert torch.equal(other.x[~windows.keep], clean.x[~windows.keep])
    assert not torch.allclose(other.logits, clean.logits, atol=1e-2)
    assert len(clean.later) == 1
    assert len(model.hooks) == 0


def test_an_unknown_site_is_refused(model) -> None:
    with pytest.raises(SiteError):
        SplicedModel(model, "9.resid_post")


# --------------------------------------------------------------------------------------------------------- the loss


def slow_loss(made: EndToEnd, rows: torch.Tensor, downstream: float) -> torch.Tensor:
    """By the formula, on the whole batch with autograd through everything."""
    d, model = made.dictionary, made.model.model
    windows = read_windows(rows)
    mean, scale = made.preprocessing.mean, made.preprocessing.scale
    with torch.no_grad(), model.capture(SITE, "1.resid_post") as got:
        clean = model(windows.tokens)
    x = (got[SITE][windows.keep] - mean) * scale
    pre = (x - d.centre) @ d.W_enc.T + d.b_enc
    if d.activation.name == "topk":
        largest = pre.topk(d.activation.k, dim=1)
        codes = torch.zeros_like(pre).scatter(1, largest.indices, largest.values.relu())
    elif d.activation.name == "batch_topk":
        largest = pre.flatten().topk(d.activation.k * len(x))
        codes = torch.zeros_like(pre).flatten().scatter(0, largest.indices, largest.values.relu()).view_as(pre)
    else:
        codes = pre.relu()
    written = (codes @ d.W_dec + d.b_dec) / scale + mean

    def put(there: torch.Tensor) -> torch.Tensor:
        changed = there.clone()
        changed[windows.keep] = written
        return changed

    wanted, later = clean[windows.keep].softmax(dim=1), got["1.resid_post"][windows.keep].clone()
    with model.edit(SITE, put), model.capture("1.resid_post") as got:
        found = model(windows.tokens)[windows.keep]
    loss = (wanted * (wanted.log() - found.log_softmax(dim=1))).sum(dim=1).mean()
    if d.activation.name == "l1":
        loss = loss + d.activation.l1_coefficient * (codes * d.W_dec.norm(dim=1)).sum() / len(x)
    off = (later - got["1.resid_post"][windows.keep]).square().sum() / (later - later.mean(dim=0)).square().sum()
    return loss + downstream * off


@pytest.mark.parametrize("downstream", [0.0, 0.5])
@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("topk", {"n_latents": 48, "k": 4}),
        ("batch_topk", {"n_latents": 48, "k": 4}),
        ("l1", {"n_latents": 48, "l1_coefficient": 0.1, "start_l0": 6}),
    ],
)
def test_loss_and_gradients_are_those_of_the_formula(model, kind, config, downstream: float) -> None:
    made, slow = (end_to_end(model, kind, config, downstream) for _ in range(2))
    rows = some_windows()
    losses = made.losses(rows, HALF)
    losses.total.backward()
    expected = slow_loss(slow, rows, downstream)
    model.zero_grad()
    expected.backward()
    assert any(parameter.grad is not None for parameter in model.parameters()), "the slow way reaches the model too"
    torch.testing.assert_close(losses.total, expected, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(made.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-5)
    assert ("downstream" in losses.terms) == (downstream > 0)


def test_gradients_reach_only_the_dictionary(model) -> None:
    model.zero_grad()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    made = end_to_end(model)
    made.losses(some_windows(), HALF).total.backward()
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(bool(parameter.grad.abs().sum() > 0) for parameter in made.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_tokens_of_extreme_norm_are_left_as_they_are(model) -> None:
    rows = some_windows()
    windows = read_windows(rows)
    norms = SplicedModel(model, SITE).activations(windows)[windows.keep].norm(dim=1)
    largest = float(norms.median())
    read, _ = end_to_end(model, largest=largest).inputs_and_targets(rows)
    assert len(read) == int((norms <= largest).sum()) < len(norms)


def test_a_silent_latent_starts_anew_though_windows_keep_fewer_tokens_than_they_have(model) -> None:
    made = end_to_end(model)
    rows = some_windows()
    batch = len(rows) * made.row_vectors
    with torch.no_grad():
        made.dictionary.W_enc[7] = 0
        made.dictionary.b_enc[7] = -100
    for step in range(5):
        context = StepContext(step, 100, batch)
        made.observe(made.losses(rows, context).codes, StepContext())
        restarted = made.resample(rows, context)
    assert 7 in restarted.tolist()
    assert float(made.dictionary.W_enc[7].detach().norm()) > 0


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("matryoshka", {"n_latents": 64, "k": 4}),
        ("gated", {"n_latents": 64}),
        ("topk", {"n_latents": 64, "k": 4, "multi_coefficient": 0.1}),
    ],
)
def test_architectures_that_reconstruct_more_than_once_are_refused(model, kind, config) -> None:
    with pytest.raises(ConfigError, match="puts one reconstruction in place"):
        end_to_end(model, kind, config)


def test_downstream_needs_a_later_block(model) -> None:
    splice = SplicedModel.with_later_residuals(model, "1.resid_post")
    identity = Preprocessing.identity(32)
    with pytest.raises(ConfigError, match=r"none after 1\.resid_post"):
        EndToEnd(make_coder("topk", d_in=32, n_latents=8, k=2), splice, identity, window=4, kept=3.0, downstream=1.0)


# ---------------------------------------------------------------------------------------------------- on the specimen


class Specimen:
    """The embedded model, a little text, and dictionaries trained on it in a few steps."""

    site = "4.resid_post"

    def __init__(self, folder: Path) -> None:
        self.model = load_model("specimen", device="cpu", dtype="float32")
        ids = self.model.tokenizer.encode(" ".join(topics[name] for name in sorted(topics)[:12]))
        tokens = [[0, *ids[start : start + 31]] for start in range(0, 31 * 80, 31)]
        self.path, self.out = folder / "w.npy", folder
        self.kept = write_windows(self.path, [batch_of(tokens)], 32) / open_vectors(self.path).rows
        self.splice = SplicedModel(self.model, self.site)
        windows = read_windows(open_vectors(self.path).read(None, 0, 64))
        rows = self.splice.activations(windows)[windows.keep]
        typical = (rows - rows.mean(dim=0)).norm(dim=1).mean()
        self.preprocessing = Preprocessing(rows.mean(dim=0), float(rows.shape[1] ** 0.5 / typical))

    def stream(self) -> StoreStream:
        source = open_vectors(self.path)
        identity = Preprocessing.identity(32)
        return StoreStream(source, batch=8, rows=slice(0, source.rows - 16), passes=2, preprocessing=identity)

    def dictionary(self) -> SparseCoder:
        return make_coder("topk", d_in=256, n_latents=256, k=8)

    def wrapped(self) -> EndToEnd:
        return EndToEnd(self.dictionary(), self.splice, self.preprocessing, window=32, kept=self.kept)

    def divergence(self, folder: Path) -> float:
        """KL with a saved dictionary in place, in nats a token, on windows that were not trained on."""
        source, saved = open_vectors(self.path), load_dictionary(folder)
        windows = read_windows(source.read(None, source.rows - 16, source.rows))
        clean = self.splice.clean(windows)
        spliced = self.splice.spliced(windows, windows.keep, saved(clean.x[windows.keep]))
        wanted, found = (one.logits[windows.keep].log_softmax(dim=1) for one in (clean, spliced))
        return float((wanted.exp().detach() * (wanted - found.detach())).sum(dim=1).mean())


class Local:
    """The same stream and steps, with the error at the site as the loss: what end-to-end is compared with."""

    def __init__(self, wrapped: EndToEnd) -> None:
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> object:
        return getattr(self._wrapped, name)

    def losses(self, x: torch.Tensor, context: StepContext) -> object:
        return self._wrapped.dictionary.losses(self._wrapped.inputs_and_targets(x)[0], context)


@pytest.fixture(scope="module")
def specimen(tmp_path_factory: pytest.TempPathFactory) -> Specimen:
    return Specimen(tmp_path_factory.mktemp("specimen"))


def test_the_models_loss_falls_and_beats_reconstruction_of_as_many_steps(specimen: Specimen) -> None:
    config = TrainConfig(product="float32", log_every=1, start_rows=512, lr=3e-3)
    result = train(specimen.wrapped(), specimen.stream(), config, specimen.out / "e2e")
    train(Local(specimen.wrapped()), specimen.stream(), config, specimen.out / "local")
    lines = [json.loads(line) for line in (specimen.out / "e2e" / "metrics.jsonl").read_text().splitlines()]
    first, last = (sum(line["loss_kl"] for line in part) for part in (lines[:3], lines[-3:]))
    assert last < 0.9 * first
    end, local = specimen.divergence(specimen.out / "e2e"), specimen.divergence(specimen.out / "local")
    print(f"KL in nats a token after {result.steps} steps: end-to-end {end:.3f}, reconstruction {local:.3f}")
    assert end < local
    assert lines[0]["tokens"] == 8 * int(specimen.kept)


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    specimen: Specimen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(product="float32", checkpoint_steps=4, start_rows=512)
    model = random_model(seed=4)

    def fresh() -> tuple[EndToEnd, StoreStream]:
        np.save(tmp_path / "w.npy", some_windows(80, seed=5).numpy())
        identity = Preprocessing.identity(WINDOW)
        return end_to_end(model), StoreStream(open_vectors(tmp_path / "w.npy"), batch=8, preprocessing=identity)

    step = Trainer.step

    def stop(self: Trainer, batch: torch.Tensor) -> object:
        if self.step_number == 6:
            raise KeyboardInterrupt
        return step(self, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "step", stop)
        train(*fresh(), config, tmp_path / "stopped")
    train(*fresh(), config, tmp_path / "stopped")
    train(*fresh(), config, tmp_path / "whole")
    weights = "sae_weights.safetensors"
    assert (tmp_path / "stopped" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


def test_a_batch_in_parts_makes_nearly_the_same_step(model, tmp_path: Path) -> None:
    found = []
    for parts in (1, 2):
        made = end_to_end(model)
        rows = some_windows(8)
        member = TrainingRun(made, TrainConfig(accumulate=parts, product="float32"), tmp_path)
        member.prepare(10, 8)
        losses = member.step(rows)
        found.append([losses.total.detach(), *(parameter.detach().clone() for parameter in made.parameters())])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)
