"""What a plan needs to know of a model: from its configuration, or from a few numbers where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from monosema.core import ConfigError, Site

_NEEDED = ("layers", "width", "vocab")
_OPTIONAL = ("mlp", "heads_width", "kv_width")


@dataclass(frozen=True)
class ModelShape:
    """Size and cost of a decoder.

    Attributes:
        name: what it is called.
        layers, width, vocab: blocks, width of the residual stream, rows of the embedding.
        mlp: neurons of an MLP.
        heads_width: values of all heads together.
        layer_parameters: weights of one block.
        parameters: weights of all.
    """

    name: str
    layers: int
    width: int
    vocab: int
    mlp: int
    heads_width: int
    layer_parameters: int
    parameters: int

    @classmethod
    def parse(cls, text: str) -> ModelShape:
        """Read ``layers=28,width=3072,vocab=128256``, and where known ``mlp``, ``kv_width`` and ``heads_width``.

        With ``mlp`` the MLP is gated (three matrices), as in today's models; without it it is GPT-2's: 4 × width,
        two matrices. Keys and values are as wide as queries unless ``kv_width`` says otherwise.

        Raises ConfigError where a part is missing, unknown or no number.
        """
        parts: dict[str, int] = {}
        for part in text.split(","):
            name, _, number = part.strip().partition("=")
            if name not in _NEEDED + _OPTIONAL or not number.strip().isdecimal() or int(number) == 0:
                raise ConfigError(
                    f"{part.strip()!r} is not part of a model's shape. Give {', '.join(f'{n}=NUMBER' for n in _NEEDED)}"
                    f" and, where you know them, {', '.join(_OPTIONAL)}."
                )
            parts[name] = int(number)
        missing = [name for name in _NEEDED if name not in parts]
        if missing:
            raise ConfigError(f"The shape {text!r} lacks {', '.join(missing)}.")
        width = parts["width"]
        heads, mlp = parts.get("heads_width", width), parts.get("mlp", 4 * width)
        attention = 2 * width * heads + 2 * width * parts.get("kv_width", heads)
        block = attention + (3 if "mlp" in parts else 2) * width * mlp
        total = parts["layers"] * block + parts["vocab"] * width
        return cls(text, parts["layers"], width, parts["vocab"], mlp, heads, block, total)

    @classmethod
    def of(cls, name: str) -> ModelShape:
        """The shape of a model by name, directory, or path of its config.json; weights are not read.

        Raises:
            UnknownModelError: no such model.
            ConfigError: a model whose configuration doesn't say its shape.
        """
        from monosema.models import model_facts

        path = Path(name).expanduser()
        facts = model_facts(path.parent if path.name == "config.json" and path.is_file() else name)
        if facts.layers is None or facts.d_model is None or facts.vocab is None:
            raise ConfigError(
                f"The configuration of {name} doesn't say layers, width and vocabulary. Give them: "
                "--shape layers=N,width=N,vocab=N."
            )
        total = facts.parameters["total"]
        parts = facts.parameters
        inside = parts.get("attention", 0) + parts.get("mlp", 0) or parts.get("others", 0)
        heads = (facts.heads or 0) * (facts.d_head or 0) or facts.d_model
        mlp = facts.d_mlp or 4 * facts.d_model
        return cls(name, facts.layers, facts.d_model, facts.vocab, mlp, heads, inside // facts.layers, total)

    def site_width(self, site: Site) -> int:
        """Values of a row of activations at the site; of keys and values at most, where several queries share one."""
        part = site.component.split(".")[0]
        if part == "mlp":
            return self.mlp
        return self.heads_width if part in ("q", "k", "v", "z", "rot_q", "rot_k") else self.width

    def flop(self, layers: int, context: int) -> float:
        """Operations for one token through so many blocks, in a window of `context` tokens."""
        attention = 4 * self.heads_width * context / 2
        return layers * (2 * self.layer_parameters + attention)

    @property
    def head_flop(self) -> float:
        """Operations for the logits of one token."""
        return 2.0 * self.vocab * self.width
