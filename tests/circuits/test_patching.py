"""Every cell is the edit by hand, in both directions and for every kind of decoder; chance is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from families import family_model
from letters import METRIC, letters
from torch import Tensor

from monosema.circuits import (
    Contrasts,
    Mean,
    circuit_metrics,
    component_graph,
    end_metrics,
)
from monosema.circuits.ablations import Resample
from monosema.circuits.memory import pass_memory
from monosema.circuits.patching import patching, told_apart
from monosema.circuits.paths import Path, mediation, path_effects
from monosema.circuits.places import PLACES, Places, Positions, register_places
from monosema.circuits.running import last_logits
from monosema.core import ConfigError, InputError
from monosema.interventions import Part, intervene, patch
from monosema.models import Transformer


@pytest.fixture(scope="module", params=["llama", "gpt_neox", "gemma2"])
def model(request: pytest.FixtureRequest) -> Transformer:
    return family_model(str(request.param))


@pytest.fixture(scope="module")
def prompts(model: Transformer) -> Contrasts:
    return letters(model)


@torch.no_grad()
def by_hand(model: Transformer, prompts: Contrasts, name: str, row: int, column: int, noising: bool) -> Tensor:
    """Return the effects of one place, by an edit of whole passes."""
    places, positions, found = PLACES[name], Positions.of(prompts, model), []
    _, site, head = places.rows(model)[row]
    for group in prompts:
        base, other = (group.clean, group.corrupt) if noising else (group.corrupt, group.clean)
        part = places.parts(model, positions, group, head)[column]
        before = METRIC(last_logits(model, base), group)
        with intervene(model, site, patch(model.activations(other, [site])[site]), part):
            after = METRIC(last_logits(model, base), group)
        found.append(before - after if noising else after - before)
    return torch.cat(found)


@pytest.mark.parametrize("name", ["residual", "mlps", "heads-by-position", "keys", "patterns"])
def test_every_cell_is_an_edit_by_hand(model: Transformer, prompts: Contrasts, name: str) -> None:
    for direction in ("noising", "denoising"):
        table = patching(model, prompts, name, METRIC, direction=direction)
        assert table.moved.shape == (len(table.rows), len(table.columns), 6)
        for row in {0, len(table.rows) - 1}:
            for column in range(0, len(table.columns), 2):
                expected = by_hand(model, prompts, name, row, column, direction == "noising")
                torch.testing.assert_close(table.moved[row, column], expected, atol=1e-5, rtol=1e-4)


def test_shares_are_ratios_of_means_and_means_stand_in_by_form(model: Transformer, prompts: Contrasts) -> None:
    table = patching(model, prompts, "residual", METRIC)
    assert table.columns == ("FIRST", "END", "others")
    # The first letter alone differs, so before the first block its column is everything.
    assert float(table.shares[0, 0]) == pytest.approx(1.0, abs=1e-4)
    assert not table.moved[0, 1].abs().max() > 1e-5
    assert table.share(0, 0).value == pytest.approx(float(table.moved[0, 0].sum() / table.gap.sum()), rel=1e-4)
    by_mean = patching(model, prompts, "residual", METRIC, ablation=Mean())
    assert not torch.allclose(by_mean.moved[0, 0], table.moved[0, 0], atol=1e-3)
    assert table.to_dict()["shares"][0][0]["value"] == pytest.approx(1.0, abs=1e-4)


def test_little_memory_changes_nothing(model: Transformer, prompts: Contrasts) -> None:
    whole = [patching(model, prompts, name, METRIC).moved for name in ("heads", "residual")]
    with pass_memory(1e-6):
        parts = [patching(model, prompts.within(1), name, METRIC).moved for name in ("heads", "residual")]
    for one, expected in zip(parts, whole, strict=True):
        torch.testing.assert_close(one, expected, atol=1e-5, rtol=1e-4)


def test_total_direct_and_indirect_effects_are_those_of_edges(model: Transformer, prompts: Contrasts) -> None:
    graph = component_graph(model)
    table = mediation(model, prompts, METRIC)
    heads, mlps = (patching(model, prompts, name, METRIC) for name in ("heads", "mlps"))
    row = {name: number for number, name in enumerate(table.rows)}
    torch.testing.assert_close(table.moved[row["a1.h2"], 0], heads.moved[1, 2], atol=1e-5, rtol=1e-4)
    assert table.columns == ("total", "direct", "indirect", "interaction")
    if model.config.norm_outputs:
        return  # There a head's part of what is added depends on its neighbours, and edges hold the norm's scale.
    clean, _ = end_metrics(model, prompts, METRIC)
    for name in ("a0.h1", "m0", "a1.h3"):
        writer = next(number for number, node in enumerate(graph.writers) if node.name == name)
        direct, rest = graph.allowed.clone(), graph.allowed.clone()
        direct[writer, -1] = False
        rest[writer, :-1] = False
        figures = circuit_metrics(model, prompts, graph, [direct, rest], Resample(), METRIC)
        torch.testing.assert_close(table.moved[row[name], 1:3], clean - figures, atol=1e-5, rtol=1e-4)
    assert float(table.moved[row["m1"], 2].abs().max()) < 1e-5
    assert mlps.shares.isfinite().all()


def test_a_path_of_one_edge_is_that_edge_and_longer_ones_are_run_by_hand(
    model: Transformer, prompts: Contrasts
) -> None:
    graph = component_graph(model)
    paths = ["a0.h1->a1.h2<q>", "embed->logits", "a0.h1->a1.h2<v>->logits", "m0->logits"]
    table = path_effects(model, prompts, paths, METRIC)
    clean, _ = end_metrics(model, prompts, METRIC)
    for index in (0, 1, 3):
        keep = graph.allowed.clone()
        for row, columns in Path.parse(paths[index], graph).hops:
            keep[row, list(columns)] = False
        (figures,) = circuit_metrics(model, prompts, graph, [keep], Resample(), METRIC)
        torch.testing.assert_close(table.moved[index, 0], clean - figures, atol=1e-5, rtol=1e-4)
    # Along the longer path the second head's output alone changes, and the logits alone read it.
    group = prompts.groups[0]
    if model.config.norm_outputs:
        return
    value, head = model.activations(group.clean, ["1.v", "1.z", "1.resid_post"]), 2
    shared = model.config.n_heads // model.config.n_kv_heads
    gap = [model.activations(ids, ["0.z"])["0.z"][:, :, 1] for ids in (group.corrupt, group.clean)]
    weight = model.blocks[0].attn.o.weight.unflatten(1, (model.n_heads, -1))[:, 1]
    moved = (gap[0] - gap[1]) @ weight.T

    def with_moved(x: Tensor, _: object) -> Tensor:
        return x + moved[:, :, None]

    with intervene(model, "1.v_input", with_moved, Part(heads=[head // shared])):
        changed = model.activations(group.clean, ["1.z"])["1.z"][:, -1, head]
    out = model.blocks[1].attn.o.weight.unflatten(1, (model.n_heads, -1))[:, head]
    final = value["1.resid_post"][:, -1] + (changed - value["1.z"][:, -1, head]) @ out.T
    figures = METRIC(model.logits(model.ln_final(final)), group)
    expected = METRIC(last_logits(model, group.clean), group) - figures
    torch.testing.assert_close(table.moved[2, 0, : len(group)], expected, atol=1e-5, rtol=1e-4)


def test_an_effect_is_told_from_noise_and_noise_is_not() -> None:
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(60, 30, 24, generator=draw)  # Sixty tables of thirty places.
    gap = torch.ones(24)
    found = [bool(told_apart(table, gap).any()) for table in noise]
    assert sum(found) <= 8
    table = noise[0].clone()
    table[7] += 2.0
    assert told_apart(table, gap).nonzero().tolist() == [[7]]
    assert not told_apart(torch.full((2, 24), 1e-5), gap).any()


def test_wrong_wishes_are_errors() -> None:
    model = family_model("llama")
    prompts = letters(model)
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: patching(model, prompts, "head", METRIC), "did you mean 'heads'|Places: residual"),
        (lambda: patching(model, prompts, "heads", METRIC, ablation=Mean(), direction="denoising"), "leave out"),
        (lambda: Positions.of(prompts, model, "tokens"), "tokens long"),
        (lambda: path_effects(model, prompts, ["a0.h1"], METRIC), "two nodes or more"),
        (lambda: path_effects(model, prompts, ["a0.h9->logits"], METRIC), "no component 'a0.h9'"),
        (lambda: path_effects(model, prompts, ["a1.h1->a0.h1<q>"], METRIC), "comes no earlier"),
        (lambda: path_effects(model, prompts, ["a0.h1->m1<q>"], METRIC), "no input 'q'"),
    ]
    for wish, says in wrong:
        with pytest.raises(InputError, match=says):
            wish()
    with pytest.raises(ConfigError, match="already"):
        register_places(Places("heads", "", "z", "heads"))


def test_each_token_is_a_column_where_prompts_are_of_one_length() -> None:
    model = family_model("gpt2")
    prompts = letters(model, 4, lengths=1)
    positions = Positions.of(prompts, model, "tokens")
    assert len(positions.names) == prompts.groups[0].clean.shape[1]
    table = patching(model, prompts, "residual", METRIC, positions=positions)
    assert (table.shares[0].abs() > 1e-5).nonzero().flatten().tolist() == [prompts.groups[0].positions["FIRST"][0]]
