"""Continuing texts: the tokens of transformers when greedy, the right distribution when sampled."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monosema.core import ConfigError, InputError
from monosema.models import ChatTemplate, GenerationConfig, KVCache, Role, Transformer, load_model, random_model
from monosema.models.batch import next_token_probabilities

PROMPTS = ["the cat sat", "a", "I said: do not go there"]


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model(seed=5)


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "llama-gqa-tied", "mistral", "gemma2"])
def test_greedy_is_what_transformers_gives(foreign: Any, kind: str) -> None:
    theirs, folder = foreign(kind)
    model = load_model(folder, dtype="float32")
    rows = [model.tokenizer.encode(prompt, bos=False) for prompt in PROMPTS]
    width = max(map(len, rows))
    tokens = torch.tensor([[258] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    wanted = theirs.generate(
        tokens, attention_mask=mask, max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=258
    )
    got = model.generate(PROMPTS, max_new_tokens=12, bos=False, stop_at_eos=False)
    assert [list(generation.tokens) for generation in got] == wanted[:, width:].tolist()


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.9, "top_k": 40, "top_p": 0.9, "seed": 3}])
def test_the_cache_and_the_batch_change_nothing(model: Transformer, settings: dict[str, Any]) -> None:
    together = model.generate(PROMPTS, max_new_tokens=16, **settings)
    assert model.generate(PROMPTS, max_new_tokens=16, use_cache=False, **settings) == together
    assert model.generate(PROMPTS, max_new_tokens=16, **settings) == together
    assert model.generate(PROMPTS[0], max_new_tokens=16, **settings) == together[0]
    ids = [model.tokenizer.encode(prompt) for prompt in PROMPTS]
    assert [g.tokens for g in model.generate(ids, max_new_tokens=16, **settings)] == [g.tokens for g in together]
    assert model.generate(ids[0], max_new_tokens=16, **settings).tokens == together[0].tokens


def test_other_seeds_give_other_texts(model: Transformer) -> None:
    texts = {model.generate("a", max_new_tokens=8, temperature=1.0, seed=seed).tokens for seed in range(5)}
    assert len(texts) == 5
    same_prompt = model.generate(["a", "a"], max_new_tokens=8, temperature=1.0)
    assert same_prompt[0].tokens != same_prompt[1].tokens


def test_rows_of_one_seed_draw_with_the_same_noise(model: Transformer) -> None:
    rows = model.generate(["a", "a", "a", "b"], max_new_tokens=8, temperature=1.0, seed=(3, 3, 4, 3))
    alone = [model.generate(text, max_new_tokens=8, temperature=1.0, seed=seed) for text, seed in (("a", 3), ("a", 4))]
    assert rows[0] == rows[1] == alone[0]
    assert rows[2] == alone[1]
    with pytest.raises(InputError, match="holds 2 seeds for 1 prompts"):
        model.generate("a", seed=(1, 2))


def test_samples_follow_the_distribution(model: Transformer) -> None:
    config = GenerationConfig(temperature=1.5, top_k=6, max_new_tokens=1, seed=1)
    n = 4000
    drawn = torch.tensor([g.tokens[0] for g in model.generate(["xyz"] * n, **config.to_dict())])
    ids = torch.tensor([model.tokenizer.encode("xyz")])
    with torch.no_grad():
        expected = n * next_token_probabilities(model(ids)[:, -1], config)[0]
    counts = drawn.bincount(minlength=model.vocab).float()
    assert (counts[expected == 0] == 0).all()
    kept = expected > 0
    chi_squared = ((counts - expected)[kept] ** 2 / expected[kept]).sum()
    assert int(kept.sum()) == 6
    assert chi_squared < 20.5, "5 degrees of freedom, p = 0.001"


@given(
    logits=st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=12),
    top_k=st.none() | st.integers(1, 15),
    top_p=st.none() | st.floats(0.05, 1.0),
    temperature=st.floats(0.1, 3.0),
)
def test_probabilities(logits: list[float], top_k: int | None, top_p: float | None, temperature: float) -> None:
    """Against the definition, token by token."""
    config = GenerationConfig(temperature=temperature, top_k=top_k, top_p=top_p)
    got = next_token_probabilities(torch.tensor([logits]), config)[0]
    assert float(got.sum()) == pytest.approx(1, abs=1e-5)
    kept = got > 0
    scaled = (torch.tensor(logits) / temperature).exp()
    torch.testing.assert_close(got[kept], scaled[kept] / scaled[kept].sum(), atol=1e-5, rtol=1e-4)
    if (~kept).any():
        assert scaled[kept].min() >= scaled[~kept].max() * (1 - 1e-5)
    if top_k is not None and len(set(logits)) == len(logits):
        assert int(kept.sum()) <= top_k
    if top_p is not None and top_k is None:
        whole = scaled / scaled.sum()
        assert float(whole[kept].sum()) >= top_p - 1e-4
        assert float(whole[kept].sum() - whole[kept].min()) < top_p + 1e-4
    if top_k is None and top_p is None:
        assert kept.all()


def test_greedy_takes_the_most_likely(model: Transformer) -> None:
    cache = KVCache()
    tokens = torch.tensor([model.tokenizer.encode("abc")])
    written: list[int] = []
    with torch.no_grad():
        for _ in range(6):
            best = int(model(tokens, None, cache)[0, -1].argmax())
            written.append(best)
            tokens = torch.tensor([[best]])
    assert list(model.generate("abc", max_new_tokens=6).tokens) == written


def test_a_stream_gives_the_text_piece_by_piece(model: Transformer) -> None:
    settings = {"max_new_tokens": 12, "temperature": 1.5, "seed": 3}
    whole = model.generate(["abc", "longer prompt"], **settings)
    stop = whole[1].text[4:6]
    for changed in (settings, {**settings, "stop": (stop,)}):
        whole, texts, tokens = model.generate(["abc", "longer prompt"], **changed), ["", ""], [[], []]
        for piece in model.stream(["abc", "longer prompt"], **changed):
            texts[piece.row] += piece.text
            tokens[piece.row].append(piece.token)
            assert whole[piece.row].text.startswith(texts[piece.row])
            assert (piece.finish is None) == (len(tokens[piece.row]) < len(whole[piece.row].tokens))
        assert texts == [one.text for one in whole]
        assert [tuple(one) for one in tokens] == [one.tokens for one in whole]


def test_a_stream_that_is_cancelled_leaves_nothing(model: Transformer) -> None:
    runs = []
    before = model.generate("abc", max_new_tokens=8)
    with model.attach("0.resid_post", lambda x, _: runs.append(1) or x + 1):
        stream = model.stream("abc", max_new_tokens=50)
        next(stream), next(stream)
        stream.close()
        assert list(stream) == []
    assert len(runs) == 2
    assert len(model.hooks) == 0
    assert model.generate("abc", max_new_tokens=8) == before


def test_a_prompt_is_continued_the_same_way_in_any_batch(model: Transformer) -> None:
    settings = {"max_new_tokens": 6, "temperature": 1.0, "seed": 1}
    alone = model.generate("abc", **settings).tokens
    assert model.generate(["x", "longer prompt", "abc"], **settings)[2].tokens == alone
    first, second = model.generate(["abc", "abc"], **settings)
    assert first.tokens == alone, "the first copy"
    assert second.tokens != alone, "a second copy has draws of its own"
    assert model.generate("abc", **{**settings, "seed": 2}).tokens != alone


@pytest.mark.parametrize("use_cache", [True, False])
def test_edits_hold_at_every_step(model: Transformer, use_cache: bool) -> None:
    direction = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    strengths = torch.tensor([0.0, 3.0])[:, None, None]
    with model.edit("0.resid_post", lambda x: x + strengths * direction):
        got = model.generate(["abc", "longer prompt"], max_new_tokens=8, use_cache=use_cache)
    with model.edit("0.resid_post", lambda x: x + 3.0 * direction):
        changed = model.generate("longer prompt", max_new_tokens=8)
    assert got[0].tokens == model.generate("abc", max_new_tokens=8).tokens, "strength 0 changes nothing"
    assert got[1].tokens == changed.tokens
    assert changed.tokens != model.generate("longer prompt", max_new_tokens=8).tokens
    assert len(model.hooks) == 0


def steered_to(model: Transformer, token: int, after: int) -> Any:
    """An edit that makes the model say a token once `after` tokens have been read in the pass or in its cache."""
    steps = {"n": 0}

    def change(x: torch.Tensor) -> torch.Tensor:
        steps["n"] += 1
        target = 100 * model.unembed_weight[token].detach()
        return x if steps["n"] <= after else torch.zeros_like(x) + target

    return model.edit(f"{model.n_layers - 1}.resid_post", change)


def test_the_end_token_ends_a_text(model: Transformer) -> None:
    with steered_to(model, model.tokenizer.eos_id, after=3):
        got = model.generate("abc", max_new_tokens=20)
    assert got.finish == "eos"
    assert len(got.tokens) == 4
    assert got.tokens[-1] == model.tokenizer.eos_id
    assert "<eos>" not in got.text
    with steered_to(model, model.tokenizer.eos_id, after=3):
        assert model.generate("abc", max_new_tokens=20, stop_at_eos=False).finish == "length"


def test_stop_texts_end_a_text_and_are_left_out(model: Transformer) -> None:
    whole = model.generate("abc", max_new_tokens=20).text
    stop = whole[3:5]
    got = model.generate("abc", max_new_tokens=20, stop=(stop,))
    assert got.finish == "stop"
    assert got.text == whole[: whole.index(stop)]


def test_a_full_context_ends_a_text_and_the_others_go_on(foreign: Any) -> None:
    model = load_model(foreign("gpt2")[1], dtype="float32")
    got = model.generate([[1] * 60, [2, 3]], max_new_tokens=30, stop_at_eos=False)
    assert (got[0].finish, len(got[0].tokens)) == ("context", 4)
    assert (got[1].finish, len(got[1].tokens)) == ("length", 30)
    alone = model.generate([2, 3], max_new_tokens=30, stop_at_eos=False)
    assert got[1].tokens == alone.tokens
    with pytest.raises(InputError, match="no room"):
        model.generate([1] * 64)


def test_chat_is_the_rendered_text_continued() -> None:
    model = random_model(seed=5)
    with pytest.raises(InputError, match="no chat template"):
        model.chat([{"role": "user", "content": "hi"}])
    source = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    source += "{% if add_generation_prompt %}[assistant] {% endif %}"
    model.tokenizer.chat_template = ChatTemplate(source, {"bos_token": "<bos>"})
    got = model.chat([{"role": "user", "content": "hi"}], max_new_tokens=5)
    assert got.prompt == "<bos>[user] hi\n[assistant] "
    assert got.tokens == model.generate("[user] hi\n[assistant] ", max_new_tokens=5).tokens
    roles: list[list[int]] = []
    with model.attach("0.resid_post", lambda x, context: roles.append(context.roles.tolist()[0]) or x):
        model.chat([{"role": "user", "content": "user"}], max_new_tokens=2)
    header = [Role.SPECIAL, *[Role.TEMPLATE] * len("[user] ")]
    assert roles[0] == [*header, *[Role.PROMPT] * len("user"), *[Role.TEMPLATE] * len("\n[assistant] ")]
    assert roles[1] == [Role.GENERATED]


def test_wrong_settings_and_prompts(model: Transformer) -> None:
    with pytest.raises(ConfigError, match="temperature"):
        model.generate("a", temperature=-1)
    with pytest.raises(ConfigError, match="top_q"):
        model.generate("a", top_q=0.5)
    with pytest.raises(InputError, match="Prompt 1 has no tokens"):
        model.generate(["a", ""], bos=False)
    assert model.generate([]) == []
    with pytest.raises(InputError, match="0 to 258"):
        model.generate([300])


@pytest.mark.parametrize("temperature", [1e-300, 1e-40, 1e-20])
def test_a_temperature_of_next_to_nothing_draws_the_largest(temperature: float) -> None:
    got = next_token_probabilities(torch.tensor([[3.0, -2.0, 3.5]]), GenerationConfig(temperature=temperature))
    assert got.tolist() == [[0.0, 0.0, 1.0]]


@pytest.mark.parametrize("top_p", [1e-300, 1e-40, 1e-20])
def test_a_top_p_of_next_to_nothing_keeps_the_largest(top_p: float) -> None:
    config = GenerationConfig(temperature=1.0, top_p=top_p)
    assert next_token_probabilities(torch.tensor([[3.0, -2.0, 3.5]]), config).tolist() == [[0.0, 0.0, 1.0]]
