"""Saving a decoder in Hugging Face's layout: config.json, safetensors and tokenizer, as its own family writes them.

The family's layout is read backwards: a parameter that is made of several tensors is cut into them, one that is stored
as its transpose is turned, one that is stored in another order is put back into it. The precision is that of the
original files where it holds the weights exactly.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from monosema.core import InputError, UnsupportedModelError, write_json
from monosema.models.config import TransformerConfig
from monosema.models.decoder import Block
from monosema.models.loading import CONFIG_KEYS, FAMILIES, family_config, model_values
from monosema.models.transformer import Transformer
from monosema.models.weights import Source

_TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"),
    *("generation_config.json", "added_tokens.json", "vocab.json", "merges.txt"),
)


def save_model(model: Transformer, folder: Path, origin: Path | None = None) -> None:
    """Write a decoder that transformers, and `load_model`, read again.

    Args:
        origin: files of the model that it was made from, whose config.json and tokenizer are taken; None for its own.

    Raises:
        InputError: the folder holds something already, or nothing is known of where the model comes from.
        UnsupportedModelError: the family's files can't say what the model is.
    """
    origin = model.folder if origin is None else origin
    if origin is None:
        raise InputError(f"{model.name!r} was made in memory: say whose config.json and tokenizer it has.")
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} holds something already. Name an empty folder, or one that is not there yet.")
    values = config_values(model.config, model_values(origin), origin)
    tensors = _tensors(model, values)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", values)
    _write_tokenizer(model, folder, origin)


def config_values(config: TransformerConfig, values: dict[str, Any], origin: Path) -> dict[str, Any]:
    """Return the fields of a config.json with sizes changed to those of `config`.

    Raises UnsupportedModelError where the family then reads another model, as where heads must share the width evenly.
    """
    family = FAMILIES[values["model_type"]]
    before, changed = family_config(family, values, origin), dict(values)
    for name in ("n_layers", "n_heads", "n_kv_heads", "d_mlp"):
        if getattr(config, name) != getattr(before, name):
            keys = CONFIG_KEYS[name]
            changed[next((key for key in keys if key in values), keys[0])] = getattr(config, name)
    if config.n_heads != before.n_heads:
        changed["head_dim"] = config.d_head
        changed.setdefault("num_key_value_heads", config.n_kv_heads)
    if "layer_types" in values or len({layer.window for layer in before.attention}) > 1:
        kinds = ["full_attention" if layer.window is None else "sliding_attention" for layer in config.attention]
        changed["layer_types"] = kinds
        for name in ("sliding_window_pattern", "_sliding_window_pattern", "max_window_layers"):
            changed.pop(name, None)
    if config.tied != before.tied:
        changed["tie_word_embeddings"] = config.tied
    try:
        said = family_config(family, changed, origin)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"A {before.family} config.json can't say what this model is: {error}") from None
    if said != config:
        fields = [name for name in TransformerConfig.model_fields if getattr(said, name) != getattr(config, name)]
        raise UnsupportedModelError(
            f"A {before.family} config.json can't say what this model is: {', '.join(fields)} would be read otherwise."
        )
    return changed


def _tensors(model: Transformer, values: dict[str, Any]) -> dict[str, Tensor]:
    state, found = model.state_dict(), dict[str, Tensor]()
    for parameter, source in FAMILIES[values["model_type"]].layout(model.config).sources.items():
        parts = _parts(parameter, source, state[parameter], _sizes(model, parameter))
        found.update(zip(source.names, parts, strict=True))
    said = str(values.get("dtype") or values.get("torch_dtype") or "float32")
    stored = getattr(torch, said, torch.float32)
    exact = all(torch.equal(one.to(stored).to(one.dtype), one) for one in found.values())
    dtype = stored if exact else model.dtype
    for key in ("dtype", "torch_dtype"):
        if key in values or key == "dtype":
            values[key] = str(dtype).removeprefix("torch.")
    return {name: one.to(dtype).cpu().contiguous().clone() for name, one in found.items()}


def _sizes(model: Transformer, parameter: str) -> Sequence[int]:
    """Rows of the tensors that a parameter may be made of."""
    if ".attn.qkv." in parameter:
        block = model.blocks[int(parameter.split(".")[1])]
        assert isinstance(block, Block)
        return block.attn.sizes
    return [model.config.d_mlp] * 2


def _parts(parameter: str, source: Source, value: Tensor, sizes: Sequence[int]) -> Sequence[Tensor]:
    """Return the stored tensors that make a parameter. Raises UnsupportedModelError where they are made otherwise."""
    for parts in _ways(source, value, sizes):
        made = source.make(*parts) if len(parts) == len(source.names) else None
        if made is not None and made.shape == value.shape and torch.equal(made, value):
            return parts
    raise UnsupportedModelError(f"{parameter} is stored in an order that can be read, but not written yet.")


def _ways(source: Source, value: Tensor, sizes: Sequence[int]) -> Iterator[Sequence[Tensor]]:
    """Give the tensors that a parameter may be stored as, the likeliest first."""
    if len(source.names) > 1:
        yield value.split(list(sizes))
        return
    yield (value,)
    yield (_reordered(source, value),)
    if value.ndim == 2:
        yield (value.mT,)


def _reordered(source: Source, value: Tensor) -> Tensor:
    """Return the tensor of the same shape that a source takes the value from, where it does no more than reorder."""
    places = torch.arange(value.numel(), device=value.device)
    order = source.make(places.view_as(value)).flatten()
    if not torch.equal(order.sort().values, places):
        return value
    return torch.empty_like(value).flatten().index_copy(0, order, value.flatten()).view_as(value)


def _write_tokenizer(model: Transformer, folder: Path, origin: Path) -> None:
    if origin.is_dir():
        for name in _TOKENIZER_FILES:
            if (origin / name).exists():
                shutil.copyfile(origin / name, folder / name)
        return
    tokenizer = model.tokenizer
    tokenizer.raw.save(str(folder / "tokenizer.json"))
    ids = {"bos_token": tokenizer.bos_id, "eos_token": tokenizer.eos_id, "pad_token": tokenizer.pad_id}
    pieces = {name: tokenizer.raw.id_to_token(id) for name, id in ids.items() if id is not None}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **pieces})
