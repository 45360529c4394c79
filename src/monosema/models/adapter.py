"""Sites by module path in any torch module: other language models, encoders, vision models, recommenders.

A site is the output of a module, named by its path (``encoder.layer.3``); of an output that is a tuple, a list or a
mapping it is the first tensor. They are reached by forward hooks that exist only while something is attached.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from monosema.core import (
    ConfigError,
    InputError,
    Site,
    SiteError,
    UnsupportedModelError,
    digest,
    nearest,
)
from monosema.models.context import ForwardContext, KVCache
from monosema.models.hooks import Action
from monosema.models.texts import TextModel, token_rows
from monosema.models.tokenizer import Tokenizer
from monosema.models.weights import bytes_digest, files_digest

_NEVER_CALLED = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
WRITING = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""Endings of the classes of models that continue text: those of text alone, and of images and text."""
_FACTS = {
    "d_model": ("hidden_size", "n_embd", "d_model", "dim"),
    "n_layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "n_heads": ("num_attention_heads", "n_head", "num_heads", "n_heads"),
    "vocab": ("vocab_size",),
    "context": ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx", "seq_length"),
}


class AdaptedModel(TextModel):
    """Any torch module, with sites by module path.

    Args:
        module: the module. One of Hugging Face's is called with token ids and mask; any other with its input as it is
            (a tuple gives several arguments, a mapping named ones).
        name: what reports call it.
        tokenizer: for a language model.
        folder: where its files are.
        example: an input for modules that are not Hugging Face's, from which the widths of sites are learnt.
    """

    def __init__(
        self,
        module: nn.Module,
        name: str = "unnamed",
        tokenizer: Tokenizer | None = None,
        folder: Path | None = None,
        example: Any = None,
    ) -> None:
        self.module = module.eval()
        self.name = name
        self.folder = folder
        self.example = example
        self._tokenizer = tokenizer
        self._context = ForwardContext(None)
        self._parts = {path: m for path, m in module.named_modules() if path and not isinstance(m, _NEVER_CALLED)}

    @property
    def _is_hugging_face(self) -> bool:
        return hasattr(self.module, "config") and hasattr(self.module, "get_input_embeddings")

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to ids and back. Raises InputError when the model has none."""
        if self._tokenizer is None:
            raise InputError(f"The model {self.name!r} has no tokenizer: give it its inputs as tensors.")
        return self._tokenizer

    @functools.cached_property
    def digest(self) -> str:
        """Hash of the files it was loaded from, or of its weights where there are none."""
        if self.folder is not None:
            return files_digest(self.folder)
        weights = {name: bytes_digest(tensor) for name, tensor in self.module.state_dict().items()}
        return digest({"module": type(self.module).__name__, "weights": weights})

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return next(self.module.parameters()).dtype

    @property
    def d_model(self) -> int:
        """Width of the residual stream, as the configuration says."""
        return self._fact("d_model")

    @property
    def n_layers(self) -> int:
        """Number of blocks, as the configuration says."""
        return self._fact("n_layers")

    @property
    def n_heads(self) -> int:
        """Number of attention heads in a block, as the configuration says."""
        return self._fact("n_heads")

    @property
    def vocab(self) -> int:
        """Number of token ids that the model knows, as the configuration says."""
        return self._fact("vocab")

    @property
    def context(self) -> int:
        """Longest sequence that the model is made for, in tokens, as the configuration says."""
        return self._fact("context")

    def fact(self, name: str) -> int | None:
        """Return "d_model", "n_layers", "n_heads", "vocab" or "context" by the configuration; None if it says nothing.

        Of a model that reads more than text, what it says of the part that does. A vocabulary and a width that it does
        not say are those of its embedding; a vocabulary that even this does not say is the tokenizer's.
        """
        config: Any = getattr(self.module, "config", None)
        if hasattr(config, "get_text_config"):
            config = config.get_text_config()
        values = (getattr(config, field, None) for field in _FACTS[name])
        said = next((value for value in values if isinstance(value, int)), None)
        if said is None and name in ("vocab", "d_model") and self._is_hugging_face:
            module = cast(Any, self.module)
            weight = getattr(module.get_output_embeddings() or module.get_input_embeddings(), "weight", None)
            said = None if weight is None else weight.shape[name == "d_model"]
        if said is None and name == "vocab" and self._tokenizer is not None:
            said = self._tokenizer.vocab_size
        return said

    def _fact(self, name: str) -> int:
        value = self.fact(name)
        if value is None:
            raise UnsupportedModelError(f"{self.name!r} ({type(self.module).__name__}) does not say its {name}.")
        return value

    def __call__(
        self,
        tokens: Any,
        attention_mask: Bool[Tensor, "batch pos"] | None = None,
        cache: KVCache | None = None,
        roles: Int[Tensor, "batch pos"] | None = None,
    ) -> Float[Tensor, "*batch out"]:
        """Return the logits; of an encoder, its last hidden state; of any other module, the first tensor it gives.

        Raises:
            ConfigError: a cache, which only models that monosema computes itself can use.
        """
        if cache is not None:
            raise ConfigError(f"{self.name!r} runs by its own code and takes no cache: give all tokens at once.")
        return _first_tensor(self.run(tokens, attention_mask, roles))

    def run(self, tokens: Any, attention_mask: Tensor | None = None, roles: Tensor | None = None) -> Any:
        """Run the module on token ids and mask, or on whatever its input is; returns what it returns."""
        before = self._context
        try:
            texts = isinstance(tokens, str) or (
                isinstance(tokens, list) and all(isinstance(one, str) for one in tokens)
            )
            if self._is_hugging_face and (texts or isinstance(tokens, (Tensor, np.ndarray))):
                tokens = token_rows(tokens).to(self.device)
                special = frozenset[int]() if self._tokenizer is None else self._tokenizer.special_ids
                self._context = ForwardContext(tokens, attention_mask, roles=roles, special_ids=special)
                return self.module(input_ids=tokens, **self._mask_arguments(self._context))
            self._context = ForwardContext(None)
            if isinstance(tokens, Mapping):
                return self.module(**tokens)
            return self.module(*tokens) if isinstance(tokens, (tuple, list)) else self.module(tokens)
        finally:
            self._context = before

    def _mask_arguments(self, context: ForwardContext) -> dict[str, Any]:
        if context.attention_mask is None or context.counted is None:
            return {}
        more: dict[str, Any] = {"attention_mask": context.attention_mask.long()}
        if self.gives_logits and self._takes_positions:
            more["position_ids"] = (context.counted.long().cumsum(1) - 1).clamp(min=0)
        return more

    @property
    def gives_logits(self) -> bool:
        """True if it continues text; what it gives is logits then, and hidden states otherwise."""
        return type(self.module).__name__.endswith(WRITING)

    @functools.cached_property
    def _takes_positions(self) -> bool:
        import inspect

        return "position_ids" in inspect.signature(self.module.forward).parameters

    def next_logits(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None = None,
        cache: KVCache | None = None,
        roles: Tensor | None = None,
    ) -> Tensor:
        """Return the logits after the last position. Raises UnsupportedModelError for a model that gives none."""
        if not self.gives_logits:
            raise UnsupportedModelError(f"{self.name!r} ({type(self.module).__name__}) does not continue text.")
        return self(tokens, attention_mask, cache, roles)[:, -1]

    @property
    def can_cache(self) -> bool:
        """True if generation may keep keys and values."""
        return False

    def unembed(self, directions: Float[Tensor, "n d_model"]) -> Float[Tensor, "n vocab"]:
        """Product of directions with the output embedding. The final norm of a foreign model is not known, so its
        weights are not in it. Raises UnsupportedModelError when the model has no output embedding."""
        head = cast(Any, self.module).get_output_embeddings() if self._is_hugging_face else None
        if head is None:
            raise UnsupportedModelError(f"{self.name!r} ({type(self.module).__name__}) gives no logits of tokens.")
        return nn.functional.linear(directions.to(self.device).float(), head.weight.float())

    def sites(self) -> list[Site]:
        """The path of every module that can be called, in the order of the module tree."""
        return [Site(None, path) for path in self._parts]

    def find(self, site: Site | str) -> Site:
        """The site, if there is such a module. Raises SiteError, with the nearest paths, if not."""
        path = site.component if isinstance(site, Site) and site.layer is None and not site.other else str(site)
        if path not in self._parts:
            raise SiteError(
                f"There is no module {path!r} in {self.name!r}, whose sites are the paths of its modules."
                f"{nearest(path, self._parts)}"
            )
        return Site(None, path)

    def site_width(self, site: Site | str) -> int:
        """Size of the last dimension of what the module gives, learnt from a first small run.

        Raises SiteError when the module does not run, or gives no tensor; InputError without an example to run on.
        """
        found = self.find(site)
        if found.component not in self._widths:
            raise SiteError(f"{found} has no width: the module does not run, or gives no tensor.")
        return self._widths[found.component]

    def _ordinary_sites(self) -> list[Site]:
        return [site for site in self.sites() if site.component in self._widths]

    def __repr__(self) -> str:
        known = {fact.replace("_", " "): self.fact(fact) for fact in ("n_layers", "d_model", "vocab", "context")}
        said = [f"{type(self.module).__name__}", *(f"{name} {value:,}" for name, value in known.items() if value)]
        return f"AdaptedModel({self.name!r}: {', '.join(said)}, {len(self._parts)} sites)"

    @functools.cached_property
    def _widths(self) -> dict[str, int]:
        example = self.example
        if example is None:
            if not self._is_hugging_face:
                raise InputError(f"To know the widths of {self.name!r}'s sites, give AdaptedModel an example input.")
            example = torch.ones(1, 2, dtype=torch.long, device=self.device)
        widths: dict[str, int] = {}

        def note(path: str) -> Callable[..., None]:
            def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
                with contextlib.suppress(SiteError):
                    widths[path] = _first_tensor(output).shape[-1]

            return hook

        handles = [module.register_forward_hook(note(path)) for path, module in self._parts.items()]
        try:
            with torch.no_grad():
                self.run(example)
        finally:
            for handle in handles:
                handle.remove()
        return widths

    @contextlib.contextmanager
    def _attach(self, site: Site, action: Action) -> Iterator[None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            return _with_first_tensor(output, action(_first_tensor(output), self._context))

        handle = self._parts[site.component].register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()


def _first_key(output: Any) -> Any:
    items = output.items() if isinstance(output, Mapping) else enumerate(output)
    for key, value in items:
        if isinstance(value, Tensor):
            return key
    raise SiteError(f"A site's module gave a {type(output).__name__} without a tensor.")


def _first_tensor(output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, (tuple, list, Mapping)):
        return output[_first_key(output)]
    raise SiteError(f"A site's module gave a {type(output).__name__}, which is no tensor and holds none.")


def _with_first_tensor(output: Any, value: Tensor) -> Any:
    if isinstance(output, Tensor):
        return value
    key = _first_key(output)
    if output[key] is value:
        return output
    if isinstance(output, Mapping):
        return type(output)(**{**output, key: value})
    parts = [value if index == key else part for index, part in enumerate(output)]
    return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
