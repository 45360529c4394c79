"""A few latents encoded alone have the activations that the whole dictionary gives them."""

from __future__ import annotations

import pytest
import torch

from monosema.dictionaries import NamedLatents, Pca, make_coder

SAMPLE, ROWS = torch.randn(2, 300, 16, generator=torch.Generator().manual_seed(0)) + torch.linspace(0, 2, 16)


@pytest.mark.parametrize("architecture", ["topk", "batch_topk", "jumprelu", "gated", "l1", "tied_l1", "p_anneal"])
def test_latents_alone_are_those_of_the_whole(architecture: str) -> None:
    coder = make_coder(architecture, 16, 80, **({"k": 5} if "topk" in architecture else {}))
    coder.start(SAMPLE, 0)
    codes = coder.encode(ROWS)
    # Busy ones, rare ones, and two of them together with all others.
    busiest = codes.counts().argsort(descending=True).tolist()
    for latents in (busiest[:3], busiest[40:42], [busiest[0], busiest[60]], list(range(80))):
        named = NamedLatents(coder, latents)
        for rows in (ROWS[:1], ROWS[:40], ROWS):  # What a first call remembers serves the later ones.
            expected = coder.encode(rows).dense()[:, latents]
            torch.testing.assert_close(named.encode(rows), expected, rtol=1e-5, atol=1e-6)
    assert codes.counts()[busiest[0]] > 0


def test_a_dictionary_of_another_kind_is_asked_as_a_whole() -> None:
    pca = Pca.fit([SAMPLE], 8)
    torch.testing.assert_close(NamedLatents(pca, [2, 5]).encode(ROWS), pca.encode(ROWS).dense()[:, [2, 5]])
