"""A forward pass: what each position is, where it stands, which others it sees, and the keys and values kept of it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from enum import IntEnum

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from monosema.core import InputError
from monosema.models.config import RotaryConfig


class Role(IntEnum):
    """The role of a position in a forward pass."""

    PADDING = 0
    """No token: it has no position, and no token sees it."""
    SPECIAL = 1
    """A token that marks something and is no text, such as BOS."""
    TEMPLATE = 2
    """Text that the chat template wrote around messages."""
    PROMPT = 3
    """Text that was given."""
    GENERATED = 4
    """Text that the model wrote."""


class KVCache:
    """Keys and values of every layer, and which of the positions can be seen.

    Give the same cache to each call with the next tokens: ``model(prompt, mask, cache)``, ``model(next, None, cache)``.
    """

    def __init__(self) -> None:
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self.mask: Bool[Tensor, "batch past"] | None = None
        """Positions so far that can be seen; None while empty."""
        self.roles: Int[Tensor, "batch past"] | None = None
        """The `Role` of each position so far."""

    @property
    def length(self) -> int:
        """Positions so far, padding included."""
        return 0 if self.mask is None else self.mask.shape[1]

    def read(self, mask: Bool[Tensor, "batch pos"], roles: Int[Tensor, "batch pos"]) -> None:
        """Note the positions that a forward pass adds."""
        self.mask = mask if self.mask is None else torch.cat((self.mask, mask), dim=1)
        self.roles = roles if self.roles is None else torch.cat((self.roles, roles), dim=1)

    def extend(
        self, layer: int, k: Float[Tensor, "batch pos kv_head d_head"], v: Float[Tensor, "batch pos kv_head d_head"]
    ) -> tuple[Float[Tensor, "batch total kv_head d_head"], Float[Tensor, "batch total kv_head d_head"]]:
        """Add the keys and values of new positions; returns those of all positions."""
        if layer in self._layers:
            past_k, past_v = self._layers[layer]
            k, v = torch.cat((past_k, k), dim=1), torch.cat((past_v, v), dim=1)
        self._layers[layer] = (k, v)
        return k, v

    def repeat(self, rows: int) -> None:
        """Let each of several rows go on from the one that was read."""
        self._change(lambda x: x.expand(rows, *x.shape[1:]))

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the rows, in this order, without the columns that are padding in all of them."""
        if self.roles is None:
            return
        if not rows:
            self._layers, self.mask, self.roles = {}, None, None
            return
        index = torch.tensor(rows, device=self.roles.device)
        used = (self.roles[index] != Role.PADDING).any(dim=0)
        first = int(used.long().argmax()) if bool(used.any()) else 0
        self._change(lambda x: x[index, first:])

    def join(self, other: KVCache) -> None:
        """Take the rows of another cache below its own; what is shorter is padded on the left."""
        if other.mask is None or other.roles is None:
            return
        if self.mask is None or self.roles is None:
            self._layers, self.mask, self.roles = other._layers, other.mask, other.roles
            return
        length = max(self.length, other.length)
        self.mask = torch.cat((_pad_to(self.mask, length), _pad_to(other.mask, length)))
        self.roles = torch.cat((_pad_to(self.roles, length), _pad_to(other.roles, length)))
        for layer, own in self._layers.items():
            k, v = (
                torch.cat((_pad_to(mine, length), _pad_to(theirs, length)))
                for mine, theirs in zip(own, other._layers[layer], strict=True)
            )
            self._layers[layer] = (k, v)

    def beginning(self, rows: Int[Tensor, " some"], length: int) -> KVCache:
        """Return a cache of the first positions of some of the rows; each row may come several times."""
        part = KVCache()
        if length and self.mask is not None and self.roles is not None:
            part._layers, part.mask, part.roles = self._layers, self.mask, self.roles
            part._change(lambda x: x[:, :length][rows])
        return part

    def overwrite(self, rows: Int[Tensor, " some"], other: KVCache, of: Int[Tensor, " some"], first: int) -> None:
        """Replace keys and values of `rows`, from a position on, by those of rows `of` of a cache of equal length."""
        for layer, own in self._layers.items():
            for mine, theirs in zip(own, other._layers[layer], strict=True):
                mine[rows, first:] = theirs[of, first:]

    def _change(self, change: Callable[[Tensor], Tensor]) -> None:
        self._layers = {layer: (change(k), change(v)) for layer, (k, v) in self._layers.items()}
        self.mask = None if self.mask is None else change(self.mask)
        self.roles = None if self.roles is None else change(self.roles)


def padded(rows: Sequence[Sequence[int]], value: int, *, left: bool = False) -> Int[Tensor, "batch pos"]:
    """Return rows of ids or roles as one tensor, filled up with a value on the right, or on the left."""
    width = max(map(len, rows))
    fill = [[value] * (width - len(row)) for row in rows]
    return torch.tensor([[*own, *row] if left else [*row, *own] for row, own in zip(rows, fill, strict=True)])


def _pad_to(x: Shaped[Tensor, "batch pos ..."], length: int) -> Shaped[Tensor, "batch length ..."]:
    """Zeros on the left, which are `Role.PADDING` where x holds roles."""
    missing = length - x.shape[1]
    return torch.cat((x.new_zeros(x.shape[0], missing, *x.shape[2:]), x), dim=1) if missing else x


def _hides_text(mask: Bool[Tensor, "batch pos"], counted: Bool[Tensor, "batch pos"] | None) -> bool:
    """True if the mask hides positions that are no padding."""
    return counted is not None and bool((counted & ~mask).any())


class ForwardContext:
    """One forward pass, as hooks see it.

    Attributes:
        tokens: ids that this pass reads; None for a module that reads something else.
        attention_mask: positions that later ones can see; None for all.
        cache: keys and values of what was read before.
        past_roles: the `Role` of each position that was read before; None where there is none.
    """

    def __init__(
        self,
        tokens: Int[Tensor, "batch pos"] | None,
        attention_mask: Bool[Tensor, "_ _"] | None = None,
        cache: KVCache | None = None,
        roles: Int[Tensor, "_ _"] | None = None,
        special_ids: frozenset[int] = frozenset(),
    ) -> None:
        for name, given in (("attention_mask", attention_mask), ("roles", roles)):
            if given is not None and (tokens is None or given.shape != tokens.shape):
                has = "no tokens" if tokens is None else f"tokens {tuple(tokens.shape)}"
                raise InputError(
                    f"{name} has the shape {tuple(given.shape)}, {has}: "
                    "give one value for each of the tokens (a cache remembers those before)."
                )
        self.tokens, self.cache = tokens, cache
        self.past_roles = None if cache is None else cache.roles
        self.attention_mask = None if attention_mask is None else attention_mask.bool()
        if roles is not None and attention_mask is None and bool((roles == Role.PADDING).any()):
            self.attention_mask = roles != Role.PADDING
        self._roles, self._special_ids = roles, special_ids

    @functools.cached_property
    def roles(self) -> Int[Tensor, "batch pos"]:
        """The `Role` of each position of this pass; text whose origin was not said is PROMPT.

        Raises InputError for a module that does not read tokens.
        """
        if self.tokens is None:
            raise InputError("This model reads no tokens, so its positions have no roles.")
        roles = torch.full_like(self.tokens, Role.PROMPT) if self._roles is None else self._roles.to(self.tokens.device)
        if self._special_ids:
            special = torch.isin(self.tokens, torch.tensor(list(self._special_ids), device=self.tokens.device))
            roles = roles.masked_fill(special, Role.SPECIAL)
        return roles if self.counted is None else roles.masked_fill(~self.counted, Role.PADDING)

    @functools.cached_property
    def counted(self) -> Bool[Tensor, "batch pos"] | None:
        """Positions of this pass that are not padding; None for all.

        What a mask hides before the first visible token of a row and behind its last is padding; a token that is hidden
        in between keeps its position. Roles, where they are given, say it instead.
        """
        if self._roles is not None:
            return self._roles != Role.PADDING
        mask = self.attention_mask
        if mask is None:
            return None
        begun = mask.cumsum(dim=1) > 0
        if self.past_roles is not None:
            begun = begun | (self.past_roles != Role.PADDING).any(dim=1, keepdim=True)
        return begun & (mask.flip(1).cumsum(dim=1).flip(1) > 0)


class DecoderContext(ForwardContext):
    """A forward pass of a `Transformer`: positions, masks and rotations, each made once for all blocks.

    No token sees padding. (A hidden position sees itself, so that no row of the attention pattern is empty.) Padding on
    the right alone needs no mask, since nothing looks ahead.
    """

    def __init__(
        self,
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Bool[Tensor, "_ _"] | None = None,
        cache: KVCache | None = None,
        roles: Int[Tensor, "_ _"] | None = None,
        special_ids: frozenset[int] = frozenset(),
    ) -> None:
        super().__init__(tokens, attention_mask, cache, roles, special_ids)
        past = 0 if cache is None else cache.length
        if cache is not None and cache.mask is not None and cache.mask.shape[0] != tokens.shape[0]:
            raise InputError(f"The cache holds {cache.mask.shape[0]} rows, the tokens are {tokens.shape[0]} rows.")
        self.length, self.total = tokens.shape[1], past + tokens.shape[1]
        self.device = tokens.device
        mask, counted = self.attention_mask, self.counted
        if cache is not None:
            cache.read(torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask, self.roles)
            mask, counted = cache.mask, None if cache.roles is None else cache.roles != Role.PADDING
            mask = None if mask is None or bool(mask.all()) else mask
        elif mask is not None and not bool((mask[:, 1:] & ~mask[:, :-1]).any() or _hides_text(mask, counted)):
            mask = counted = None
        self._mask = mask
        if mask is None or counted is None:
            self.positions = torch.arange(past, self.total, device=self.device)[None]
        else:
            self.positions = (counted.cumsum(dim=1) - 1).clamp(min=0)[:, past:]
        self._masks: dict[int | None, Tensor | None] = {}
        self._rotations: dict[RotaryConfig, tuple[Tensor, Tensor]] = {}

    def is_plainly_causal(self, window: int | None) -> bool:
        """Return True if every token sees just itself and all before it, and all of them are new."""
        return self._mask is None and self.total == self.length and (window is None or window >= self.total)

    def mask(self, window: int | None) -> Bool[Tensor, "rows 1 pos total"] | None:
        """The positions (last dimension) that each one (third dimension) sees; None where all are seen."""
        if window not in self._masks:
            self._masks[window] = self._make_mask(window)
        return self._masks[window]

    def _make_mask(self, window: int | None) -> Tensor | None:
        if self.length == 1 and self._mask is None and (window is None or window >= self.total):
            return None
        keys = torch.arange(self.total, device=self.device)
        queries = keys[self.total - self.length :, None]
        seen = keys <= queries
        if window is not None:
            seen &= keys > queries - window
        if self._mask is None:
            return seen[None, None]
        return ((seen & self._mask[:, None, :]) | (keys == queries))[:, None]

    def rotation(self, config: RotaryConfig, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return cosines and sines of the positions' angles."""
        if config not in self._rotations:
            self._rotations[config] = rotation(config, self.positions, dtype)
        return self._rotations[config]


# Rotary position embedding (Su et al. 2021, arXiv 2104.09864), as Llama, GPT-NeoX and their kin arrange it.


def frequencies(config: RotaryConfig, device: torch.device) -> Float[Tensor, " half"]:
    """Return the angle per position of each pair of dimensions, in float32: ``base^(-2i/dims)``, by `scaling`.

    llama3 (Llama 3.1's own code): with r = original_context / wavelength, a frequency is divided by `factor` where
    r ≤ low_frequency_factor, kept where r ≥ high_frequency_factor, and blended linearly in r between them.
    yarn (Peng et al. 2023, arXiv 2309.00071): the same with a blend that is linear in the index of the pair, between
    whole indices. longrope (Ding et al. 2024, arXiv 2402.13753) and by_pair: each frequency has a factor of its own.
    dynamic: within the trained context nothing is stretched.
    """
    steps = torch.arange(0, config.dims, 2, dtype=torch.float32, device=device)
    angles = 1.0 / (config.base ** (steps / config.dims))
    if config.scaling == "linear":
        return angles / config.factor
    if config.scaling in ("longrope", "by_pair"):
        return angles / torch.tensor(config.factors, device=device)
    if config.scaling == "llama3":
        turns = config.original_context * angles / (2 * math.pi)
        span = config.high_frequency_factor - config.low_frequency_factor
        kept = ((turns - config.low_frequency_factor) / span).clamp(0, 1)
        return kept * angles + (1 - kept) * angles / config.factor
    if config.scaling == "yarn":
        first = max(math.floor(_pair_of(config, config.high_frequency_factor)), 0)
        last = min(math.ceil(_pair_of(config, config.low_frequency_factor)), config.dims - 1)
        index = torch.arange(len(steps), dtype=torch.float32, device=device)
        stretched = ((index - first) / max(last - first, 1e-3)).clamp(0, 1)
        return (1 - stretched) * angles + stretched * angles / config.factor
    return angles


def _pair_of(config: RotaryConfig, turns: float) -> float:
    """Index of the pair that turns so often within the original context."""
    return config.dims * math.log(config.original_context / (2 * math.pi * turns)) / (2 * math.log(config.base))


def rotation(
    config: RotaryConfig, positions: Int[Tensor, "rows pos"], dtype: torch.dtype
) -> tuple[Float[Tensor, "rows pos 1 dims"], Float[Tensor, "rows pos 1 dims"]]:
    """Return the cosine of each position's angles, and their signed sine (see `rotate`), equal for all heads."""
    angles = positions[:, :, None, None].float() * frequencies(config, positions.device)
    cos, sin = angles.cos() * config.magnitude, angles.sin() * config.magnitude
    return torch.cat((cos, cos), dim=-1).to(dtype), torch.cat((-sin, sin), dim=-1).to(dtype)


def rotate(
    x: Float[Tensor, "batch pos head d_head"], cos_sin: tuple[Tensor, Tensor]
) -> Float[Tensor, "batch pos head d_head"]:
    """Turn the pairs (i, i + dims/2) of the first `dims` dimensions of each head; the rest stays."""
    cos, sin = cos_sin
    half = cos.shape[-1] // 2
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    turned = torch.addcmul(x[..., : 2 * half] * cos, torch.cat((second, first), dim=-1), sin)
    return torch.cat((turned, rest), dim=-1) if rest.shape[-1] else turned
