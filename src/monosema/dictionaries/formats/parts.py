"""Parts, between the formats and the coder: a dictionary as plain tensors and a few facts.

    z = W_enc (N(x) − b) + b_enc,   c = activation(z),   ŷ = N⁻¹(W_decᵀ c + b_dec) + W_skip x

with b = b_dec where the dictionary is centred, else 0, and N a normalisation of each row. Every format reads into
`Parts` and writes from `Parts`; `parts_of` and `dictionary_of` are the one place where formats meet the activation
functions, each of which says as what kind files hold it (`Activation.kind`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import ConfigError, FormatError
from monosema.dictionaries.activation_functions import ACTIVATIONS, Activation, activation_named
from monosema.dictionaries.activation_functions.activation import Kind
from monosema.dictionaries.coder import SparseCoder
from monosema.dictionaries.coder_config import CoderConfig, Normalisation
from monosema.dictionaries.protocol import Dictionary, Metadata

OLD_CLASSES = {
    "TopK": "topk",
    "BatchTopK": "batch_topk",
    "MatryoshkaBatchTopK": "batch_topk",
    "JumpReLU": "jumprelu",
    "Gated": "gated",
    "L1": "l1",
    "TiedL1": "tied_l1",
    "PAnneal": "p_anneal",
}
"""Activations by the name of the class that an earlier version wrote."""
OF_KINDS = ("threshold", "magnitude_bias", "magnitude_scale")
"""Tensors that kinds of activations have besides the weights; of `Parts`, and by the same names of coders."""


@dataclass(frozen=True)
class Parts:
    """A dictionary as plain float32 tensors, rows first; see the module's equation.

    Attributes:
        activation: relu; the k largest, rectified; those above a threshold (one for all latents where it is batch_topk,
            one for each where it is jumprelu); or gated by a second bias. None is the one that `own` names, which
            monosema's own layout alone can hold.
        W_enc: the encoder, one row per latent.
        b_enc: its bias; of the gate where gated.
        W_dec: the decoder, one row per latent.
        b_dec: its bias.
        centred: true where b_dec is taken from the input.
        k: latents kept per row; for batch_topk, on average.
        threshold: one for each latent, in units of z.
        magnitude_bias: bias of gated latents beside the gate's.
        magnitude_scale: logarithm of the factor between the gate's encoder rows and the magnitudes'.
        skip: W_skip.
        transcodes: true where the output is another site's.
        normalisation: normalisation of each input row, undone in the output.
        tensors: what an activation of no kind has besides the weights.
        own: the coder's `description`, where monosema wrote the files.
        metadata: where the dictionary comes from.
    """

    activation: Kind | None
    W_enc: Float[Tensor, "n_latents d_in"]
    b_enc: Float[Tensor, " n_latents"]
    W_dec: Float[Tensor, "n_latents d_out"]
    b_dec: Float[Tensor, " d_out"]
    centred: bool = True
    k: int | None = None
    threshold: Float[Tensor, " n_latents"] | None = None
    magnitude_bias: Float[Tensor, " n_latents"] | None = None
    magnitude_scale: Float[Tensor, " n_latents"] | None = None
    skip: Float[Tensor, "d_out d_in"] | None = None
    transcodes: bool = False
    normalisation: Normalisation = "none"
    tensors: dict[str, Tensor] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)
    metadata: Metadata = field(default_factory=Metadata)

    @property
    def d_in(self) -> int:
        """Values in an input row."""
        return self.W_enc.shape[1]

    @property
    def d_out(self) -> int:
        """Values in an output row."""
        return self.W_dec.shape[1]

    @property
    def n_latents(self) -> int:
        """Number of latents."""
        return self.W_enc.shape[0]

    @property
    def own_activation(self) -> type[Activation] | None:
        """The activation that the files name, where it is registered."""
        name = self.own.get("activation", OLD_CLASSES.get(str(self.own.get("class"))))
        try:
            return activation_named(name) if name is not None else None
        except ConfigError:
            return None

    @property
    def has_unit_rows(self) -> bool:
        """True where decoder rows have norm 1, as nearly as float32 can say."""
        norms = torch.linalg.vector_norm(self.W_dec, dim=1)
        return torch.allclose(norms, torch.ones_like(norms))

    def replace(self, **values: Any) -> Parts:
        """Return a copy with some parts changed."""
        return replace(self, **values)

    def centre(self, centred: bool) -> Parts:
        """Return the same function with b_dec taken from the input, or not: the biases take up the difference."""
        if centred == self.centred:
            return self
        shift = self.W_enc @ self.b_dec
        return self._with_biases(shift if centred else -shift).replace(centred=centred)

    def with_unit_rows(self) -> Parts:
        """Return the same reconstruction from decoder rows of norm 1; activations are multiplied by the old norms."""
        norms = torch.linalg.vector_norm(self.W_dec, dim=1).clamp_min(torch.finfo(self.W_dec.dtype).tiny)
        return self.replace(
            W_enc=self.W_enc * norms.unsqueeze(1),
            b_enc=self.b_enc * norms,
            W_dec=self.W_dec / norms.unsqueeze(1),
            threshold=None if self.threshold is None else self.threshold * norms,
            magnitude_bias=None if self.magnitude_bias is None else self.magnitude_bias * norms,
        )

    def of_scaled(self, scale: float) -> Parts:
        """Return the dictionary of x, from these parts, which are of scale · x; activations stay as they are."""
        return self.replace(W_enc=self.W_enc * scale, W_dec=self.W_dec / scale, b_dec=self.b_dec / scale)

    def of_whitened(
        self,
        mean: Float[Tensor, " d_in"],
        matrix: Float[Tensor, "d_in d_in"],
        inverse: Float[Tensor, "d_in d_in"],
    ) -> Parts:
        """Return the dictionary of x, from these parts, which are of (x − mean) matrix; activations stay."""
        folded = self.replace(
            W_enc=self.W_enc @ matrix.T,
            W_dec=self.W_dec @ inverse,
            b_dec=self.b_dec @ inverse + mean,
        )
        return folded if self.centred else folded._with_biases(-(folded.W_enc @ mean))

    def as_jumprelu(self) -> Parts:
        """Return the same function by thresholds alone, which relu, batch_topk and gated dictionaries allow.

        A gate's z > −b_gate is a threshold of the magnitude eʳ z + b_mag, at b_mag − eʳ b_gate; magnitudes below 0 are
        cut off besides.
        """
        if self.activation == "gated" and self.magnitude_bias is not None and self.magnitude_scale is not None:
            factor = self.magnitude_scale.exp()
            return self.replace(
                activation="jumprelu",
                W_enc=self.W_enc * factor.unsqueeze(1),
                b_enc=self.magnitude_bias,
                threshold=(self.magnitude_bias - factor * self.b_enc).clamp_min(0.0),
                magnitude_bias=None,
                magnitude_scale=None,
            )
        threshold = torch.zeros_like(self.b_enc) if self.threshold is None else self.threshold.clamp_min(0.0)
        return self.replace(activation="jumprelu", threshold=threshold)

    def _with_biases(self, shift: Float[Tensor, " n_latents"]) -> Parts:
        magnitude = self.magnitude_bias
        if magnitude is not None and self.magnitude_scale is not None:
            magnitude = magnitude + shift * self.magnitude_scale.exp()
        return self.replace(b_enc=self.b_enc + shift, magnitude_bias=magnitude)


def require_saveable(dictionary: Dictionary) -> None:
    """Raise FormatError for a dictionary that no format holds: a baseline, or a coder whose activation isn't known."""
    if not isinstance(dictionary, SparseCoder):
        raise FormatError(
            f"No format holds a dictionary of the kind {type(dictionary).__name__}; nothing was written. Sparse coders "
            "can be saved."
        )
    activation = type(dictionary.activation)
    if ACTIVATIONS.get(activation.name) is not activation:
        raise FormatError(
            f"A dictionary with the activation {activation.__name__} could be saved but not be loaded again, since "
            f"{activation.name!r} is not registered; nothing was written. Write @register_activation above the class."
        )


def parts_of(dictionary: Dictionary, layout: str | None = None) -> Parts:
    """Take a dictionary apart.

    Args:
        layout: name of another library's layout that they are written in; None is monosema's own.

    Raises:
        FormatError: for baselines, which no format holds; for an activation that the layout can't know.
    """
    require_saveable(dictionary)
    assert isinstance(dictionary, SparseCoder)
    activation = dictionary.activation
    if layout is not None and activation.kind is None:
        raise FormatError(
            f"{layout} can't hold a dictionary with the activation {activation.title}; nothing was written. monosema's "
            "own layout can."
        )
    own = {name: dictionary.own(name).detach() for name in dictionary.own_names}
    of_kind = {name: own[name].float().expand(dictionary.n_latents) for name in OF_KINDS if name in own}
    weights = {name: getattr(dictionary, name).detach().float() for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    return Parts(
        activation=activation.kind,
        **weights,
        **(of_kind if activation.kind is not None else {}),
        centred=dictionary.centre is not None,
        k=activation.kept or None,
        skip=None if dictionary.skip is None else dictionary.skip.detach().float(),
        transcodes=dictionary.has_separate_target,
        normalisation=dictionary.normalisation,
        tensors=own if activation.kind is None else {},
        own=dictionary.description(),
        metadata=dictionary.metadata,
    )


def dictionary_of(parts: Parts) -> SparseCoder:
    """Put a dictionary together, with the activation that the files name, or the one that its kind means."""
    named = parts.own_activation
    kind = named if named is not None and named.kind == parts.activation else None
    if kind is None:
        if parts.activation is None:
            # Raises with what to do.
            activation_named(parts.own.get("activation"))
        kind = activation_named(parts.activation)
    parts = parts.centre(False) if parts.transcodes else parts
    settings = _fields(kind, parts.own) | ({"k": parts.k} if parts.k is not None and "k" in kind.model_fields else {})
    facts = _fields(CoderConfig, parts.own)
    facts |= {"skip": parts.skip is not None, "centre_input": parts.centred or parts.transcodes}
    sites = parts.own.get("n_sites", 1)
    try:
        dictionary = SparseCoder(
            parts.d_in,
            parts.n_latents,
            kind(**settings),
            CoderConfig(**facts),
            d_out=parts.d_out if parts.transcodes else None,
            n_sites=sites if isinstance(sites, int) else 1,
            normalisation=parts.normalisation,
            metadata=parts.metadata,
        )
    except (RuntimeError, OverflowError) as error:
        raise FormatError(f'The configuration under "monosema" can\'t be used: {error}.') from None
    if dictionary.activation.ties and not torch.equal(parts.W_enc, parts.W_dec):
        raise FormatError(
            f"The files name {dictionary.title} with one matrix for encoder and decoder, but hold two that "
            'differ. Leave out "monosema" in its configuration to read it as L1.'
        )
    with torch.no_grad():
        for name in ("W_enc", "b_enc", "W_dec", "b_dec", *(("skip",) if parts.skip is not None else ())):
            getattr(dictionary, name).copy_(getattr(parts, name))
        for name in dictionary.own_names:
            _fill(dictionary.own(name), name, parts)
    dictionary.eval().requires_grad_(False)
    return dictionary


def _fill(tensor: Tensor, name: str, parts: Parts) -> None:
    """Copy a tensor of the activation's from parts; thresholds below 0 cut off nothing that is not cut off at 0."""
    stored = parts.tensors.get(name) if parts.activation is None else getattr(parts, name, None)
    if name == "threshold" and parts.activation is not None:
        stored = torch.zeros_like(parts.b_enc) if stored is None else stored.clamp_min(0)
        stored = stored if tensor.dim() else stored[0]
    if stored is not None and stored.shape != tensor.shape:
        raise FormatError(
            f"{name} of the activation has shape {tuple(stored.shape)}, but {tuple(tensor.shape)} is what it takes."
        )
    if stored is not None:
        tensor.copy_(stored)


def _fields(config: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """Fields of a configuration among values, those alone that a configuration can have; messages show them whole."""
    return {name: value for name, value in values.items() if name in config.model_fields and _is_plain(value)}


def _is_plain(value: Any) -> bool:
    values = value if isinstance(value, (list, tuple)) else [value]
    return all(isinstance(one, (str, int, float, bool)) for one in values)
