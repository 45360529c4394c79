"""Loading of Hugging Face models by transformers' own code, as `AdaptedModel`s, with its complaints in our words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from monosema.core import DamagedFileError, UnsupportedModelError, read_json
from monosema.models.adapter import WRITING, AdaptedModel
from monosema.models.tokenizer import Tokenizer
from monosema.models.weights import WRAPPER


def load_adapted(
    folder: Path, name: str, device: torch.device, dtype: torch.dtype, trust_remote_code: bool = False
) -> AdaptedModel:
    """Load any other Hugging Face model by transformers' own code; code in its folder is run only where that is said.

    Raises:
        UnsupportedModelError: transformers doesn't know the type, or the model needs code of its own.
        DamagedFileError: weights that are missing or can't be read.
    """
    values = read_json(folder / "config.json")
    with _transformers_errors(folder):
        module, report = _auto_class(values).from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=trust_remote_code,
        )
    missing = [key for key in report["missing_keys"] if "pooler." not in key]
    if missing:
        raise DamagedFileError(
            f"{len(missing)} tensors are missing in {folder}: {', '.join(sorted(missing)[:4])}. It is not complete"
            f"{_wrapped(report['unexpected_keys'])}."
        )
    if len(missing) < len(report["missing_keys"]):
        module.pooler = None  # it was never trained
    tokenizer = Tokenizer.from_folder(folder, values) if (folder / "tokenizer.json").exists() else None
    model = AdaptedModel(module.to(device).requires_grad_(False), name, tokenizer, folder)
    vocab = model.fact("vocab")
    if tokenizer is not None and vocab is not None:
        tokenizer.limit(vocab)
    return model


def _wrapped(unexpected: Iterable[str]) -> str:
    """Return advice where training wrapped the model before it was saved, so that its tensors are called otherwise."""
    if not any(WRAPPER.search(name) for name in unexpected):
        return ""
    return ", or it was saved from within the wrapper of a training library: save the model inside it"


def empty_foreign_model(folder: Path, values: Mapping[str, Any]) -> AdaptedModel:
    """The shape of a Hugging Face model, without memory for its weights. Raises UnsupportedModelError."""
    with _transformers_errors(folder), torch.device("meta"):
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return AdaptedModel(_auto_class(values).from_config(config, trust_remote_code=False))


def _auto_class(values: Mapping[str, Any]) -> Any:
    """The kind of model that config.json names: one that continues text, the encoder of a pair, or the bare model."""
    import transformers

    architectures = [str(kind) for kind in values.get("architectures") or ()]
    if values.get("is_encoder_decoder"):
        if any(kind.endswith("EncoderModel") for kind in architectures):
            return transformers.AutoModelForTextEncoding
        raise UnsupportedModelError(
            f"{values.get('model_type')} models read one text and write another (is_encoder_decoder = True); monosema "
            "opens models of one text only."
        )
    writes = any(kind.endswith(WRITING) for kind in architectures)
    if writes and "text_config" in values:
        return transformers.AutoModelForImageTextToText
    return transformers.AutoModelForCausalLM if writes else transformers.AutoModel


@contextlib.contextmanager
def _transformers_errors(folder: Path) -> Iterator[None]:
    """Say in our words what transformers complains of, and keep its progress bar silent."""
    from safetensors import SafetensorError
    from transformers.utils import logging

    bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    except SafetensorError as error:
        raise DamagedFileError(f"The weights in {folder} are damaged or end too early ({error}).") from None
    except (ValueError, OSError, ImportError) as error:
        raise UnsupportedModelError(_why_not(folder, str(error))) from None
    finally:
        if bar:
            logging.enable_progress_bar()


def _why_not(folder: Path, said: str) -> str:
    """Say why transformers does not load a model, and what to do, without its essays."""
    import transformers

    values = read_json(folder / "config.json")
    kind = values.get("model_type")
    if "auto_map" in values:
        return (
            f"The model in {folder}, of type {kind!r}, is computed by code in its folder, which is not run unasked. "
            "Where you trust it: load_model(…, trust_remote_code=True)."
        )
    if kind is None or kind not in transformers.CONFIG_MAPPING:
        return (
            f"The model in {folder} is of the type {kind!r}, which neither monosema nor transformers "
            f"{transformers.__version__} knows. Update transformers (pip install -U transformers), or wrap the module "
            "yourself: monosema.models.AdaptedModel."
        )
    return f"transformers can't load the model in {folder}, of type {kind!r}: {said.strip().splitlines()[0]}"
