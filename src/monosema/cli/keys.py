"""Keys of recipes on the command line: the most wanted as flags with their own help, all others as words."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

from cyclopts import Group, Parameter

Keys = Annotated[str, Parameter(allow_leading_hyphen=True)]
"""Words that a verb reads itself: plain arguments and ``--key value``."""


Value = Annotated[str | None, Parameter(metavar="VALUE")]


@Parameter(name="*", group=Group("Most wanted keys; all of them: monosema run --keys", sort_key=1))
@dataclass(frozen=True)
class Wanted:
    """Keys that most runs are told; in brackets what holds without them, in a run without a recipe."""

    model: Value = None
    """`specimen`, the embedded model; `smollm2`; a Hugging Face directory; a GGUF file; a hub name [specimen]."""
    corpus: Value = None
    """`builtin`; a .parquet, .jsonl or text file; a folder of such files; `hf:NAME[:CONFIG]` [builtin]."""
    column: Value = None
    """Column of Parquet, JSON lines and datasets that holds the text [text]."""
    tokens: Value = None
    """Tokens to train on [1000000]."""
    site: Value = None
    """Site whose activations the dictionary reads: block and place, as in 3.mlp_out [3.resid_post]."""
    architecture: Value = None
    """topk, batch_topk, matryoshka, jumprelu, gated, l1, tied_l1, p_anneal, transcoder or crosscoder [topk]."""
    latents: Value = None
    """Number of latents [4096]."""
    k: Value = None
    """Latents kept per row, of topk, batch_topk and matryoshka [32]."""
    alpha: Value = None
    """Weight of the sparsity penalty, of the other architectures."""
    batch: Value = None
    """Rows in a batch [4096]."""
    passes: Value = None
    """Times that every row is given [2]."""
    lr: Value = None
    """Peak learning rate [by the published rule of width]."""
    evaluation_tokens: Value = None
    """Held-out tokens that the dictionary is measured on [40000]."""
    atlas_tokens: Value = None
    """Tokens that features are described on [500000]."""

    def words(self) -> list[str]:
        """Return what was given, as words."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return [word for name, text in given.items() if text is not None for word in (f"--{name}", text)]


AS_RECIPE = Wanted()
"""Nothing but what the recipe says."""
