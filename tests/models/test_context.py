"""Who sees whom: against context each row alone, and against the definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monosema.core import InputError
from monosema.models import AttentionConfig, KVCache, RotaryConfig, Transformer, TransformerConfig, random_model
from monosema.models.context import DecoderContext, ForwardContext, Role, frequencies, rotate, rotation

SHAPE = {
    "d_model": 16,
    "n_layers": 2,
    "n_heads": 2,
    "n_kv_heads": 1,
    "d_head": 8,
    "d_mlp": 24,
    "vocab": 259,
    "context": 32,
}
ROTARY = RotaryConfig(dims=6)


def model_of(kind: str) -> Transformer:
    attention = AttentionConfig(scale=0.4, rotary=None if kind == "learned" else ROTARY)
    settings = {"learned_positions": kind == "learned", "score_softcap": 2.0 if kind == "capped" else None}
    return random_model(TransformerConfig(family="llama", **SHAPE, attention=(attention,) * 2, **settings))


MODELS = {kind: model_of(kind) for kind in ("learned", "rotary", "capped")}
masks = st.lists(st.lists(st.booleans(), min_size=6, max_size=6).filter(any), min_size=1, max_size=3)


@settings(max_examples=30)
@given(kind=st.sampled_from(list(MODELS)), rows=masks, cut=st.integers(0, 6))
@torch.no_grad()
def test_padding_anywhere_is_as_if_it_were_not_there(kind: str, rows: list[list[bool]], cut: int) -> None:
    model, mask = MODELS[kind], torch.tensor(rows)
    tokens = torch.randint(0, 256, mask.shape, generator=torch.Generator().manual_seed(len(rows)))
    cache, roles = KVCache(), torch.where(mask, Role.PROMPT, Role.PADDING)
    parts = [slice(0, cut), slice(cut, 6)] if 0 < cut < 6 else [slice(0, 6)]
    logits = model(tokens, roles=roles)
    stepwise = torch.cat([model(tokens[:, part], None, cache, roles[:, part]) for part in parts], dim=1)
    for row in range(len(rows)):
        alone = model(tokens[row, mask[row]][None])[0]
        torch.testing.assert_close(logits[row, mask[row]], alone, atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(stepwise[row, mask[row]], alone, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
@torch.no_grad()
def test_a_token_that_is_masked_keeps_its_place_and_is_seen_by_none(kind: str) -> None:
    model = MODELS[kind]
    tokens = torch.randint(0, 256, (1, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True, True, False, True, True, True]])
    hidden = model(tokens, mask)
    other = tokens.clone()
    other[0, 2] = (other[0, 2] + 1) % 256
    torch.testing.assert_close(model(other, mask)[mask], hidden[mask])
    alone = torch.eye(6).bool()
    with model.edit("0.attn_scores", lambda x: x.masked_fill(~(alone | mask[0]), -torch.inf)):  # noqa: SIM117
        with model.edit("1.attn_scores", lambda x: x.masked_fill(~(alone | mask[0]), -torch.inf)):
            torch.testing.assert_close(model(tokens)[mask], hidden[mask], atol=2e-5, rtol=1e-5)
    cache = KVCache()
    stepwise = torch.cat([model(tokens[:, part], mask[:, part], cache) for part in (slice(0, 4), slice(4, 6))], dim=1)
    torch.testing.assert_close(stepwise[mask], hidden[mask], atol=2e-5, rtol=1e-5)


def test_roles_are_told_apart_by_mask_and_token_unless_they_are_given() -> None:
    tokens = torch.tensor([[9, 7, 1, 2, 3]])
    mask = torch.tensor([[False, True, True, False, True]])
    padding, special, template, prompt, generated = Role
    context = ForwardContext(tokens, mask, special_ids=frozenset({7}))
    assert context.roles.tolist() == [[padding, special, prompt, prompt, prompt]]
    given = torch.tensor([[padding, template, prompt, generated, generated]])
    assert ForwardContext(tokens, roles=given, special_ids=frozenset({7})).roles[0, 1] == special
    assert ForwardContext(tokens, roles=given).roles.tolist() == given.tolist()
    with pytest.raises(InputError, match="reads no tokens"):
        _ = ForwardContext(None).roles


@pytest.mark.parametrize("window", [None, 1, 3])
def test_the_mask_is_what_its_definition_says(window: int | None) -> None:
    keep = torch.tensor([[False, True, True, True, True], [True, True, False, True, True]])
    context = DecoderContext(torch.zeros(2, 5, dtype=torch.long), keep, None)
    mask = context.mask(window)
    for row in range(2):
        for query in range(5):
            for key in range(5):
                near = window is None or query - key < window
                seen = (key <= query and near and bool(keep[row, key])) or key == query
                assert bool(mask[row, 0, query, key]) == seen
    assert context.positions.tolist() == [[0, 0, 1, 2, 3], [0, 1, 2, 3, 4]]


def test_no_mask_is_made_where_none_is_needed() -> None:
    tokens = torch.zeros(2, 5, dtype=torch.long)
    right = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    for mask in (None, torch.ones(2, 5, dtype=torch.bool), right):
        assert DecoderContext(tokens, mask, None).is_plainly_causal(None)
        assert DecoderContext(tokens, mask, None).is_plainly_causal(5)
        assert not DecoderContext(tokens, mask, None).is_plainly_causal(4)
    assert not DecoderContext(tokens, right.flip(1), None).is_plainly_causal(None)


def test_inputs_that_do_not_fit() -> None:
    model, tokens = MODELS["learned"], torch.zeros(2, 5, dtype=torch.long)
    with pytest.raises(InputError, match=r"attention_mask has the shape \(2, 4\)"):
        model(tokens, torch.ones(2, 4, dtype=torch.bool))
    cache = KVCache()
    model(tokens, None, cache)
    with pytest.raises(InputError, match="cache holds 2 rows"):
        model(tokens[:1], None, cache)
    with pytest.raises(InputError, match="33 positions; the model has 32 only"):
        model(torch.zeros(1, 33, dtype=torch.long))


@given(dims=st.sampled_from([2, 4, 8]), shift=st.integers(0, 50), position=st.integers(0, 50))
def test_rotations_keep_lengths_and_depend_on_distance_only(dims: int, shift: int, position: int) -> None:
    config = RotaryConfig(dims=dims)
    generator = torch.Generator().manual_seed(position)
    q, k = torch.randn(2, 1, 1, 1, 8, generator=generator, dtype=torch.float64)

    def at(x: torch.Tensor, place: int) -> torch.Tensor:
        return rotate(x, rotation(config, torch.tensor([[place]]), torch.float64))

    torch.testing.assert_close(at(q, position).norm(), q.norm())
    torch.testing.assert_close(at(q, 0), q)
    near = (at(q, position) * at(k, 3)).sum()
    torch.testing.assert_close((at(q, position + shift) * at(k, 3 + shift)).sum(), near, atol=1e-4, rtol=1e-4)


def test_llama3_frequencies_against_the_definition() -> None:
    config = RotaryConfig(
        base=500_000.0, dims=64, scaling="llama3", factor=8.0, low_frequency_factor=1.0, high_frequency_factor=4.0
    )
    plain = frequencies(RotaryConfig(base=500_000.0, dims=64), torch.device("cpu"))
    for angle, got in zip(plain.tolist(), frequencies(config, torch.device("cpu")).tolist(), strict=True):
        wavelength = 2 * torch.pi / angle
        if wavelength < 8192 / 4:
            wanted = angle
        elif wavelength > 8192:
            wanted = angle / 8
        else:
            smooth = (8192 / wavelength - 1) / 3
            wanted = (1 - smooth) * angle / 8 + smooth * angle
        assert got == pytest.approx(wanted, rel=1e-5)
