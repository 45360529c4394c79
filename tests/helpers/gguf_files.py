"""Writes models of transformers' own code as GGUF files, in the way llama.cpp's converter does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import tokenizers
import torch
from gguf import GGMLQuantizationType as Kind
from tokenizers import decoders, models, pre_tokenizers, trainers

ARCHITECTURES = {"gemma3_text": "gemma3", "gpt_neox": "gptneox"}
"""Where llama.cpp calls a family otherwise than transformers."""
SPECIAL = ("<|end|>", "<|user|>", "<|pad|>")
TEXTS = ["the cat sat on the mat, in 1999 and 2024", "naïve café — 漢字  and   spaces", "def f(x):\n\treturn x\r\n\n"]
TEMPLATE = "{% for m in messages %}<|user|>{{ m['content'] }}{{ eos_token }}{% endfor %}"


def trained_bytes(vocab: int) -> tokenizers.Tokenizer:
    """A small BPE tokenizer over bytes, cut as GPT-2's."""
    raw = tokenizers.Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(TEXTS * 20, trainer)
    assert raw.get_vocab_size() == vocab
    return raw


def add_byte_tokenizer(writer: gguf.GGUFWriter, raw: tokenizers.Tokenizer, pre: str | None = "gpt-2") -> None:
    """The metadata of a BPE tokenizer over bytes, and of a chat template."""
    tokens = sorted(raw.get_vocab(), key=raw.get_vocab().__getitem__)
    writer.add_tokenizer_model("gpt2")
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in tokens])
    merges = json.loads(raw.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)


def add_sentencepiece(writer: gguf.GGUFWriter, texts: list[str], prefix: bool = True) -> list[str]:
    """The metadata of a SentencePiece tokenizer with byte tokens, trained on texts; returns its tokens.

    Scores fall with the rank of the merge, as SentencePiece's do.
    """
    raw = tokenizers.Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.train_from_iterator(texts * 20, trainers.BpeTrainer(vocab_size=120, show_progress=False))
    trained = raw.get_vocab()
    pieces = sorted(trained, key=trained.__getitem__)
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [-float(rank) for rank in range(len(pieces))])
    writer.add_token_types([2, 3, 3, *([6] * 256), *([1] * len(pieces))])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(prefix)
    return tokens


def write_header(path: Path, architecture: str, add: Callable[[gguf.GGUFWriter], Any]) -> None:
    """Write a file of metadata alone."""
    writer = gguf.GGUFWriter(path, architecture)
    add(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_gguf(path: Path, model: Any, kind: Kind = Kind.F32, pre: str | None = "gpt-2", **more: Any) -> None:
    """Write a model and a small tokenizer; the model's weights become what the file's dequantise to.

    Rows that are no whole number of a quantisation's blocks are stored as F16, as llama.cpp does.
    """
    config = model.config
    name = ARCHITECTURES.get(config.model_type, config.model_type)
    writer = gguf.GGUFWriter(path, name)
    layers = _add_config(writer, config)
    for key, value in more.items():
        writer.add_key_value(f"{name}.{key.replace('__', '.')}", value, gguf.GGUFValueType.get_type(value))
    add_byte_tokenizer(writer, trained_bytes(config.vocab_size), pre)
    architecture = next(known for known, text in gguf.MODEL_ARCH_NAMES.items() if text == name)
    names = gguf.get_tensor_name_map(architecture, layers)
    tied = bool(config.tie_word_embeddings)
    with torch.no_grad():
        for theirs, parameter in model.named_parameters():
            if tied and "lm_head" in theirs:
                continue
            stored = names.get_name(theirs, (".weight", ".bias"))
            assert stored is not None, theirs
            values = _arranged(name, theirs, parameter, config).contiguous().numpy()
            values = _quantised(writer, stored, values, kind)
            parameter.copy_(_restored(name, theirs, torch.from_numpy(np.array(values)), config))
    if name == "llama" and (config.rope_parameters or {}).get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", _llama3_factors(config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _quantised(writer: gguf.GGUFWriter, name: str, values: np.ndarray, kind: Kind) -> np.ndarray:
    block = gguf.GGML_QUANT_SIZES[kind][0]
    used = Kind.F32 if values.ndim == 1 else kind if values.shape[-1] % block == 0 else Kind.F16
    data = gguf.quants.quantize(values, used)
    writer.add_tensor(name, data, raw_dtype=used)
    return gguf.quants.dequantize(data, used)


def _add_config(writer: gguf.GGUFWriter, config: Any) -> int:
    kind = config.model_type
    if kind == "gpt2":
        writer.add_context_length(config.n_positions)
        writer.add_embedding_length(config.n_embd)
        writer.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
        writer.add_block_count(config.n_layer)
        writer.add_head_count(config.n_head)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return config.n_layer
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    rope = config.rope_parameters
    if kind == "gpt_neox":
        d_head = config.hidden_size // config.num_attention_heads
        writer.add_rope_dimension_count(int(d_head * rope["partial_rotary_factor"]))
        writer.add_rope_freq_base(rope["rope_theta"])
        writer.add_layer_norm_eps(config.layer_norm_eps)
        writer.add_parallel_residual(config.use_parallel_residual)
        return config.num_hidden_layers
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    d_head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if d_head * config.num_attention_heads != config.hidden_size or kind.startswith("gemma"):
        writer.add_key_length(d_head)
        writer.add_value_length(d_head)
    if kind == "gemma3_text":
        writer.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
        rope = rope["full_attention"]
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if kind in ("llama", "smollm3", "phi3"):
        writer.add_rope_dimension_count(d_head)
    if kind in ("gemma2", "gemma3_text", "phi3"):
        writer.add_sliding_window(config.sliding_window)
        for cap in ("attn_logit_softcapping", "final_logit_softcapping"):
            if getattr(config, cap, None) is not None:
                getattr(writer, f"add_{cap}")(getattr(config, cap))
    return config.num_hidden_layers


def _heads(theirs: str, config: Any) -> int | None:
    counts = {"q_proj": config.num_attention_heads, "k_proj": getattr(config, "num_key_value_heads", 0)}
    return counts.get(theirs.split(".")[-2])


def _arranged(architecture: str, theirs: str, weight: torch.Tensor, config: Any) -> torch.Tensor:
    weight = weight.detach()
    if architecture in ("llama", "smollm3") and (heads := _heads(theirs, config)):
        halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
        return halves.swapaxes(1, 2).reshape(weight.shape)
    if architecture.startswith("gemma") and theirs.endswith("norm.weight"):
        return weight + 1
    if architecture == "gpt2" and ".c_" in theirs and theirs.endswith("weight"):
        return weight.T
    if architecture == "gptneox" and "query_key_value" in theirs:
        each = weight.reshape(config.num_attention_heads, 3, -1, *weight.shape[1:])
        return torch.cat([each[:, part].flatten(0, 1) for part in range(3)])
    return weight


def _restored(architecture: str, theirs: str, weight: torch.Tensor, config: Any) -> torch.Tensor:
    if architecture in ("llama", "smollm3") and (heads := _heads(theirs, config)):
        pairs = weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:])
        return pairs.swapaxes(1, 2).reshape(weight.shape)
    if architecture.startswith("gemma") and theirs.endswith("norm.weight"):
        return weight - 1
    if architecture == "gpt2" and ".c_" in theirs and theirs.endswith("weight"):
        return weight.T
    if architecture == "gptneox" and "query_key_value" in theirs:
        parts = [part.unflatten(0, (config.num_attention_heads, -1)) for part in weight.chunk(3)]
        return torch.stack(parts, dim=1).flatten(0, 2)
    return weight


def _llama3_factors(config: Any) -> np.ndarray:
    """What llama.cpp's converter stores of Llama 3.1's stretch: each frequency's divisor."""
    rope = config.rope_parameters
    d_head = config.head_dim
    base = 1.0 / (rope["rope_theta"] ** (np.arange(0, d_head, 2, dtype=np.float32) / d_head))
    low = rope["original_max_position_embeddings"] / rope["low_freq_factor"]
    high = rope["original_max_position_embeddings"] / rope["high_freq_factor"]
    factors = []
    for wavelength in 2 * np.pi / base:
        if wavelength < high:
            factors.append(1.0)
        elif wavelength > low:
            factors.append(rope["factor"])
        else:
            turns = rope["original_max_position_embeddings"] / wavelength
            smooth = (turns - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(factors, dtype=np.float32)
