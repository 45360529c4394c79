"""A site: a place inside a model where activations are read or changed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from monosema.core.errors import SiteError

_PREFIXES = {
    **dict.fromkeys(("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_in", "mlp_out"), "hook_"),
    **dict.fromkeys(("attn_in", "q_input", "k_input", "v_input"), "hook_"),
    **dict.fromkeys(("q", "k", "v", "z", "rot_q", "rot_k", "result", "attn_scores", "pattern"), "attn.hook_"),
    **dict.fromkeys(("mlp.pre", "mlp.pre_linear", "mlp.post"), "mlp.hook_"),
    **dict.fromkeys(("ln1.scale", "ln1.normalized"), "ln1.hook_"),
    **dict.fromkeys(("ln2.scale", "ln2.normalized"), "ln2.hook_"),
    **dict.fromkeys(("ln1_post.scale", "ln1_post.normalized"), "ln1_post.hook_"),
    **dict.fromkeys(("ln2_post.scale", "ln2_post.normalized"), "ln2_post.hook_"),
}
_LAYERLESS = {
    "embed": "hook_embed",
    "pos_embed": "hook_pos_embed",
    "ln_final.scale": "ln_final.hook_scale",
    "ln_final.normalized": "ln_final.hook_normalized",
}
_LONG = {prefix + component.rsplit(".", 1)[-1]: component for component, prefix in _PREFIXES.items()}
_LONG_LAYERLESS = {name: component for component, name in _LAYERLESS.items()}
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
_SHORT = re.compile(r"(\d+)\.(.+)")
_OTHER = "@other"


@dataclass(frozen=True, order=True)
class Site:
    """A place inside a model; a value without reference to any model.

    Attributes:
        layer: index of the block, counted from 0; None where the site is in no block.
        component: what is read there, as in the short form: ``resid_post``, ``q``, ``mlp.post``, ``embed``;
            for a site of a model that isn't ours, the path of the module whose output is read.
        other: whether it is in the second of two models that are read together, written ``3.resid_post@other``.
    """

    layer: int | None
    component: str
    other: bool = False

    @classmethod
    def parse(cls, text: str | Site) -> Site:
        """Read a TransformerLens name (``blocks.3.hook_resid_post``), a short form (``3.resid_post``, ``3.attn.q``)
        or the path of a module (``encoder.layer.3``); ``@other`` behind any of them says that it is in a second model.

        Whether a model has the site is the model's to say. Raises SiteError when the text can't be a site at all.
        """
        if isinstance(text, Site):
            return text
        name = text.strip()
        other, name = name.endswith(_OTHER), name.removesuffix(_OTHER)
        if name in _LONG_LAYERLESS:
            return cls(None, _LONG_LAYERLESS[name], other)
        if name in _LAYERLESS:
            return cls(None, name, other)
        if (match := _BLOCK.fullmatch(name)) and match[2] in _LONG:
            return cls(int(match[1]), _LONG[match[2]], other)
        if match := _SHORT.fullmatch(name):
            component = match[2].removeprefix("attn.")
            if component in _PREFIXES:
                return cls(int(match[1]), component, other)
        if not name or not re.fullmatch(r"[\w\-]+(\.[\w\-]+)*", name):
            raise SiteError(
                f"{text!r} is not a site. Write it as a TransformerLens name (blocks.3.hook_resid_post), "
                "in short (3.resid_post), or as the path of a module (encoder.layer.3)."
            )
        return cls(None, name, other)

    @property
    def is_module(self) -> bool:
        """True if the site is named by the path of a module."""
        return self.layer is None and self.component not in _LAYERLESS

    @property
    def short(self) -> str:
        """The short form: ``3.resid_post``."""
        return (self.component if self.layer is None else f"{self.layer}.{self.component}") + self._mark

    def __str__(self) -> str:
        if self.layer is None:
            return _LAYERLESS.get(self.component, self.component) + self._mark
        return f"blocks.{self.layer}.{_PREFIXES[self.component]}{self.component.rsplit('.', 1)[-1]}{self._mark}"

    @property
    def _mark(self) -> str:
        return _OTHER if self.other else ""

    def __post_init__(self) -> None:
        if self.layer is not None and (self.layer < 0 or self.component not in _PREFIXES):
            raise SiteError(
                f"No site {self.component!r} in block {self.layer}: known are {', '.join(sorted(_PREFIXES))}."
            )
