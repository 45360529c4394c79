"""Tiny random models of transformers' own code, saved as they would be on the hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from foreign_models import foreign_model

from monosema.models import byte_tokenizer

VOCAB = 259
SMALL = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 258,
}
GPT2 = {"vocab_size": VOCAB, "n_embd": 32, "n_head": 4, "n_layer": 3, "n_positions": 64, "bos_token_id": 256}
GPT2 |= {"eos_token_id": 257, "pad_token_id": 258}
GQA = {"num_key_value_heads": 2}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 16, "rope_theta": 500.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 50.0}
YARN |= {"beta_fast": 2.0, "beta_slow": 0.1}
LONGROPE = {"type": "longrope", "short_factor": [1.0, 1.2, 1.5, 2.0], "long_factor": [1.0, 2.0, 4.0, 8.0]}
GEMMA = {**SMALL, **GQA, "head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 16}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", GPT2),
    "gpt2-untied-wide-relu": (
        "GPT2",
        {**GPT2, "tie_word_embeddings": False, "n_inner": 80, "activation_function": "relu"},
    ),
    "gpt2-scales": ("GPT2", {**GPT2, "scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True}),
    "gpt_neox": ("GPTNeoX", SMALL),
    "gpt_neox-sequential": ("GPTNeoX", {**SMALL, "use_parallel_residual": False}),
    "gpt_neox-rotary": ("GPTNeoX", {**SMALL, "rotary_pct": 1.0, "rotary_emb_base": 500, "hidden_act": "gelu_new"}),
    "gpt_neox-linear": ("GPTNeoX", {**SMALL, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
    "gpt_neox-tied-unbiased": ("GPTNeoX", {**SMALL, "tie_word_embeddings": True, "attention_bias": False}),
    "llama": ("Llama", SMALL),
    "llama-gqa-tied": ("Llama", {**SMALL, **GQA, "tie_word_embeddings": True}),
    "llama-mqa-biases": ("Llama", {**SMALL, "num_key_value_heads": 1, "attention_bias": True, "mlp_bias": True}),
    "llama-head_dim": ("Llama", {**SMALL, **GQA, "head_dim": 12, "hidden_act": "gelu", "rms_norm_eps": 1e-3}),
    "llama-llama3": ("Llama", {**SMALL, **GQA, "rope_parameters": LLAMA3}),
    "llama-linear": ("Llama", {**SMALL, "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}}),
    "llama-yarn": ("Llama", {**SMALL, "rope_parameters": YARN}),
    "llama-dynamic": ("Llama", {**SMALL, "rope_scaling": {"type": "dynamic", "factor": 2.0}}),
    "mistral": ("Mistral", {**SMALL, **GQA, "sliding_window": 4}),
    "mistral-unlimited": ("Mistral", {**SMALL, **GQA, "sliding_window": None, "head_dim": 16}),
    "qwen2": ("Qwen2", {**SMALL, **GQA}),
    "qwen2-sliding": (
        "Qwen2",
        {**SMALL, **GQA, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", {**SMALL, **GQA, "head_dim": 16, "tie_word_embeddings": True}),
    "qwen3-biases": ("Qwen3", {**SMALL, **GQA, "head_dim": 8, "attention_bias": True}),
    "gemma": ("Gemma", {**SMALL, "num_key_value_heads": 1, "head_dim": 16}),
    "gemma2": ("Gemma2", {**GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
    "gemma2-uncapped": ("Gemma2", {**GEMMA, "attn_logit_softcapping": None, "final_logit_softcapping": None}),
    "gemma3": ("Gemma3", {**GEMMA, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}),
    "gemma3-linear": (
        "Gemma3",
        {**GEMMA, "sliding_window_pattern": 2, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    ),
    "olmo2": ("Olmo2", {**SMALL, **GQA}),
    "olmo2-biases": ("Olmo2", {**SMALL, "attention_bias": True, "tie_word_embeddings": True}),
    "phi3": ("Phi3", {**SMALL, **GQA, "sliding_window": 4}),
    "phi3-partial": ("Phi3", {**SMALL, "partial_rotary_factor": 0.5, "tie_word_embeddings": True}),
    "phi3-longrope": ("Phi3", {**SMALL, "original_max_position_embeddings": 16, "rope_scaling": LONGROPE}),
    "smollm3": ("SmolLM3", {**SMALL, **GQA, "no_rope_layer_interval": 2}),
    "smollm3-sliding": (
        "SmolLM3",
        {**SMALL, **GQA, "no_rope_layers": [0, 1, 0], "use_sliding_window": True, "sliding_window": 4},
    ),
}


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Path]]:
    """From the name of a case to the foreign model and the directory that it was saved in."""
    made: dict[str, tuple[Any, Path]] = {}

    def make(name: str) -> tuple[Any, Path]:
        if name not in made:
            model = foreign_model(*CASES[name])
            folder = tmp_path_factory.mktemp(name)
            model.save_pretrained(folder)
            byte_tokenizer().raw.save(str(folder / "tokenizer.json"))
            made[name] = (model, folder)
        return made[name]

    return make


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that take `case` run for every branch of every family."""
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", list(CASES))


@pytest.fixture
def copied(foreign: Callable[[str], tuple[Any, Path]], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a saved model that a test may spoil."""
    import shutil

    def copy(name: str) -> Path:
        return Path(shutil.copytree(foreign(name)[1], tmp_path / name))

    return copy
