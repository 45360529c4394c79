"""Vectors of items in the place of a language model: the "tokens" are the items, and the one site holds the vectors."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import torch
from jaxtyping import Float
from torch import Tensor

from monosema.activations import RowSource, open_vectors
from monosema.activations.vectors import READERS
from monosema.core import InputError, Site, SiteError, UnsupportedModelError, digest
from monosema.items.table import Items, read_items
from monosema.models import Tokenizer
from monosema.models.hooks import Action, Captured

NAMED = 20
"""Items of one name that a message lists at most."""
WHY = "these are vectors of items: there is no language model behind them"


def is_vectors(name: str | Path) -> bool:
    """Check if a name is that of a file of vectors, or of a folder of such files, and not of a model."""
    path = Path(name)
    if path.is_dir():
        return not (path / "config.json").exists() and any(file.suffix in READERS for file in path.iterdir())
    return path.suffix in READERS and path.is_file()


class ItemTokenizer(Tokenizer):
    """From the name of an item to its row, and back."""

    def __init__(self, items: Items) -> None:
        import tokenizers

        self._items = items
        self._rows = {name: row for row, name in enumerate(items.names)}
        super().__init__(tokenizers.Tokenizer(tokenizers.models.WordLevel(self._rows, unk_token="")))

    def encode_batch(self, texts: Sequence[str], bos: bool = True) -> list[list[int]]:
        """Return the row of each name. Raises InputError for what is no item's name."""
        for text in texts:
            if text not in self._rows:
                names, words = self._items.names, text.lower().split()
                if rows := [row for row, name in enumerate(names) if name == f"{text} (row {row})"]:
                    several = ", ".join(repr(names[row]) for row in rows[:NAMED])
                    more = ", …" if len(rows) > NAMED else ""
                    raise InputError(f"{len(rows):,} items are called {text!r}. Name one by its row: {several}{more}.")
                near = (name for name in names if all(word in name.lower() for word in words))
                hint = ", ".join(repr(name) for name in itertools.islice(near, 3))
                raise InputError(f"No item is called {text!r}." + (f" There are: {hint}." if words and hint else ""))
        return [[self._rows[text]] for text in texts]


class ItemModel:
    """Items and their vectors, as a `LanguageModel` that says nothing: all that asks for logits is refused.

    Attributes:
        items: names and columns.
        name: path of the vectors.
        device: where vectors are given.
    """

    gives_logits = False
    n_layers = n_heads = 0
    context = 1
    dtype = torch.float32

    def __init__(self, vectors: RowSource, items: Items, device: torch.device) -> None:
        self._vectors, self.items, self.device = vectors, items, device
        self.name = vectors.name
        self._site = vectors.sites[0]

    @classmethod
    def open(cls, vectors: str | Path, names: str | Path, column: str | None, device: torch.device) -> ItemModel:
        """Open files of vectors and names.

        Raises VectorError for what can't be read as vectors, InputError for names that don't fit them.
        """
        rows = open_vectors(vectors)
        return cls(rows, read_items(names, rows.rows, Path(vectors).name, column), device)

    @cached_property
    def digest(self) -> str:
        """Hash of the vectors and the names."""
        return digest([self._vectors.digest, self.items.digest, self.items.name_column])

    @property
    def d_model(self) -> int:
        """Values of a vector."""
        return self._vectors.width(self._site)

    @property
    def vocab(self) -> int:
        """Number of items."""
        return self._vectors.rows

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """From the name of an item to its row and back."""
        return ItemTokenizer(self.items)

    def sites(self) -> list[Site]:
        """The one site, called ``vectors``."""
        return [self._site]

    def site_width(self, site: Site | str) -> int:
        """Values of a vector. Raises SiteError for all other sites."""
        if Site.parse(site) != self._site:
            raise SiteError(f"{self.name} holds vectors of items; its only site is 'vectors', not {str(site)!r}.")
        return self.d_model

    def activations(
        self, inputs: Any, sites: Sequence[Site | str] | None = None, attention_mask: Tensor | None = None
    ) -> Captured:
        """Return the vectors of items, in float32: of their rows, of a name, or of several names."""
        wanted = self.sites() if sites is None else [Site.parse(site) for site in sites]
        for site in wanted:
            self.site_width(site)
        if not isinstance(inputs, Tensor):
            inputs = torch.tensor(self.tokenizer.encode_batch([inputs] if isinstance(inputs, str) else inputs))
        rows = self._rows(inputs.flatten().cpu()).view(*inputs.shape, self.d_model).to(self.device)
        return Captured(dict.fromkeys(wanted, rows))

    def __repr__(self) -> str:
        return f"ItemModel({self.name!r}: {self.vocab:,} items, width {self.d_model:,})"

    def _rows(self, wanted: Tensor) -> Float[Tensor, "n width"]:
        """Read rows, neighbours together."""
        rows, place = wanted.unique(return_inverse=True)
        breaks = torch.nonzero(rows.diff() > 1).flatten() + 1
        runs = [(int(run[0]), int(run[-1]) + 1) for run in rows.tensor_split(breaks.tolist()) if len(run)]
        return self._vectors.gather(self._site, runs).decode()[place]

    def __call__(self, tokens: Tensor, *_: Any, **__: Any) -> NoReturn:
        """Raise UnsupportedModelError, as all that follows does."""
        raise UnsupportedModelError(f"{Path(self.name).name}: {WHY}")

    def attach(self, site: Site | str, action: Action) -> NoReturn:
        """See `__call__`."""
        self(torch.empty(0))

    def capture(self, *sites: Site | str, gradients: bool = False) -> NoReturn:
        """See `__call__`."""
        self(torch.empty(0))

    def edit(self, site: Site | str, fn: Callable[[Tensor], Tensor]) -> NoReturn:
        """See `__call__`."""
        self(torch.empty(0))

    def unembed(self, directions: Tensor) -> NoReturn:
        """See `__call__`."""
        self(torch.empty(0))

    def generate(self, prompts: Any, **settings: Any) -> Any:
        """See `__call__`."""
        self(torch.empty(0))

    def stream(self, prompts: Any, **settings: Any) -> Generator[Any]:
        """See `__call__`."""
        self(torch.empty(0))
