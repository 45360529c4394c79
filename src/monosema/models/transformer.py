"""One decoder for all families: GPT-2, GPT-NeoX, Llama, SmolLM, Mistral, Qwen, Gemma, OLMo, Phi.

    x = embed(tokens) (+ position vectors)
    each block:   x = x + attention(norm(x)) ;   x = x + mlp(norm(x))        (parallel: both read the block's input;
                                                                              OLMo 2: x + norm(attention(x)) …)
    logits = unembed(norm(x))

Which of the variants each family uses is in its `TransformerConfig`. Sites are TransformerLens' (see `hooks`): nothing
is computed, kept or checked for a site where nothing is attached.
"""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from monosema.core import InputError, Site, SiteError, UnsupportedModelError, digest
from monosema.models.config import TransformerConfig
from monosema.models.context import DecoderContext, KVCache
from monosema.models.decoder import Block, Norm
from monosema.models.hooks import Action, Hooks
from monosema.models.protocol import LanguageModel
from monosema.models.texts import TextModel, token_rows
from monosema.models.tokenizer import Tokenizer
from monosema.models.weights import bytes_digest, files_digest


def _embedding(rows: int, width: int) -> nn.Embedding:
    # Drawing first values without memory for them, which are never used, would import torch._dynamo: a second and more.
    return nn.Embedding(rows, width, _weight=torch.empty(rows, width))


class Transformer(nn.Module, TextModel):
    """A decoder-only language model whose sites can be captured and edited; see the module's docstring.

    Attributes:
        config: what it computes.
        name: "specimen", a hub id, a path; what reports call it.
        folder: where its files are; None for a model that was made in memory.
        hooks: what is attached to its sites.
    """

    def __init__(
        self,
        config: TransformerConfig,
        tokenizer: Tokenizer | None = None,
        name: str = "unnamed",
        folder: Path | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.name = name
        self.folder = folder
        self.hooks = Hooks()
        self._tokenizer = tokenizer
        self.embed = _embedding(config.vocab, config.d_model)
        self.pos_embed = _embedding(config.context, config.d_model) if config.learned_positions else None
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.ln_final = Norm(config.d_model, config.norm, config.norm_eps)
        self.unembedding = None if config.tied else nn.Linear(config.d_model, config.vocab, bias=False)
        self._sites = dict.fromkeys(_sites_of(config))

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to ids and back. Raises InputError when the model was made without one."""
        if self._tokenizer is None:
            raise InputError(f"The model {self.name!r} was made without a tokenizer: give it token ids.")
        return self._tokenizer

    @functools.cached_property
    def digest(self) -> str:
        """Hash of the files it was loaded from, or of its configuration and weights where there are none."""
        if self.folder is not None:
            return files_digest(self.folder)
        weights = {name: bytes_digest(tensor) for name, tensor in self.state_dict().items()}
        return digest({"config": self.config.to_dict(), "weights": weights})

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.config.d_model

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.config.n_layers

    @property
    def n_heads(self) -> int:
        """Number of attention heads in a block."""
        return self.config.n_heads

    @property
    def vocab(self) -> int:
        """Number of logits."""
        return self.config.vocab

    @property
    def context(self) -> int:
        """Longest sequence that the model is made for, in tokens."""
        return self.config.context

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.embed.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights and of what is computed."""
        return self.embed.weight.dtype

    def forward(
        self,
        tokens: Any,
        attention_mask: Bool[Tensor, "_ _"] | None = None,
        cache: KVCache | None = None,
        roles: Int[Tensor, "_ _"] | None = None,
        *,
        last: bool = False,
    ) -> Float[Tensor, "rows out vocab"]:
        """Return the logits of the token after each position.

        Args:
            tokens: ids, [batch, pos], or one row of them; of torch, numpy or in lists.
            attention_mask: False at tokens that no other sees: padding on either side, or tokens masked in between,
                which keep their positions; of the tokens' shape. None: all are seen.
            cache: what was read before, to which these tokens are added.
            roles: the `Role` of each token; where it is PADDING, no position is counted. None: told apart by the mask.
            last: give the logits of the last position only.

        Raises:
            InputError: ids outside the vocabulary, more positions than there are vectors, or shapes that don't fit.
        """
        return self.logits(self.final_residual(tokens, attention_mask, cache, roles, last=last))

    def final_residual(
        self,
        tokens: Any,
        attention_mask: Bool[Tensor, "_ _"] | None = None,
        cache: KVCache | None = None,
        roles: Int[Tensor, "_ _"] | None = None,
        *,
        last: bool = False,
    ) -> Float[Tensor, "rows out d_model"]:
        """Return the normalised residual stream that `logits` reads, for few logits; arguments as for `forward`."""
        tokens = token_rows(tokens).to(self.device)
        context = DecoderContext(tokens, attention_mask, cache, roles, self._special_ids)
        return self._finish(self._embed(tokens, context), context, 0, last=last)

    def resume(
        self,
        site: Site,
        x: Float[Tensor, "batch pos d_model"],
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Bool[Tensor, "_ _"] | None = None,
        cache: KVCache | None = None,
        *,
        last: bool = False,
    ) -> Float[Tensor, "batch out d_model"]:
        """Go on from the value `x` at a site of the residual stream, as `final_residual` does from the tokens.

        A cache holds the keys and values, of the layers after the site alone, of the positions before these.
        """
        context = DecoderContext(tokens, attention_mask, cache, special_ids=self._special_ids)
        if site.layer is None:
            return self._finish(self._add_positions(x, context), context, 0, last=last)
        block, hooks = cast(Block, self.blocks[site.layer]), self.hooks.at(site.layer, context)
        if site.component == "resid_pre":
            x = block.from_pre(x, context, hooks)
        elif site.component == "resid_mid":
            x = block.from_mid(x, hooks)
        return self._finish(x, context, site.layer + 1, last=last)

    def _finish(self, x: Tensor, context: DecoderContext, layer: int, *, last: bool = False) -> Tensor:
        """Run the blocks from a layer on, and the final norm."""
        for index, block in enumerate(self.blocks[layer:], start=layer):
            x = block(x, context, self.hooks.at(index, context), last=last and index == len(self.blocks) - 1)
        return self.ln_final(x[:, -1:] if last else x, self.hooks.at(None, context), "ln_final")

    @functools.cached_property
    def _special_ids(self) -> frozenset[int]:
        return frozenset() if self._tokenizer is None else self._tokenizer.special_ids

    def logits(
        self, x: Float[Tensor, "*batch d_model"], out: Float[Tensor, "*batch vocab"] | None = None
    ) -> Float[Tensor, "*batch vocab"]:
        """Logits from the normalised residual stream; of a matrix, in the room `out` where it is given."""
        cap, weight = self.config.logit_softcap, self.unembed_weight
        if out is not None:
            torch.mm(x, weight.T, out=out)
            return out if cap is None else out.div_(cap).tanh_().mul_(cap)
        out = nn.functional.linear(x, weight)
        return out if cap is None else cap * torch.tanh(out / cap)

    def next_logits(
        self,
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Bool[Tensor, "batch pos"] | None = None,
        cache: KVCache | None = None,
        roles: Int[Tensor, "batch pos"] | None = None,
    ) -> Float[Tensor, "batch vocab"]:
        """Return the logits after the last position."""
        return self(tokens, attention_mask, cache, roles, last=True)[:, -1]

    @property
    def unembed_weight(self) -> Float[Tensor, "vocab d_model"]:
        """The matrix that gives the logits; the embedding's where they are tied."""
        return self.embed.weight if self.unembedding is None else self.unembedding.weight

    def unembed(self, directions: Float[Tensor, "n d_model"]) -> Float[Tensor, "n vocab"]:
        """Change of the logits along directions of the final residual stream, up to the norm's positive scale.

        The linear part of the final norm (centring, for LayerNorm, and its weights), then the unembedding; its bias,
        which is the same for all directions, and a softcap on the logits are left out.
        """
        x = directions.to(self.device).float()
        if self.ln_final.kind == "layer":
            x = x - x.mean(-1, keepdim=True)
        return nn.functional.linear(x * self.ln_final.gain(), self.unembed_weight.float())

    def _embed(self, tokens: Tensor, context: DecoderContext) -> Tensor:
        try:
            x = self.embed(tokens)
        except IndexError:
            raise InputError(
                f"There are token ids from {int(tokens.min())} to {int(tokens.max())}; the model knows "
                f"0 to {self.config.vocab - 1}. Were they made by another model's tokenizer?"
            ) from None
        if self.config.embed_scale != 1:
            x = x * torch.tensor(self.config.embed_scale, dtype=x.dtype, device=x.device)
        hooks = self.hooks.at(None, context)
        x = x if hooks is None else hooks("embed", x)
        if context.total > self.config.context and (furthest := int(context.positions.max())) >= self.config.context:
            raise InputError(f"There are {furthest + 1} positions; the model has {self.config.context} only.")
        return self._add_positions(x, context)

    def _add_positions(self, x: Tensor, context: DecoderContext) -> Tensor:
        if self.pos_embed is None:
            return x
        hooks, positions = self.hooks.at(None, context), self.pos_embed(context.positions).expand_as(x)
        return x + (positions if hooks is None else hooks("pos_embed", positions))

    def sites(self) -> list[Site]:
        """All sites, in the order in which the model comes to them."""
        return list(self._sites)

    def site_width(self, site: Site | str) -> int:
        """Size of the last dimension there."""
        component = self.find(site).component
        if component in ("attn_scores", "pattern"):
            raise SiteError(f"{Site.parse(site)} has no fixed width: its last dimension is the length of the text.")
        if component in ("q", "k", "v", "z", "rot_q", "rot_k"):
            return self.config.d_head
        if component.endswith(".scale"):
            return 1
        return self.config.d_mlp if component.startswith("mlp.") else self.config.d_model

    def __repr__(self) -> str:
        config = self.config
        return (
            f"Transformer({self.name!r}: {config.family}, {config.n_layers} layers, d_model {config.d_model}, "
            f"{config.n_heads} heads, vocab {config.vocab:,}, context {config.context:,}, {str(self.dtype)[6:]})"
        )

    def _attach(self, site: Site, action: Action) -> contextlib.AbstractContextManager[None]:
        return self.hooks.attach(site, action)

    def run(self, tokens: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Run the model."""
        return self(tokens, attention_mask)

    def _explain_missing(self, site: Site, known: list[Site]) -> str:
        config = self.config
        if site.layer is not None and site.layer >= config.n_layers:
            return f"There is no {site}: the model has {config.n_layers} blocks, 0 to {config.n_layers - 1}."
        reasons = {
            "resid_mid": "attention and MLP of a block both read its input, so there is no residual between them",
            "pos_embed": "positions are rotations of queries and keys, not vectors that are added",
            "rot_q": "queries and keys are not rotated here",
            "rot_k": "queries and keys are not rotated here",
            "mlp.pre_linear": "its MLP has no gate",
            **dict.fromkeys(_INPUT_NORMS, "attention and MLP read the stream as it is"),
            **dict.fromkeys(_OUTPUT_NORMS, "what attention and MLP give is added as it is"),
            "attn_in": "heads share keys and values, so there are fewer of these: use q_input, k_input, v_input",
        }
        if site.component in reasons:
            return f"There is no {site} in {config.family} models: {reasons[site.component]}."
        return super()._explain_missing(site, known)


def require_decoder(model: LanguageModel) -> Transformer:
    """Return the model where it is one of our own decoders. Raises UnsupportedModelError else."""
    if not isinstance(model, Transformer):
        raise UnsupportedModelError(
            f"{model.name!r} runs by another library, whose heads and inputs can't be told apart: this needs a "
            "model of a family that is read into our own decoder (see docs/models.md)."
        )
    return model


def _sites_of(config: TransformerConfig) -> tuple[Site, ...]:
    absent = set()
    if config.parallel:
        absent.add("resid_mid")
    if not config.gated:
        absent.add("mlp.pre_linear")
    if not config.norm_inputs:
        absent.update(_INPUT_NORMS)
    if not config.norm_outputs:
        absent.update(_OUTPUT_NORMS)
    if config.n_kv_heads != config.n_heads:
        absent.add("attn_in")
    sites = [Site(None, "embed")] + ([Site(None, "pos_embed")] if config.learned_positions else [])
    for layer, attention in enumerate(config.attention):
        unturned = {"rot_q", "rot_k"} if attention.rotary is None else set()
        sites += [Site(layer, component) for component in _BLOCK_ORDER if component not in absent | unturned]
    return (*sites, Site(None, "ln_final.scale"), Site(None, "ln_final.normalized"))


_INPUT_NORMS = ("ln1.scale", "ln1.normalized", "ln2.scale", "ln2.normalized")
_OUTPUT_NORMS = ("ln1_post.scale", "ln1_post.normalized", "ln2_post.scale", "ln2_post.normalized")
_BLOCK_ORDER = (
    *("resid_pre", "attn_in", "q_input", "k_input", "v_input", "ln1.scale", "ln1.normalized"),
    *(
        "q",
        "k",
        "v",
        "rot_q",
        "rot_k",
        "attn_scores",
        "pattern",
        "z",
        "result",
        "ln1_post.scale",
        "ln1_post.normalized",
    ),
    *("attn_out", "resid_mid", "mlp_in", "ln2.scale", "ln2.normalized", "mlp.pre", "mlp.pre_linear", "mlp.post"),
    *("ln2_post.scale", "ln2_post.normalized", "mlp_out", "resid_post"),
)
