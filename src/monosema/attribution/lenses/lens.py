"""Lenses: the next token as each layer's residual stream would have it, had no later block followed.

    logits_l = unembed(norm(W_l x_l + b_l)),     x_l: the stream before block l, x_L what the last block leaves

=============  =====================================================================================================
logit lens     W = 1, b = 0 (nostalgebraist 2020, "interpreting GPT: the logit lens")
tuned lens     W, b fitted to the model's own final distribution (Belrose et al. 2023, arXiv:2303.08112); see `tuned`
Jacobian lens  W the mean Jacobian of the final stream, b = 0 (Gurnee et al. 2026, "Verbalizable Representations Form a
               Global Workspace in Language Models", transformer-circuits.pub/2026/workspace); see `jacobian`
=============  =====================================================================================================

Norm and unembedding are the model's own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.core import DamagedFileError, FormatError, InputError, Site, atomic_path, read_json
from monosema.models import Transformer

LensKind = Literal["logit", "tuned", "jacobian"]
"""Kinds of lenses."""
_SUFFIX, _ABOUT = ".safetensors", "lens"


@dataclass(frozen=True, eq=False)
class Lens:
    """An affine map for each layer but the last, whose stream the model reads itself.

    Attributes:
        kind: the kind.
        weights: W_l of each layer; None for the logit lens.
        biases: b_l, likewise; None where they are 0.
        about: what it was made from, plain values.
    """

    kind: LensKind = "logit"
    weights: Float[Tensor, "layers d_model d_model"] | None = None
    biases: Float[Tensor, "layers d_model"] | None = None
    about: dict[str, Any] = field(default_factory=dict)

    def stream(self, x: Float[Tensor, "*rows d_model"], layer: int) -> Float[Tensor, "*rows d_model"]:
        """Return the final residual stream that the lens expects after the stream before block `layer`."""
        if self.weights is None or layer == len(self.weights):
            return x
        moved = x @ self.weights[layer].to(x).T
        return moved if self.biases is None else moved + self.biases[layer].to(x)

    def logits(self, model: Transformer, x: Float[Tensor, "*rows d_model"], layer: int) -> Float[Tensor, "*rows vocab"]:
        """Return the logits of the next token."""
        return model.logits(model.ln_final(self.stream(x, layer)))

    def direction(self, model: Transformer, layer: int, token: int) -> Float[Tensor, " d_model"]:
        """Return the direction of the stream before block `layer` along which a token's logit rises, up to scale."""
        read = reads_logit(model, token)
        return read if self.weights is None or layer == len(self.weights) else self.weights[layer].to(read).T @ read

    def require_fit(self, model: Transformer) -> None:
        """Raise InputError for a model of other layers or of another width."""
        if self.weights is not None and self.weights.shape[:2] != (model.n_layers, model.d_model):
            layers, width = self.weights.shape[:2]
            raise InputError(
                f"The {self.kind} lens is of {self.about.get('model', 'a model')} with {layers} blocks of width "
                f"{width:,}, and {model.name} has {model.n_layers} of width {model.d_model:,}: fit one for it."
            )


def reads_logit(model: Transformer, token: int, foil: int | None = None) -> Float[Tensor, " d_model"]:
    """Return what of the final stream makes a token's logit, or its difference from a foil's, at a norm scale of 1."""
    weight = model.unembed_weight[token].float()
    weight = weight if foil is None else weight - model.unembed_weight[foil].float()
    read = weight * model.ln_final.gain()
    return read - read.mean() if model.ln_final.kind == "layer" else read


def stream_sites(model: Transformer) -> list[Site]:
    """Return the site of the stream before each block, and of what the last leaves."""
    return [Site(0, "resid_pre"), *(Site(layer, "resid_post") for layer in range(model.n_layers))]


def layer_name(layer: int) -> str:
    """Return the words for the stream before a block."""
    return "embedding" if layer == 0 else f"block {layer - 1}"


def save_lens(path: str | Path, lens: Lens) -> Path:
    """Write a lens to a .safetensors file.

    Raises:
        FormatError: another ending.
        InputError: a logit lens, which has nothing to keep.
    """
    from safetensors.torch import save_file

    file = Path(path)
    if file.suffix != _SUFFIX:
        raise FormatError(f"A lens is written to a {_SUFFIX} file; {file.name} has another ending.")
    if lens.weights is None:
        raise InputError("The logit lens has no weights to be written: it is there for every model.")
    held = {"weights": lens.weights.cpu().contiguous()}
    held |= {} if lens.biases is None else {"biases": lens.biases.cpu().contiguous()}
    with atomic_path(file) as temporary:
        save_file(held, temporary, metadata={_ABOUT: json.dumps({"kind": lens.kind, **lens.about})})
    return file


def load_lens(path: str | Path) -> Lens:
    """Read a lens: a file of `save_lens`, or a folder that tuned-lens 0.2 wrote (config.json and params.pt).

    Raises:
        FormatError: neither is there.
        DamagedFileError: a file that can't be read.
    """
    place = Path(path)
    if place.is_dir() and (place / "params.pt").is_file():
        return _of_tuned_lens(place)
    if not place.is_file() or place.suffix != _SUFFIX:
        raise FormatError(
            f"There is no lens at {place}. Name a {_SUFFIX} file that `monosema lens --fit` wrote, or a folder with "
            "config.json and params.pt of tuned-lens."
        )
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(place, framework="pt") as opened:
            about = json.loads((opened.metadata() or {}).get(_ABOUT, "{}"))
            held = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 – no mapping
    except SafetensorError as error:
        raise DamagedFileError(f"{place} can't be read as safetensors ({error}). Fit it again.") from None
    kind = about.pop("kind", None)
    if kind not in get_args(LensKind) or "weights" not in held:
        raise FormatError(f"{place} holds no lens, but {', '.join(held) or 'nothing'}.")
    return Lens(kind, held["weights"], held.get("biases"), about)


def _of_tuned_lens(folder: Path) -> Lens:
    """Read the package's files: translator l of x ↦ x + A_l x + b_l, by the keys `l.weight` and `l.bias`."""
    values = read_json(folder / "config.json")
    try:
        held = torch.load(folder / "params.pt", map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what the pickle's reader does
        raise DamagedFileError(f"{folder / 'params.pt'} can't be read ({error}). Fetch it again.") from None
    layers = int(values["num_hidden_layers"])
    missing = [layer for layer in range(layers) if f"{layer}.weight" not in held]
    if missing:
        raise FormatError(f"{folder / 'params.pt'} has no translator of layer {missing[0]}, as tuned-lens 0.2 has.")
    added = torch.stack([held[f"{layer}.weight"].float() for layer in range(layers)])
    biases = [held[f"{layer}.bias"].float() for layer in range(layers) if f"{layer}.bias" in held]
    about = {"model": values.get("base_model_name_or_path"), "made_by": "tuned-lens"}
    return Lens("tuned", added + torch.eye(added.shape[1]), torch.stack(biases) if biases else None, about)
