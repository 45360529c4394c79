"""Continuations: changed texts that go on from the first changed position give what whole passes give."""

from __future__ import annotations

import pytest
import torch

from monosema.circuits.continuation import Continuation, Versions
from monosema.core import Site
from monosema.models import Fork, Transformer, random_model, unembed_of

FILLED = torch.tensor([0, 2, 1])
"""Positions of each text that are filled up on the left."""


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model()


def texts(model: Transformer) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.randint(1, model.vocab, (3, 8), generator=torch.Generator().manual_seed(0))
    return tokens, torch.arange(8) >= FILLED[:, None]


@torch.no_grad()
def whole(model: Transformer, site: Site, x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    tokens, mask = texts(model)
    (out,) = Fork(model, site, tokens[rows], mask[rows]).run([x], last=True)
    unembed = unembed_of(model, site)
    assert unembed is not None
    return unembed(out[:, -1]).log_softmax(-1)


def changed(x: torch.Tensor, first: list[int], seed: int) -> torch.Tensor:
    """Activations of texts, other from a position on."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    return x + noise * (torch.arange(x.shape[1]) >= torch.tensor(first)[:, None])[..., None]


@pytest.mark.parametrize("site", ["0.resid_pre", "0.resid_mid", "0.resid_post", "0.mlp_out"])
@pytest.mark.parametrize("watched", [False, True])
def test_the_rest_alone_gives_what_whole_passes_give(model: Transformer, site: str, watched: bool) -> None:
    place = Site.parse(site)
    going = Continuation(model, place, *texts(model))
    assert torch.allclose(going.settle(going.activation), whole(model, place, going.activation, torch.arange(3)))
    rows, first = torch.tensor([2, 0, 2, 1]), [3, 7, 5, 2]
    state = going.activation.clone()
    for seed in range(2):
        versions = Versions(rows, changed(state[rows], first, seed), torch.tensor(first))
        logs = torch.empty(len(rows), model.vocab)
        if watched:
            with model.capture("1.resid_post"):
                parts = list(going.run(versions))
        else:
            parts = list(going.run(versions))
        for which, there in parts:
            logs[which] = there
        assert torch.allclose(logs, whole(model, place, versions.x, rows), atol=1e-5)
        going.accept(versions, torch.tensor([0, 3]))
        state[rows[[0, 3]]] = versions.x[[0, 3]]


def test_only_the_rest_runs(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    going = Continuation(model, Site(0, "resid_post"), *texts(model))
    going.settle(going.activation)
    ran, plain = list[tuple[int, ...]](), model.resume

    def resume(site: Site, x: torch.Tensor, *rest: object, **options: bool) -> torch.Tensor:
        ran.append(tuple(x.shape[:2]))
        return plain(site, x, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "resume", resume)
    first = [6, 2, 2]
    list(going.run(Versions(torch.arange(3), changed(going.activation, first, 0), torch.tensor(first))))
    assert ran == [(3, 6)]
    monkeypatch.setattr("monosema.circuits.continuation._POSITIONS", 1)
    list(going.run(Versions(torch.arange(3), changed(going.activation, first, 0), torch.tensor(first))))
    assert ran[1:] == [(2, 6), (1, 2)]
