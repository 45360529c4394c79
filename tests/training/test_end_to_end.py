"""End-to-end training: the model's output decides, and only the dictionary learns."""

from __future__ import annotations

import json
from collections.abc import Callable
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
from monosema.activations.windows import KEPT, READ
from monosema.core import ConfigError, CorpusError, Site, SiteError
from monosema.data import TokenBatch
from monosema.dictionaries import Losses, SparseCoder, StepContext, Trainable, load_dictionary, make_coder
from monosema.interventions import put_rows
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
    marks = torch.full_like(tokens, KEPT)
    marks[:, 0] = READ
    return torch.cat([tokens, marks], dim=1)


@pytest.fixture(scope="module")
def model():
    """A model whose parameters would take gradients."""
    return random_model(seed=3).requires_grad_(True)


def end_to_end(model, kind="topk", config=None, site=SITE, **options: object) -> tuple[SparseCoder, EndToEnd]:
    """A coder that was started, and the loss."""
    coder = make_coder(kind, model.site_width(site), **(config or {"n_latents": 48, "k": 4}))
    preprocessing = Preprocessing(torch.linspace(-0.2, 0.3, coder.d_in), 1.7)
    loss = EndToEnd(model, site, preprocessing, window=WINDOW, kept=WINDOW - 1.0, **options)
    coder.start(loss.vectors(some_windows(20, seed=9)), 0)
    return coder, loss


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


def test_an_unknown_site_is_refused(model) -> None:
    with pytest.raises(SiteError):
        EndToEnd(model, "9.resid_post", Preprocessing.identity(32), window=4, kept=3.0)


# --------------------------------------------------------------------------------------------------------- the loss


def slow_loss(d: SparseCoder, loss: EndToEnd, rows: torch.Tensor, downstream: float) -> torch.Tensor:
    """By the formula, on the whole batch with autograd through everything."""
    model, site = loss.model, loss.site
    windows = read_windows(rows)
    assert loss.preprocessing is not None
    mean, scale = loss.preprocessing.mean, loss.preprocessing.scale
    after = ["1.resid_post"] if site.component == "resid_post" else ["0.resid_post", "1.resid_post"]
    with torch.no_grad(), model.capture(site, *after) as got:
        clean = model(windows.tokens)
    x = (got[site][windows.keep] - mean) * scale
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

    wanted, later = clean[windows.keep].softmax(dim=1), [got[one][windows.keep].clone() for one in after]
    with model.edit(site, put), model.capture(*after) as got:
        found = model(windows.tokens)[windows.keep]
    total = (wanted * (wanted.log() - found.log_softmax(dim=1))).sum(dim=1).mean()
    if d.activation.name == "l1":
        total = total + d.activation.l1_coefficient * (codes * d.W_dec.norm(dim=1)).sum() / len(x)
    pairs = [(was, got[one][windows.keep]) for was, one in zip(later, after, strict=True)]
    off = [(was - now).square().sum() / (was - was.mean(dim=0)).square().sum() for was, now in pairs]
    return total + downstream * torch.stack(off).mean()


@pytest.mark.parametrize("downstream", [0.0, 0.5])
@pytest.mark.parametrize(
    ("kind", "config", "site"),
    [
        ("topk", {"n_latents": 48, "k": 4}, SITE),
        ("topk", {"n_latents": 48, "k": 4}, "0.mlp_out"),
        ("batch_topk", {"n_latents": 48, "k": 4}, SITE),
        ("l1", {"n_latents": 48, "l1_coefficient": 0.1, "start_l0": 6}, SITE),
    ],
)
def test_loss_and_gradients_are_those_of_the_formula(model, kind, config, site: str, downstream: float) -> None:
    (coder, loss), (slow, _) = (end_to_end(model, kind, config, site, downstream=downstream) for _ in range(2))
    rows = some_windows()
    losses = loss.losses(coder, rows, HALF)
    losses.total.backward()
    expected = slow_loss(slow, loss, rows, downstream)
    model.zero_grad()
    expected.backward()
    assert any(parameter.grad is not None for parameter in model.parameters()), "the slow way reaches the model too"
    torch.testing.assert_close(losses.total, expected, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(coder.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-5)
    assert ("downstream" in losses.terms) == (downstream > 0)


def test_gradients_reach_only_the_dictionary(model) -> None:
    model.zero_grad()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    coder, loss = end_to_end(model)
    loss.losses(coder, some_windows(), HALF).total.backward()
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(bool(parameter.grad.abs().sum() > 0) for parameter in coder.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert len(model.hooks) == 0


def test_the_layers_before_the_site_run_once_a_step(model) -> None:
    coder, loss = end_to_end(model)
    ran: list[str] = []

    def seen(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: ran.append(name) or x

    with model.edit("0.mlp_in", seen("before")), model.edit("1.mlp_in", seen("after")):
        loss.losses(coder, some_windows(), HALF)
    assert sorted(ran) == ["after", "after", "before"]


def test_tokens_of_extreme_norm_are_left_as_they_are(model) -> None:
    rows = some_windows()
    windows = read_windows(rows)
    with model.capture(SITE) as got:
        model(windows.tokens)
    norms = got[SITE].detach()[windows.keep].norm(dim=1)
    largest = float(norms.median())
    read = end_to_end(model, largest=largest)[1].vectors(rows)
    assert len(read) == int((norms <= largest).sum()) < len(norms)


def test_a_silent_latent_starts_anew_though_windows_keep_fewer_tokens_than_they_have(model, tmp_path: Path) -> None:
    coder, loss = end_to_end(model)
    rows = some_windows()
    run = TrainingRun(coder, TrainConfig(product="float32"), tmp_path, objective=loss)
    run.prepare(100, len(rows))
    run.batch += 1
    with torch.no_grad():
        coder.W_enc[7] = 0
        coder.b_enc[7] = -100
    for _ in range(5):
        run.step(rows)
    assert float(coder.W_enc[7].detach().norm()) > 0.1


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("matryoshka", {"n_latents": 64, "k": 4}),
        ("gated", {"n_latents": 64}),
        ("topk", {"n_latents": 64, "k": 4, "multi_coefficient": 0.1}),
    ],
)
def test_architectures_that_reconstruct_more_than_once_are_refused(model, kind, config, tmp_path: Path) -> None:
    run = TrainingRun(make_coder(kind, 32, **config), TrainConfig(), tmp_path, objective=end_to_end(model)[1])
    with pytest.raises(ConfigError, match="puts one reconstruction in place"):
        run.prepare(10, 4)


def test_downstream_needs_a_later_block(model) -> None:
    with pytest.raises(ConfigError, match=r"none after 1\.resid_post"):
        EndToEnd(model, "1.resid_post", Preprocessing.identity(32), window=4, kept=3.0, downstream=1.0)


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
        windows = read_windows(open_vectors(self.path).read(None, 0, 64))
        with torch.no_grad():
            rows = self.model.activations(windows.tokens, [Site.parse(self.site)])[Site.parse(self.site)][windows.keep]
        typical = (rows - rows.mean(dim=0)).norm(dim=1).mean()
        self.preprocessing = Preprocessing(rows.mean(dim=0), float(rows.shape[1] ** 0.5 / typical))

    def stream(self) -> StoreStream:
        source = open_vectors(self.path)
        identity = Preprocessing.identity(64)
        return StoreStream(source, batch=8, rows=slice(0, source.rows - 16), passes=2, preprocessing=identity)

    def dictionary(self) -> SparseCoder:
        return make_coder("topk", d_in=256, n_latents=256, k=8)

    def loss(self, kind: type[EndToEnd] = EndToEnd) -> EndToEnd:
        return kind(self.model, self.site, self.preprocessing, window=32, kept=self.kept)

    def divergence(self, folder: Path) -> float:
        """KL with a saved dictionary in place, in nats a token, on windows that were not trained on."""
        source, saved = open_vectors(self.path), load_dictionary(folder)
        windows = read_windows(source.read(None, source.rows - 16, source.rows))
        with torch.no_grad():
            clean = self.model(windows.tokens)[windows.keep].log_softmax(dim=1)
            with self.model.edit(self.site, lambda x: put_rows(x, windows.keep, saved(x[windows.keep]))):
                found = self.model(windows.tokens)[windows.keep].log_softmax(dim=1)
        return float((clean.exp() * (clean - found)).sum(dim=1).mean())


class Local(EndToEnd):
    """The same stream and steps, with the error at the site as the loss: what end-to-end is compared with."""

    def losses(self, dictionary: Trainable, rows: torch.Tensor, context: StepContext) -> Losses:
        return dictionary.losses(self.vectors(rows), context)


@pytest.fixture(scope="module")
def specimen(tmp_path_factory: pytest.TempPathFactory) -> Specimen:
    return Specimen(tmp_path_factory.mktemp("specimen"))


def test_the_models_loss_falls_and_beats_reconstruction_of_as_many_steps(specimen: Specimen) -> None:
    config = TrainConfig(product="float32", log_every=1, start_rows=512, lr=3e-3)
    loss, local = specimen.loss(), specimen.loss(Local)
    result = train(specimen.dictionary(), specimen.stream(), config, specimen.out / "e2e", objective=loss)
    train(specimen.dictionary(), specimen.stream(), config, specimen.out / "local", objective=local)
    lines = [json.loads(line) for line in (specimen.out / "e2e" / "metrics.jsonl").read_text().splitlines()]
    first, last = (sum(line["loss_kl"] for line in part) for part in (lines[:3], lines[-3:]))
    assert last < 0.9 * first
    end, other = specimen.divergence(specimen.out / "e2e"), specimen.divergence(specimen.out / "local")
    print(f"KL in nats a token after {result.steps} steps: end-to-end {end:.3f}, reconstruction {other:.3f}")
    assert end < other
    assert lines[0]["tokens"] == 8 * int(specimen.kept)


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    specimen: Specimen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(product="float32", checkpoint_steps=4, start_rows=512)
    model = random_model(seed=4)

    def finish(out: Path) -> None:
        np.save(tmp_path / "w.npy", some_windows(80, seed=5).numpy())
        identity, (coder, loss) = Preprocessing.identity(2 * WINDOW), end_to_end(model)
        stream = StoreStream(open_vectors(tmp_path / "w.npy"), batch=8, preprocessing=identity)
        train(coder, stream, config, out, objective=loss)

    step = Trainer.step

    def stop(self: Trainer, batch: torch.Tensor) -> object:
        if self.step_number == 6:
            raise KeyboardInterrupt
        return step(self, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "step", stop)
        finish(tmp_path / "stopped")
    finish(tmp_path / "stopped")
    finish(tmp_path / "whole")
    weights = "sae_weights.safetensors"
    assert (tmp_path / "stopped" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


def test_a_batch_in_parts_makes_nearly_the_same_step(model, tmp_path: Path) -> None:
    found = []
    for parts in (1, 2):
        made, loss = end_to_end(model)
        rows = some_windows(8)
        member = TrainingRun(made, TrainConfig(accumulate=parts, product="float32"), tmp_path, objective=loss)
        member.prepare(10, 8)
        losses = member.step(rows)
        found.append([losses.total.detach(), *(parameter.detach().clone() for parameter in made.parameters())])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)
