"""Capture and edits from outside: what they see, what they change, and that nothing is left behind."""

from __future__ import annotations

import contextlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monosema.core import Site, SiteError
from monosema.models import (
    AttentionConfig,
    ForwardContext,
    Role,
    RotaryConfig,
    Transformer,
    TransformerConfig,
    random_model,
)

TOKENS = torch.randint(0, 256, (2, 7), generator=torch.Generator().manual_seed(0))


def gpt2_like(**changes: object) -> Transformer:
    config = TransformerConfig(
        **{
            "family": "gpt2",
            "d_model": 24,
            "n_layers": 3,
            "n_heads": 4,
            "n_kv_heads": 4,
            "d_head": 6,
            "d_mlp": 40,
            "vocab": 259,
            "context": 32,
            "attention": (AttentionConfig(scale=6**-0.5),) * 3,
            "learned_positions": True,
            "qkv_bias": True,
            "attention_out_bias": True,
            "mlp_bias": True,
            **changes,
        }
    )
    return random_model(config, seed=1)


def olmo_like() -> Transformer:
    """Norms behind attention and MLP, queries normalised over all heads, and a layer that turns nothing."""
    turning = AttentionConfig(scale=6**-0.5, rotary=RotaryConfig(dims=6))
    changes = {"learned_positions": False, "norm": "rms", "norm_inputs": False, "norm_outputs": True}
    changes |= {"norm_queries_and_keys": True, "norm_across_heads": True, "n_kv_heads": 2}
    return gpt2_like(**changes, attention=(turning, AttentionConfig(scale=6**-0.5), turning))


@pytest.fixture(scope="module", params=["llama", "gpt2", "parallel"])
def model(request: pytest.FixtureRequest) -> Transformer:
    if request.param == "llama":
        return random_model()
    return gpt2_like(parallel=request.param == "parallel")


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-5)


def test_captures_have_the_shapes_of_transformer_lens(model: Transformer) -> None:
    config = model.config
    with torch.no_grad(), model.capture(*model.sites()) as got:
        model(TOKENS)
    stream, heads = (2, 7, config.d_model), (2, 7, config.n_heads, config.d_head)
    assert got["hook_embed"].shape == got["0.resid_pre"].shape == got["1.attn_out"].shape == stream
    assert got["blocks.1.attn.hook_q"].shape == got["1.z"].shape == heads
    assert got["1.k"].shape == got["1.v"].shape == (2, 7, config.n_kv_heads, config.d_head)
    assert got["1.result"].shape == got["1.q_input"].shape == (2, 7, config.n_heads, config.d_model)
    assert got["1.pattern"].shape == got["1.attn_scores"].shape == (2, config.n_heads, 7, 7)
    assert got["1.mlp.pre"].shape == got["1.mlp.post"].shape == (2, 7, config.d_mlp)
    assert got["ln_final.hook_scale"].shape == (2, 7, 1)
    assert len(got) == len(model.sites())
    for site in model.sites():
        if site.component not in ("pattern", "attn_scores"):
            assert model.site_width(site) == got[site].shape[-1], site


def test_the_parts_add_up(model: Transformer) -> None:
    with torch.no_grad(), model.capture(*model.sites()) as got:
        logits = model(TOKENS)
    for layer in range(model.n_layers):
        at = {site.component: got[site] for site in got if site.layer == layer}
        if model.config.parallel:
            close(at["resid_post"], at["resid_pre"] + at["attn_out"] + at["mlp_out"])
        else:
            close(at["resid_mid"], at["resid_pre"] + at["attn_out"])
            close(at["resid_post"], at["resid_mid"] + at["mlp_out"])
            close(at["mlp_in"], at["resid_mid"])
        bias = model.blocks[layer].attn.o.bias
        close(at["attn_out"], at["result"].sum(2) + (0 if bias is None else bias))
        close(at["pattern"], at["attn_scores"].softmax(-1))
        close(at["pattern"].sum(-1), torch.ones(2, model.n_heads, 7))
        assert (at["pattern"].triu(1) == 0).all()
        assert (at["attn_scores"].triu(1).masked_select(torch.ones(7, 7).triu(1).bool()) == -torch.inf).all()
        values = at["v"].repeat_interleave(model.n_heads // model.config.n_kv_heads, dim=2)
        close(at["z"], torch.einsum("bhqk,bkhd->bqhd", at["pattern"], values))
        inner = at["mlp.pre"]
        gate = model.blocks[layer].mlp.activation(inner)
        close(at["mlp.post"], gate * at["mlp.pre_linear"] if "mlp.pre_linear" in at else gate)
    final = got[f"{model.n_layers - 1}.resid_post"]
    close(model.logits(model.ln_final(final)), logits)


def test_norm_sites_are_those_of_transformer_lens(model: Transformer) -> None:
    with torch.no_grad(), model.capture("0.resid_pre", "0.ln1.scale", "0.ln1.normalized") as got:
        model(TOKENS)
    x, norm = got["0.resid_pre"], model.blocks[0].ln1
    if norm.kind == "layer":
        centred = x - x.mean(-1, keepdim=True)
        close(got["0.ln1.scale"], (x.var(-1, keepdim=True, unbiased=False) + norm.eps).sqrt())
        close(got["0.ln1.normalized"], centred / got["0.ln1.scale"] * norm.weight + norm.bias)
    else:
        close(got["0.ln1.scale"], (x.square().mean(-1, keepdim=True) + norm.eps).sqrt())
        close(got["0.ln1.normalized"], x / got["0.ln1.scale"])


def test_capturing_changes_nothing(model: Transformer) -> None:
    with torch.no_grad():
        before = model(TOKENS)
        for site in model.sites():
            with model.capture(site), model.edit(site, lambda x: x.clone()):
                close(model(TOKENS), before)
        assert torch.equal(model(TOKENS), before)
    assert len(model.hooks) == 0


def test_every_edit_is_felt_and_gradients_flow_through_it(model: Transformer) -> None:
    with torch.no_grad():
        before = model(TOKENS)
    for site in model.sites():
        size = torch.tensor(1.0, requires_grad=True)

        def change(x: torch.Tensor, site: Site = site, size: torch.Tensor = size) -> torch.Tensor:
            noise = size * torch.rand(x.shape, generator=torch.Generator().manual_seed(3))
            return x * (1 + noise) if site.component.endswith("scale") else x + noise

        with model.edit(site, change):
            after = model(TOKENS)
        assert after.isfinite().all(), site
        assert (after - before).abs().max() > 1e-3, site
        (slope,) = torch.autograd.grad(after.square().sum(), size)
        assert slope.isfinite(), site
        assert slope != 0, site


def test_gradients_of_captured_activations(model: Transformer) -> None:
    with model.capture("1.resid_pre", "1.pattern", "1.z", gradients=True) as got:
        logits = model(TOKENS)
    gradients = torch.autograd.grad(logits[:, -1, 5].sum(), [got["1.resid_pre"], got["1.pattern"], got["1.z"]])
    step = 1e-3
    direction = gradients[0] / gradients[0].norm()
    with torch.no_grad():
        with model.edit("1.resid_pre", lambda x: x + step * direction):
            up = model(TOKENS)[:, -1, 5].sum()
        with model.edit("1.resid_pre", lambda x: x - step * direction):
            down = model(TOKENS)[:, -1, 5].sum()
    assert (up - down) / (2 * step) == pytest.approx(float(gradients[0].norm()), rel=1e-2)


def test_an_edit_is_causal(model: Transformer) -> None:
    def later(x: torch.Tensor) -> torch.Tensor:
        return torch.cat((x[:, :4], x[:, 4:].flip(-1)), dim=1)

    with torch.no_grad():
        before = model(TOKENS)
        with model.edit("1.resid_pre", later):
            after = model(TOKENS)
    close(after[:, :4], before[:, :4])
    assert (after[:, 4:] - before[:, 4:]).abs().max() > 1e-2


def test_replaying_a_site_replays_what_follows(model: Transformer) -> None:
    other = TOKENS.flip(1)
    with torch.no_grad():
        for component in ("resid_pre", "resid_post"):
            source = model.activations(other, [f"1.{component}"])[Site(1, component)]
            with model.edit(f"1.{component}", lambda x, source=source: source):
                close(model(TOKENS), model(other))


def test_attachments_run_in_order(model: Transformer) -> None:
    with torch.no_grad():
        with model.edit("0.resid_post", lambda x: x + 1), model.capture("0.resid_post") as inner:
            model(TOKENS)
        with model.capture("0.resid_post") as outer, model.edit("0.resid_post", lambda x: x + 1):
            model(TOKENS)
        with model.edit("0.resid_post", lambda x: 2 * x), model.edit("0.resid_post", lambda x: x + 1):
            both = model.activations(TOKENS, ["0.resid_post"])
    close(inner["0.resid_post"], outer["0.resid_post"] + 1)
    close(both[Site.parse("0.resid_post")], 2 * outer["0.resid_post"] + 1)


@given(layers=st.lists(st.integers(0, 1), max_size=4), fails=st.integers(0, 5))
def test_nothing_survives_an_exception(layers: list[int], fails: int) -> None:
    model = random_model()

    def broken(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("broken edit")

    with contextlib.suppress(RuntimeError), contextlib.ExitStack() as stack:
        for number, layer in enumerate(layers):
            action = broken if number == fails else torch.Tensor.clone
            stack.enter_context(model.edit(f"{layer}.resid_post", action))
            stack.enter_context(model.capture(f"{layer}.mlp.post", f"{layer}.pattern"))
        model(TOKENS)
        raise RuntimeError("broken user")
    assert len(model.hooks) == 0
    context = ForwardContext(None)
    assert all(model.hooks.at(layer, context) is None for layer in (None, 0, 1))


def test_a_failed_attachment_leaves_nothing(model: Transformer) -> None:
    with pytest.raises(SiteError), model.capture("0.resid_post", "0.nowhere"):
        pass
    assert len(model.hooks) == 0


def test_what_never_ran_is_an_error_that_names_its_site() -> None:
    model = random_model()
    for use in (model.capture("1.resid_post"), model.edit("1.resid_post", lambda x: x)):
        with pytest.raises(SiteError, match=r"Nothing was done at blocks\.1\.hook_resid_post"), use:
            model.activations(TOKENS, ["0.resid_post"])
    with pytest.raises(ZeroDivisionError), model.capture("1.resid_post"):
        _ = 1 / 0
    assert len(model.hooks) == 0


def test_actions_are_told_the_role_of_each_position() -> None:
    model, seen = random_model(), []
    assert model.tokenizer.bos_id is not None

    def action(value: torch.Tensor, context: ForwardContext) -> torch.Tensor:
        seen.append(context.roles.tolist())
        return value

    with torch.no_grad(), model.attach("0.resid_post", action):
        model(torch.tensor([[model.tokenizer.bos_id, 5, 6]]))
        model.generate(["ab", "c"], max_new_tokens=2)
    padding, special, _, prompt, generated = Role
    assert seen[0] == [[special, prompt, prompt]]
    assert seen[1] == [[special, prompt, prompt], [padding, special, prompt]]
    assert seen[2] == [[generated], [generated]]


def test_activations_stop_after_the_last_site() -> None:
    model, ran = gpt2_like(), []
    for index, block in enumerate(model.blocks):
        block.mlp.register_forward_hook(lambda *_, index=index: ran.append(index))
    model.ln_final.register_forward_hook(lambda *_: ran.append(99))
    with torch.no_grad():
        got = model.activations(TOKENS, ["1.resid_mid", "0.pattern", "1.resid_mid"])
        assert ran == [0]
        assert [str(site) for site in got] == ["blocks.1.hook_resid_mid", "blocks.0.attn.hook_pattern"]
        ran.clear()
        model.activations(TOKENS, ["0.resid_pre"])
        assert ran == []
        with model.capture("0.resid_pre", "1.resid_mid") as whole:
            model(TOKENS)
        assert ran == [0, 1, 2, 99]
    close(got[Site(1, "resid_mid")], whole["1.resid_mid"])
    assert model.activations(TOKENS, []) == {}
    assert len(model.hooks) == 0


def test_no_scores_are_made_unless_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model()
    monkeypatch.setattr(type(model.blocks[0].attn), "_explicit", None)
    with torch.no_grad():
        with model.capture("0.q", "0.z", "0.result", "1.resid_post"):
            model(TOKENS)
        with pytest.raises(TypeError), model.capture("0.pattern"):
            model(TOKENS)


def test_missing_sites_say_why() -> None:
    llama, gpt2, parallel = random_model(), gpt2_like(), gpt2_like(parallel=True)
    for model, site, reason in (
        (llama, "0.resid_posts", "0.resid_post"),
        (llama, "2.resid_post", "2 blocks, 0 to 1"),
        (llama, "hook_pos_embed", "rotations"),
        (llama, "0.attn_in", "q_input"),
        (gpt2, "0.rot_q", "not rotated here"),
        (olmo_like(), "0.ln1.scale", "read the stream as it is"),
        (olmo_like(), "1.rot_k", "not rotated here"),
        (gpt2, "0.mlp.pre_linear", "no gate"),
        (parallel, "1.resid_mid", "no residual between"),
    ):
        for use in (model.capture, model.site_width, lambda s, model=model: model.activations(TOKENS, [s])):
            with pytest.raises(SiteError, match=reason):
                with_site = use(site)
                with_site.__enter__()
    with pytest.raises(SiteError, match="no fixed width"):
        llama.site_width("0.pattern")
    with pytest.raises(SiteError, match="run the model"), llama.capture("0.q") as got:
        got["0.q"]


def test_norms_behind_attention_and_mlp() -> None:
    model = olmo_like()
    with torch.no_grad(), model.capture(*model.sites()) as got:
        model(TOKENS)
    block = model.blocks[0]
    close(got["0.mlp_in"], got["0.resid_pre"] + got["0.attn_out"])
    close(got["0.attn_out"], block.ln1_post(got["0.result"].sum(2) + block.attn.o.bias))
    close(got["0.mlp_out"], block.ln2_post(block.mlp.out(got["0.mlp.post"])))
    edit = model.edit("0.k_input", lambda x: x * torch.linspace(0, 1, x.shape[-1]))
    with torch.no_grad(), edit, model.capture("0.q", "0.k") as edited:
        model(TOKENS)
    close(edited["0.q"], got["0.q"])
    assert (edited["0.k"] - got["0.k"]).abs().max() > 1e-3


def test_an_edit_must_keep_the_shape() -> None:
    model = random_model()
    for wrong in (lambda x: x[:, :1], lambda x: None, lambda x: x.sum()):
        with model.edit("0.resid_post", wrong), pytest.raises(SiteError, match=r"shape \(2, 7, 32\)"):
            model(TOKENS)


def test_edits_of_one_input_reach_that_input_only() -> None:
    model = gpt2_like()
    with torch.no_grad():
        with model.capture("1.q", "1.k", "1.v") as before:
            model(TOKENS)
        for name in "qkv":
            edit = model.edit(f"1.{name}_input", lambda x: x * torch.linspace(0, 1, x.shape[-1]))
            with edit, model.capture("1.q", "1.k", "1.v") as after:
                model(TOKENS)
            changed = {other for other in "qkv" if (after[f"1.{other}"] - before[f"1.{other}"]).abs().max() > 1e-3}
            assert changed == {name}

        def one_head(x: torch.Tensor) -> torch.Tensor:
            return torch.cat((x[:, :, :2], torch.zeros_like(x[:, :, 2:3]), x[:, :, 3:]), dim=2)

        with model.edit("1.attn_in", one_head), model.capture("1.z") as edited, model.capture("1.q") as after:
            model(TOKENS)
        close(after["1.q"][:, :, [0, 1, 3]], before["1.q"][:, :, [0, 1, 3]])
        assert (after["1.q"][:, :, 2] - before["1.q"][:, :, 2]).abs().max() > 1e-3
        assert edited["1.z"].isfinite().all()


def test_captures_with_a_cache_are_of_the_new_tokens() -> None:
    from monosema.models import KVCache

    model, cache = random_model(), KVCache()
    with torch.no_grad(), model.capture("1.q", "1.pattern", "0.resid_post") as got:
        model(TOKENS)
        whole = dict(got)
        model(TOKENS[:, :5], None, cache)
        model(TOKENS[:, 5:], None, cache)
    close(got["1.q"], whole[Site(1, "q")][:, 5:])
    close(got["1.pattern"], whole[Site(1, "pattern")][:, :, 5:])
    close(got["0.resid_post"], whole[Site(0, "resid_post")][:, 5:])
